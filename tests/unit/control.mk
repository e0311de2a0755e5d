# tests/unit/control.mk - tests of src/control.  What stands below the hub, but for the store and the
# engine, is test_control_world.c's.

check_PROGRAMS += \
	tests/unit/test_control_dispatch \
	tests/unit/test_control_hub \
	tests/unit/test_control_later \
	tests/unit/test_control_local \
	tests/unit/test_control_outbox \
	tests/unit/test_control_schema \
	tests/unit/test_control_signed \
	tests/unit/test_control_storm \
	tests/unit/test_control_trust

control_world = tests/unit/test_control_world.c tests/unit/test_control_world.h
control_world_libs = libcontrol.a libworker.a libstore.a libsession.a libtrust.a liblint.a libflip.a libmqtt.a libtls.a libbase.a $(SQLITE_LIBS) $(WOLFSSL_LIBS) \
	$(JANSSON_LIBS) $(UV_LIBS) $(CMOCKA_LIBS)
control_world_ldflags = $(AM_LDFLAGS) -Wl,--wrap=store_commit -Wl,--wrap=store_command_get

tests_unit_test_control_dispatch_SOURCES = tests/unit/test_control_dispatch.c $(control_world)
tests_unit_test_control_dispatch_LDADD = $(control_world_libs)
tests_unit_test_control_dispatch_LDFLAGS = $(control_world_ldflags)

tests_unit_test_control_hub_SOURCES = tests/unit/test_control_hub.c $(control_world)
tests_unit_test_control_hub_LDADD = $(control_world_libs)
tests_unit_test_control_hub_LDFLAGS = $(control_world_ldflags)

tests_unit_test_control_later_SOURCES = tests/unit/test_control_later.c $(control_world)
tests_unit_test_control_later_LDADD = $(control_world_libs)
tests_unit_test_control_later_LDFLAGS = $(control_world_ldflags) -Wl,--wrap=do_quarantine_clear

tests_unit_test_control_local_SOURCES = tests/unit/test_control_local.c $(control_world)
tests_unit_test_control_local_LDADD = $(control_world_libs)
tests_unit_test_control_local_LDFLAGS = $(control_world_ldflags)

tests_unit_test_control_outbox_SOURCES = tests/unit/test_control_outbox.c
tests_unit_test_control_outbox_LDADD = libcontrol.a libbase.a $(CMOCKA_LIBS)

tests_unit_test_control_schema_SOURCES = tests/unit/test_control_schema.c $(control_world)
tests_unit_test_control_schema_LDADD = $(control_world_libs)
tests_unit_test_control_schema_LDFLAGS = $(control_world_ldflags)

tests_unit_test_control_storm_SOURCES = tests/unit/test_control_storm.c $(control_world)
tests_unit_test_control_storm_LDADD = $(control_world_libs)
tests_unit_test_control_storm_LDFLAGS = $(control_world_ldflags)

tests_unit_test_control_signed_SOURCES = tests/unit/test_control_signed.c
tests_unit_test_control_signed_LDADD = libcontrol.a libtls.a libbase.a $(WOLFSSL_LIBS) $(JANSSON_LIBS) $(CMOCKA_LIBS)

tests_unit_test_control_trust_SOURCES = tests/unit/test_control_trust.c $(tls_test_pki)
tests_unit_test_control_trust_CPPFLAGS = $(tls_test_cppflags)
tests_unit_test_control_trust_LDADD = libcontrol.a libworker.a libstore.a libsession.a libtrust.a libidentity.a liblint.a libflip.a \
	libconf.a libmqtt.a libtls.a libnet.a libbase.a $(external_libs) $(CMOCKA_LIBS)
tests_unit_test_control_trust_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=hub_snapshot -Wl,--wrap=hub_devices
