# src/worker/local.mk - nothing here yet.
