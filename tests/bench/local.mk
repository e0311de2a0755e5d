# tests/bench/local.mk - nothing here yet.
