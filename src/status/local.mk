# src/status/local.mk - metrics, health, JSON and a page over HTTP: the folder of libmicrohttpd.

noinst_LIBRARIES += libstatus.a
libstatus_a_SOURCES = \
	src/status/api.c \
	src/status/health.c \
	src/status/inside.h \
	src/status/metrics.c \
	src/status/server.c \
	src/status/server.h \
	src/status/status.c \
	src/status/status.h \
	src/status/table.c
