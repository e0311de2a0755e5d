# tests/unit/store.mk - nothing here yet.
