# tests/unit/fleet_program.mk - words, view and link of certflip-fleet, and its doctor.
check_PROGRAMS += tests/unit/test_fleet_view
tests_unit_test_fleet_view_SOURCES = tests/unit/test_fleet_view.c
tests_unit_test_fleet_view_LDADD = $(fleet_libs) $(CMOCKA_LIBS)

check_PROGRAMS += tests/unit/test_fleet_words
tests_unit_test_fleet_words_SOURCES = tests/unit/test_fleet_words.c
tests_unit_test_fleet_words_LDADD = $(fleet_libs) $(CMOCKA_LIBS)
