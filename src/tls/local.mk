# src/tls/local.mk - nothing here yet.
