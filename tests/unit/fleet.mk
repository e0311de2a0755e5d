# tests/unit/fleet.mk - campaigns.
check_PROGRAMS += \
	tests/unit/test_fleet_campaign \
	tests/unit/test_fleet_engine \
	tests/unit/test_fleet_ledger \
	tests/unit/test_fleet_manual \
	tests/unit/test_fleet_plan \
	tests/unit/test_fleet_readers \
	tests/unit/test_fleet_sign \
	tests/unit/test_fleet_window

fleet_test_ldadd = libfleet.a libcli.a libcontrol.a liblint.a libtls.a libconf.a libbase.a \
	$(external_libs) $(CMOCKA_LIBS) -lm

tests_unit_test_fleet_campaign_SOURCES = tests/unit/test_fleet_campaign.c
tests_unit_test_fleet_campaign_LDADD = $(fleet_test_ldadd)

tests_unit_test_fleet_engine_SOURCES = tests/unit/test_fleet_engine.c \
	tests/unit/fleet_world.c tests/unit/fleet_world.h
tests_unit_test_fleet_engine_LDADD = $(fleet_test_ldadd)

tests_unit_test_fleet_plan_SOURCES = tests/unit/test_fleet_plan.c
tests_unit_test_fleet_plan_LDADD = $(fleet_test_ldadd)

tests_unit_test_fleet_manual_SOURCES = tests/unit/test_fleet_manual.c
tests_unit_test_fleet_manual_LDADD = $(fleet_test_ldadd)

tests_unit_test_fleet_ledger_SOURCES = tests/unit/test_fleet_ledger.c
tests_unit_test_fleet_ledger_LDADD = libfleet.a libbase.a $(SQLITE_LIBS) $(CMOCKA_LIBS)

tests_unit_test_fleet_readers_SOURCES = tests/unit/test_fleet_readers.c
tests_unit_test_fleet_readers_LDADD = $(fleet_test_ldadd)

tests_unit_test_fleet_sign_SOURCES = tests/unit/test_fleet_sign.c $(tls_test_pki)
tests_unit_test_fleet_sign_CPPFLAGS = $(tls_test_cppflags)
tests_unit_test_fleet_sign_LDADD = $(fleet_test_ldadd)

tests_unit_test_fleet_window_SOURCES = tests/unit/test_fleet_window.c
tests_unit_test_fleet_window_LDADD = $(fleet_test_ldadd)

check_PROGRAMS += tests/unit/test_fleet_view
tests_unit_test_fleet_view_SOURCES = tests/unit/test_fleet_view.c
tests_unit_test_fleet_view_LDADD = $(fleet_libs) $(CMOCKA_LIBS)

check_PROGRAMS += tests/unit/test_fleet_words
tests_unit_test_fleet_words_SOURCES = tests/unit/test_fleet_words.c
tests_unit_test_fleet_words_LDADD = $(fleet_libs) $(CMOCKA_LIBS)

check_PROGRAMS += tests/unit/test_fleet_doctor
tests_unit_test_fleet_doctor_SOURCES = tests/unit/test_fleet_doctor.c
tests_unit_test_fleet_doctor_LDADD = $(fleet_libs) $(CMOCKA_LIBS)

check_PROGRAMS += tests/unit/test_fleet_inventory
tests_unit_test_fleet_inventory_SOURCES = tests/unit/test_fleet_inventory.c
tests_unit_test_fleet_inventory_LDADD = $(fleet_libs) $(CMOCKA_LIBS)
