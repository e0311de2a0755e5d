# Faults on purpose: the linker puts the test's own functions before libc's.
base_test_ldadd = libbase.a $(CMOCKA_LIBS)

# For the tests of every folder.
EXTRA_DIST += tests/unit/scratch.h

check_PROGRAMS += \
	tests/unit/test_base_base64url \
	tests/unit/test_base_buf \
	tests/unit/test_base_clock \
	tests/unit/test_base_crash \
	tests/unit/test_base_durable \
	tests/unit/test_base_err \
	tests/unit/test_base_heap \
	tests/unit/test_base_histogram \
	tests/unit/test_base_log \
	tests/unit/test_base_log_filter \
	tests/unit/test_base_log_line \
	tests/unit/test_base_log_repeat \
	tests/unit/test_base_log_ring \
	tests/unit/test_base_log_sink \
	tests/unit/test_base_map \
	tests/unit/test_base_names \
	tests/unit/test_base_secret \
	tests/unit/test_base_str

tests_unit_test_base_base64url_SOURCES = tests/unit/test_base_base64url.c
tests_unit_test_base_base64url_LDADD = $(base_test_ldadd)

tests_unit_test_base_buf_SOURCES = tests/unit/test_base_buf.c
tests_unit_test_base_buf_LDADD = $(base_test_ldadd)
tests_unit_test_base_buf_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=malloc,--wrap=realloc,--wrap=free

tests_unit_test_base_clock_SOURCES = tests/unit/test_base_clock.c tests/unit/real_names.h
tests_unit_test_base_clock_LDADD = $(base_test_ldadd)
tests_unit_test_base_clock_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=getrandom,--wrap=adjtimex,--wrap=clock_gettime \
	-Wl,--wrap=___adjtimex64,--wrap=__clock_gettime64

tests_unit_test_base_crash_SOURCES = tests/unit/test_base_crash.c
tests_unit_test_base_crash_LDADD = $(base_test_ldadd)

tests_unit_test_base_durable_SOURCES = tests/unit/test_base_durable.c tests/unit/real_names.h
tests_unit_test_base_durable_LDADD = $(base_test_ldadd)
tests_unit_test_base_durable_LDFLAGS = $(AM_LDFLAGS) \
	-Wl,--wrap=mkostemp,--wrap=fchmod,--wrap=write,--wrap=fsync,--wrap=close,--wrap=rename \
	-Wl,--wrap=open,--wrap=read,--wrap=fstat,--wrap=mkdir,--wrap=chmod,--wrap=realloc \
	-Wl,--wrap=strdup,--wrap=strndup,--wrap=mkostemp64,--wrap=open64,--wrap=__fstat64_time64

tests_unit_test_base_err_SOURCES = tests/unit/test_base_err.c
tests_unit_test_base_err_LDADD = $(base_test_ldadd)

tests_unit_test_base_histogram_SOURCES = tests/unit/test_base_histogram.c
tests_unit_test_base_histogram_LDADD = $(base_test_ldadd)

tests_unit_test_base_heap_SOURCES = tests/unit/test_base_heap.c
tests_unit_test_base_heap_LDADD = $(base_test_ldadd)

tests_unit_test_base_log_SOURCES = tests/unit/test_base_log.c
tests_unit_test_base_log_LDADD = $(base_test_ldadd) $(JANSSON_LIBS)
tests_unit_test_base_log_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=write

tests_unit_test_base_log_filter_SOURCES = tests/unit/test_base_log_filter.c
tests_unit_test_base_log_filter_LDADD = $(base_test_ldadd)

tests_unit_test_base_log_line_SOURCES = tests/unit/test_base_log_line.c
tests_unit_test_base_log_line_LDADD = $(base_test_ldadd)

tests_unit_test_base_log_repeat_SOURCES = tests/unit/test_base_log_repeat.c
tests_unit_test_base_log_repeat_LDADD = $(base_test_ldadd) -lpthread

tests_unit_test_base_log_ring_SOURCES = tests/unit/test_base_log_ring.c
tests_unit_test_base_log_ring_LDADD = $(base_test_ldadd) -lpthread

tests_unit_test_base_log_sink_SOURCES = tests/unit/test_base_log_sink.c
tests_unit_test_base_log_sink_LDADD = $(base_test_ldadd)

tests_unit_test_base_map_SOURCES = tests/unit/test_base_map.c
tests_unit_test_base_map_LDADD = $(base_test_ldadd)
tests_unit_test_base_map_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=malloc,--wrap=calloc

tests_unit_test_base_names_SOURCES = tests/unit/test_base_names.c
tests_unit_test_base_names_LDADD = $(base_test_ldadd)

tests_unit_test_base_secret_SOURCES = tests/unit/test_base_secret.c
tests_unit_test_base_secret_LDADD = $(base_test_ldadd) -lpthread

tests_unit_test_base_str_SOURCES = tests/unit/test_base_str.c
tests_unit_test_base_str_LDADD = $(base_test_ldadd)
