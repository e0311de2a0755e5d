check_PROGRAMS += tests/unit/test_cli_words tests/unit/test_cli_explain tests/unit/test_cli_show tests/unit/test_cli_schema tests/unit/test_cli_client \
	tests/unit/test_cli_watch

cli_test_libs = libcli.a libcontrol.a liblint.a libtls.a libbase.a $(WOLFSSL_LIBS) $(JANSSON_LIBS) $(SYSTEMD_LIBS) $(NCURSES_LIBS) $(CMOCKA_LIBS)

tests_unit_test_cli_words_SOURCES = tests/unit/test_cli_words.c
tests_unit_test_cli_words_LDADD = $(cli_test_libs)

tests_unit_test_cli_explain_SOURCES = tests/unit/test_cli_explain.c
tests_unit_test_cli_explain_LDADD = $(cli_test_libs)

tests_unit_test_cli_show_SOURCES = tests/unit/test_cli_show.c
tests_unit_test_cli_show_LDADD = $(cli_test_libs)

tests_unit_test_cli_schema_SOURCES = tests/unit/test_cli_schema.c
tests_unit_test_cli_schema_LDADD = $(cli_test_libs)

tests_unit_test_cli_watch_SOURCES = tests/unit/test_cli_watch.c
tests_unit_test_cli_watch_LDADD = $(cli_test_libs)

tests_unit_test_cli_client_SOURCES = tests/unit/test_cli_client.c
tests_unit_test_cli_client_LDADD = $(cli_test_libs) -lpthread
