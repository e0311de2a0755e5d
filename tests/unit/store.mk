check_PROGRAMS += tests/unit/test_store_store tests/unit/test_store_faults

store_test_libs = libstore.a libflip.a libbase.a $(SQLITE_LIBS) $(CMOCKA_LIBS)

tests_unit_test_store_store_SOURCES = tests/unit/test_store_store.c tests/unit/test_store.h
tests_unit_test_store_store_LDADD = $(store_test_libs)

tests_unit_test_store_faults_SOURCES = tests/unit/test_store_faults.c tests/unit/test_store.h
tests_unit_test_store_faults_LDADD = $(store_test_libs)
tests_unit_test_store_faults_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=clock_wall_s
