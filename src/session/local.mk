# src/session/local.mk - nothing here yet.
