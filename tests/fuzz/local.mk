# tests/fuzz/local.mk - nothing here yet.
