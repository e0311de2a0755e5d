# src/conf/local.mk - the configuration: one file, and what it includes, into one struct.

noinst_LIBRARIES += libconf.a
libconf_a_SOURCES = \
	src/conf/check.c src/conf/check.h \
	src/conf/conf.c src/conf/conf.h \
	src/conf/fault.c src/conf/fault.h \
	src/conf/load.h \
	src/conf/parse.c src/conf/parse.h \
	src/conf/schema.c src/conf/schema.h \
	src/conf/source.c src/conf/source.h \
	src/conf/template.c src/conf/template.h \
	src/conf/value.c src/conf/value.h

dist_man_MANS += src/conf/certflip.conf.5
