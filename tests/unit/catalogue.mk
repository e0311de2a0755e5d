check_PROGRAMS += tests/unit/test_catalogue

tests_unit_test_catalogue_SOURCES = tests/unit/test_catalogue.c
tests_unit_test_catalogue_LDADD = libflip.a libbase.a $(CMOCKA_LIBS)
