# tests/unit/identity.mk - who connects, and with which identities.
check_PROGRAMS += \
	tests/unit/test_identity_files \
	tests/unit/test_identity_match \
	tests/unit/test_identity_slots

tests_unit_test_identity_files_SOURCES = tests/unit/test_identity_files.c
tests_unit_test_identity_files_LDADD = libidentity.a libflip.a libbase.a $(CMOCKA_LIBS)

tests_unit_test_identity_match_SOURCES = tests/unit/test_identity_match.c tests/unit/test_conf.h
tests_unit_test_identity_match_LDADD = libidentity.a libconf.a libbase.a $(CONFIG_LIBS) \
	$(CMOCKA_LIBS)

tests_unit_test_identity_slots_SOURCES = tests/unit/test_identity_slots.c
tests_unit_test_identity_slots_LDADD = libidentity.a libflip.a libtls.a libbase.a \
	$(WOLFSSL_LIBS) $(CMOCKA_LIBS)
