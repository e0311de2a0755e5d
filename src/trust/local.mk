# src/trust/local.mk - who is believed: anchors of the configuration, and what was changed at run time.

noinst_LIBRARIES += libtrust.a
libtrust_a_SOURCES = \
	src/trust/change.c src/trust/change.h \
	src/trust/set.c src/trust/set.h \
	src/trust/shelf.c src/trust/shelf.h
