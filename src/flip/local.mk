noinst_LIBRARIES += libflip.a
libflip_a_SOURCES = \
	src/flip/backoff.c src/flip/backoff.h \
	src/flip/clock.c src/flip/clock.h \
	src/flip/diagnose.c src/flip/diagnose.h \
	src/flip/differ.c src/flip/differ.h \
	src/flip/engine.c src/flip/engine.h \
	src/flip/pace.c src/flip/pace.h \
	src/flip/slot.h
