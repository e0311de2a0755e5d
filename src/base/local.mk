noinst_LIBRARIES += libbase.a
libbase_a_SOURCES = \
	src/base/base64url.c src/base/base64url.h \
	src/base/buf.c src/base/buf.h \
	src/base/clock.c src/base/clock.h \
	src/base/crash.c src/base/crash.h \
	src/base/durable.c src/base/durable.h \
	src/base/err.c src/base/err.h \
	src/base/heap.c src/base/heap.h \
	src/base/histogram.c src/base/histogram.h \
	src/base/list.h \
	src/base/log.c src/base/log.h \
	src/base/log_filter.c src/base/log_filter.h \
	src/base/log_line.c src/base/log_line.h \
	src/base/log_repeat.c src/base/log_repeat.h \
	src/base/log_ring.c src/base/log_ring.h \
	src/base/log_sink.c src/base/log_sink.h \
	src/base/map.c src/base/map.h \
	src/base/names.c src/base/names.h \
	src/base/pile.c src/base/pile.h \
	src/base/rand.c src/base/rand.h \
	src/base/secret.c src/base/secret.h \
	src/base/str.c src/base/str.h \
	src/base/subnet.c src/base/subnet.h
