# tests/unit/fleet_program.mk - words, view and link of certflip-fleet, and its doctor.
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
