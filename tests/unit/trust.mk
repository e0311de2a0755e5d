# tests/unit/trust.mk - the certificates are those of the tests of src/tls.
check_PROGRAMS += tests/unit/test_trust_set

tests_unit_test_trust_set_SOURCES = tests/unit/test_trust_set.c $(tls_test_pki)
tests_unit_test_trust_set_CPPFLAGS = $(tls_test_cppflags)
tests_unit_test_trust_set_LDADD = libtrust.a $(tls_test_ldadd)
