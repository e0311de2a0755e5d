# src/conf/local.mk - nothing here yet.
