# tests/unit/cli.mk - nothing here yet.
