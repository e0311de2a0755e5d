# tests/unit/net.mk - nothing here yet.
