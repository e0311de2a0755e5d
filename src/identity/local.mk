# src/identity/local.mk - nothing here yet.
