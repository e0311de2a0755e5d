# tests/unit/mqtt.mk - nothing here yet.
