# tests/unit/control.mk - nothing here yet.
