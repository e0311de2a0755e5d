# tests/unit/session.mk - nothing here yet.
