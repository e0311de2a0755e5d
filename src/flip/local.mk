# src/flip/local.mk - nothing here yet.
