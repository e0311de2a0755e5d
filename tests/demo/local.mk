# tests/demo/local.mk - nothing here yet.
