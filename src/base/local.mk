# src/base/local.mk - nothing here yet.
