# tests/unit/base.mk - nothing here yet.
