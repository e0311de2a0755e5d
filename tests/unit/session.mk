# The parts that need no socket, then whole sessions between a scripted device and a scripted broker.
check_PROGRAMS += \
	tests/unit/test_session_gate \
	tests/unit/test_session_inflight \
	tests/unit/test_session_rehome \
	tests/unit/test_session_subs

session_test_ldadd = libsession.a libtrust.a libidentity.a libflip.a libconf.a libmqtt.a libtls.a libnet.a \
	libbase.a $(external_libs) $(CMOCKA_LIBS)

tests_unit_test_session_gate_SOURCES = tests/unit/test_session_gate.c
tests_unit_test_session_gate_LDADD = libsession.a $(CMOCKA_LIBS)

tests_unit_test_session_inflight_SOURCES = tests/unit/test_session_inflight.c
tests_unit_test_session_inflight_LDADD = libsession.a libbase.a $(CMOCKA_LIBS)
tests_unit_test_session_inflight_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=malloc

tests_unit_test_session_rehome_SOURCES = tests/unit/test_session_rehome.c
tests_unit_test_session_rehome_LDADD = libsession.a libbase.a $(CMOCKA_LIBS)

tests_unit_test_session_subs_SOURCES = tests/unit/test_session_subs.c
tests_unit_test_session_subs_LDADD = libsession.a libmqtt.a libbase.a $(CMOCKA_LIBS)
tests_unit_test_session_subs_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=malloc

session_world = tests/unit/session_world.c tests/unit/session_world.h

check_PROGRAMS += tests/unit/test_session_relay

tests_unit_test_session_relay_SOURCES = tests/unit/test_session_relay.c $(session_world)
tests_unit_test_session_relay_LDADD = $(session_test_ldadd)

check_PROGRAMS += tests/unit/test_session_dialect

tests_unit_test_session_dialect_SOURCES = tests/unit/test_session_dialect.c $(session_world)
tests_unit_test_session_dialect_LDADD = $(session_test_ldadd)

check_PROGRAMS += tests/unit/test_session_evidence

tests_unit_test_session_evidence_SOURCES = tests/unit/test_session_evidence.c $(session_world)
tests_unit_test_session_evidence_LDADD = $(session_test_ldadd)

check_PROGRAMS += tests/unit/test_session_flip

tests_unit_test_session_flip_SOURCES = tests/unit/test_session_flip.c $(session_world)
tests_unit_test_session_flip_LDADD = $(session_test_ldadd)

check_PROGRAMS += tests/unit/test_session_ends

tests_unit_test_session_ends_SOURCES = tests/unit/test_session_ends.c $(session_world)
tests_unit_test_session_ends_LDADD = $(session_test_ldadd)

check_PROGRAMS += tests/unit/test_session_suspect

tests_unit_test_session_suspect_SOURCES = tests/unit/test_session_suspect.c $(session_world)
tests_unit_test_session_suspect_LDADD = $(session_test_ldadd)
check_PROGRAMS += tests/unit/test_session_limits

tests_unit_test_session_limits_SOURCES = tests/unit/test_session_limits.c
tests_unit_test_session_limits_LDADD = libsession.a libmqtt.a libbase.a $(CMOCKA_LIBS)

check_PROGRAMS += tests/unit/test_session_retained

tests_unit_test_session_retained_SOURCES = tests/unit/test_session_retained.c
tests_unit_test_session_retained_LDADD = libsession.a libmqtt.a libbase.a $(CMOCKA_LIBS)
tests_unit_test_session_retained_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=calloc

check_PROGRAMS += tests/unit/test_session_restore

tests_unit_test_session_restore_SOURCES = tests/unit/test_session_restore.c $(session_world)
tests_unit_test_session_restore_LDADD = $(session_test_ldadd)

check_PROGRAMS += tests/unit/test_session_leave

tests_unit_test_session_leave_SOURCES = tests/unit/test_session_leave.c $(session_world)
tests_unit_test_session_leave_LDADD = $(session_test_ldadd)

check_PROGRAMS += tests/unit/test_session_stranger

tests_unit_test_session_stranger_SOURCES = tests/unit/test_session_stranger.c $(session_world)
tests_unit_test_session_stranger_LDADD = $(session_test_ldadd)

check_PROGRAMS += tests/unit/test_session_move

tests_unit_test_session_move_SOURCES = tests/unit/test_session_move.c $(session_world)
tests_unit_test_session_move_LDADD = $(session_test_ldadd)
check_PROGRAMS += tests/unit/test_session_storm

tests_unit_test_session_storm_SOURCES = tests/unit/test_session_storm.c $(session_world)
tests_unit_test_session_storm_LDADD = $(session_test_ldadd)

check_PROGRAMS += tests/unit/test_session_held

tests_unit_test_session_held_SOURCES = tests/unit/test_session_held.c $(session_world)
tests_unit_test_session_held_LDADD = $(session_test_ldadd)

check_PROGRAMS += tests/unit/test_session_weather

tests_unit_test_session_weather_SOURCES = tests/unit/test_session_weather.c $(session_world)
tests_unit_test_session_weather_LDADD = $(session_test_ldadd)
