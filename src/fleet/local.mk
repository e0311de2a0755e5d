# libfleet.a is everything but main, so that the tests reach it.
noinst_LIBRARIES += libfleet.a
libfleet_a_SOURCES = \
	src/fleet/ledger.h \
	src/fleet/link.h \
	src/fleet/progress.c src/fleet/progress.h \
	src/fleet/sign.h \
	src/fleet/view.h
