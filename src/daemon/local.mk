# src/daemon/local.mk - nothing here yet.
