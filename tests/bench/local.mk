# tests/bench/local.mk - what it costs, against HAProxy, nginx and stunnel: make bench.
# bench.py compiles load.c itself: it is the only thing here that needs OpenSSL.

EXTRA_DIST += tests/bench/bench.py tests/bench/load.c
