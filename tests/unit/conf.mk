# tests/unit/conf.mk - nothing here yet.
