# tests/unit/worker.mk - nothing here yet.
