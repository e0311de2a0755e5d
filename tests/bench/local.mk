# tests/bench/local.mk - what it costs, against HAProxy, nginx and stunnel: make bench.
# bench.py and bench_flips.py compile load.c and fleet.c themselves: nothing else here needs OpenSSL.

EXTRA_DIST += tests/bench/bench.py tests/bench/bench_flips.py tests/bench/bench_hold.py \
	tests/bench/certs.h tests/bench/fleet.c tests/bench/load.c

# The codec alone: make tests/bench/bench_mqtt && tests/bench/bench_mqtt
EXTRA_PROGRAMS += tests/bench/bench_mqtt
tests_bench_bench_mqtt_SOURCES = tests/bench/bench_mqtt.c
tests_bench_bench_mqtt_LDADD = libmqtt.a libbase.a
