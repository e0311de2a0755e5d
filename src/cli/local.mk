# src/cli/local.mk - nothing here yet.
