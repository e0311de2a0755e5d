check_PROGRAMS += tests/unit/test_lint_lint

tests_unit_test_lint_lint_SOURCES = tests/unit/test_lint_lint.c $(tls_test_pki)
tests_unit_test_lint_lint_CPPFLAGS = $(tls_test_cppflags)
tests_unit_test_lint_lint_LDADD = liblint.a $(tls_test_ldadd)
