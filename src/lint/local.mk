# src/lint/local.mk - whether certificates are right, before and after they are used; for daemon and tools.

noinst_LIBRARIES += liblint.a
liblint_a_SOURCES = \
	src/lint/files.c src/lint/files.h \
	src/lint/kind.c \
	src/lint/lint.c src/lint/lint.h \
	src/lint/path.c src/lint/path.h
