noinst_LIBRARIES += libnet.a
libnet_a_SOURCES = \
	src/net/dial.c src/net/dial.h \
	src/net/inbox.c src/net/inbox.h \
	src/net/listen.c src/net/listen.h \
	src/net/stream.c src/net/stream.h
