noinst_LIBRARIES += libworker.a
libworker_a_SOURCES = \
	src/worker/msg.c src/worker/msg.h \
	src/worker/worker.c src/worker/worker.h
