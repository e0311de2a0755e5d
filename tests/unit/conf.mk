# tests/unit/conf.mk - the configuration.  tests/data/conf has files and the faults that they give.
check_PROGRAMS += \
	tests/unit/test_conf_faults \
	tests/unit/test_conf_load \
	tests/unit/test_conf_manual \
	tests/unit/test_conf_schema \
	tests/unit/test_conf_template \
	tests/unit/test_conf_torture

EXTRA_DIST += tests/data/conf

conf_test_ldadd = libconf.a libbase.a $(CONFIG_LIBS) $(CMOCKA_LIBS)

tests_unit_test_conf_faults_SOURCES = tests/unit/test_conf_faults.c tests/unit/test_conf.h
tests_unit_test_conf_faults_LDADD = $(conf_test_ldadd)

tests_unit_test_conf_load_SOURCES = tests/unit/test_conf_load.c tests/unit/test_conf.h
tests_unit_test_conf_load_LDADD = $(conf_test_ldadd)

tests_unit_test_conf_manual_SOURCES = tests/unit/test_conf_manual.c tests/unit/test_conf.h
tests_unit_test_conf_manual_LDADD = $(conf_test_ldadd)

tests_unit_test_conf_schema_SOURCES = tests/unit/test_conf_schema.c tests/unit/test_conf.h
tests_unit_test_conf_schema_LDADD = $(conf_test_ldadd)

tests_unit_test_conf_template_SOURCES = tests/unit/test_conf_template.c
tests_unit_test_conf_template_LDADD = $(conf_test_ldadd)

# Each allocation fails once: the linker puts the test's own functions before libc's.
tests_unit_test_conf_torture_SOURCES = tests/unit/test_conf_torture.c tests/unit/test_conf.h
tests_unit_test_conf_torture_LDADD = $(conf_test_ldadd)
tests_unit_test_conf_torture_LDFLAGS = $(AM_LDFLAGS) \
	-Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=strdup,--wrap=strndup,--wrap=vasprintf
