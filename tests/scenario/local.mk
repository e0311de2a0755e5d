# tests/scenario/local.mk - nothing here yet.
