# src/net/local.mk - nothing here yet.
