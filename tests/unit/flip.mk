# tests/unit/flip.mk - nothing here yet.
