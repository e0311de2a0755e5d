noinst_LIBRARIES += libstore.a
libstore_a_SOURCES = \
	src/store/audit.c \
	src/store/commands.c \
	src/store/db.c src/store/db.h \
	src/store/devices.c \
	src/store/schema.c src/store/schema.h \
	src/store/store.h \
	src/store/trust.c \
	src/store/values.c
