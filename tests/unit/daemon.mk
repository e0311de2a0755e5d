# tests/unit/daemon.mk - nothing here yet.
