flip_test_ldadd = libflip.a libbase.a $(CMOCKA_LIBS)

check_PROGRAMS += \
	tests/unit/test_flip_backoff \
	tests/unit/test_flip_clock \
	tests/unit/test_flip_diagnose \
	tests/unit/test_flip_differ \
	tests/unit/test_flip_engine \
	tests/unit/test_flip_pace

tests_unit_test_flip_backoff_SOURCES = tests/unit/test_flip_backoff.c
tests_unit_test_flip_backoff_LDADD = $(flip_test_ldadd)

tests_unit_test_flip_clock_SOURCES = tests/unit/test_flip_clock.c
tests_unit_test_flip_clock_LDADD = $(flip_test_ldadd)

tests_unit_test_flip_diagnose_SOURCES = tests/unit/test_flip_diagnose.c
tests_unit_test_flip_diagnose_LDADD = $(flip_test_ldadd)

tests_unit_test_flip_differ_SOURCES = tests/unit/test_flip_differ.c
tests_unit_test_flip_differ_LDADD = $(flip_test_ldadd)

tests_unit_test_flip_engine_SOURCES = tests/unit/test_flip_engine.c
tests_unit_test_flip_engine_LDADD = $(flip_test_ldadd)

tests_unit_test_flip_pace_SOURCES = tests/unit/test_flip_pace.c
tests_unit_test_flip_pace_LDADD = $(flip_test_ldadd)
