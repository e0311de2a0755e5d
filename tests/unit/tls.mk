# tests/unit/tls.mk - nothing here yet.
