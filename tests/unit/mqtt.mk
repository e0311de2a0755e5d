# The codec.  mqtt_samples.c has good packets for all; the mutants run the fuzz target without a fuzzer.
check_PROGRAMS += \
	tests/unit/test_mqtt_check \
	tests/unit/test_mqtt_convert \
	tests/unit/test_mqtt_fields \
	tests/unit/test_mqtt_mutants \
	tests/unit/test_mqtt_packet \
	tests/unit/test_mqtt_props \
	tests/unit/test_mqtt_topic

mqtt_samples = tests/unit/mqtt_samples.c tests/unit/mqtt_samples.h
mqtt_test_ldadd = libmqtt.a libbase.a $(CMOCKA_LIBS)

tests_unit_test_mqtt_check_SOURCES = tests/unit/test_mqtt_check.c $(mqtt_samples)
tests_unit_test_mqtt_check_LDADD = $(mqtt_test_ldadd)

tests_unit_test_mqtt_convert_SOURCES = tests/unit/test_mqtt_convert.c tests/fuzz/fuzz_convert.c $(mqtt_samples)
tests_unit_test_mqtt_convert_LDADD = $(mqtt_test_ldadd)

tests_unit_test_mqtt_fields_SOURCES = tests/unit/test_mqtt_fields.c $(mqtt_samples)
tests_unit_test_mqtt_fields_LDADD = $(mqtt_test_ldadd)

tests_unit_test_mqtt_mutants_SOURCES = tests/unit/test_mqtt_mutants.c tests/fuzz/fuzz_mqtt.c $(mqtt_samples)
tests_unit_test_mqtt_mutants_LDADD = $(mqtt_test_ldadd)

tests_unit_test_mqtt_packet_SOURCES = tests/unit/test_mqtt_packet.c $(mqtt_samples)
tests_unit_test_mqtt_packet_LDADD = $(mqtt_test_ldadd)
tests_unit_test_mqtt_packet_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=realloc

tests_unit_test_mqtt_props_SOURCES = tests/unit/test_mqtt_props.c
tests_unit_test_mqtt_props_LDADD = $(mqtt_test_ldadd)

tests_unit_test_mqtt_topic_SOURCES = tests/unit/test_mqtt_topic.c
tests_unit_test_mqtt_topic_LDADD = $(mqtt_test_ldadd)
