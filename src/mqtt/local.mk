# src/mqtt/local.mk - nothing here yet.
