# src/store/local.mk - nothing here yet.
