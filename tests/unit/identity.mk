# tests/unit/identity.mk - nothing here yet.
