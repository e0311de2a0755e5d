# tests/fleet/local.mk - a thousand gateways in one process, for certflip-fleet: see sim.h.

EXTRA_DIST += tests/fleet/scale.py

fleet_sim = tests/fleet/fleet_sim$(EXEEXT)
EXTRA_PROGRAMS += tests/fleet/fleet_sim
tests_fleet_fleet_sim_SOURCES = tests/fleet/main.c tests/fleet/device.c tests/fleet/gateway.c \
	tests/fleet/methods.c tests/fleet/sim.h
tests_fleet_fleet_sim_LDADD = libcontrol.a libidentity.a libflip.a libconf.a libtls.a libbase.a $(external_libs)
