# src/control/local.mk - nothing here yet.
