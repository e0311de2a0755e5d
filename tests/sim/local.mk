# tests/sim/local.mk - the decisions of a flip, walked exhaustively; see flip_world.h.

check_PROGRAMS += tests/sim/test_sim_flip
tests_sim_test_sim_flip_SOURCES = tests/sim/test_sim_flip.c tests/sim/explore.c tests/sim/explore.h \
	tests/sim/flip_world.c tests/sim/flip_world.h
tests_sim_test_sim_flip_LDADD = libcontrol.a libworker.a libsession.a liblint.a libflip.a libmqtt.a libbase.a \
	$(JANSSON_LIBS) $(UV_LIBS) $(CMOCKA_LIBS)
tests_sim_test_sim_flip_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=clock_wall_s -Wl,--wrap=clock_date_s -Wl,--wrap=clock_mono_us \
	-Wl,--wrap=rand_u64 -Wl,--wrap=rehome_step -Wl,--wrap=flip_step -Wl,--wrap=diag_settle -Wl,--wrap=log_event
