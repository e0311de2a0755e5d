check_PROGRAMS += tests/unit/test_net_inbox tests/unit/test_net_stream

net_test_ldadd = libnet.a libbase.a $(UV_LIBS) $(CMOCKA_LIBS)

tests_unit_test_net_inbox_SOURCES = tests/unit/test_net_inbox.c
tests_unit_test_net_inbox_LDADD = $(net_test_ldadd)

tests_unit_test_net_stream_SOURCES = tests/unit/test_net_stream.c
tests_unit_test_net_stream_LDADD = $(net_test_ldadd)
