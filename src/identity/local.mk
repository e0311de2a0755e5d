# src/identity/local.mk - what a device is: who connects, and with which identities.

noinst_LIBRARIES += libidentity.a
libidentity_a_SOURCES = \
	src/identity/files.c src/identity/files.h \
	src/identity/keygen.c src/identity/keygen.h \
	src/identity/match.c src/identity/match.h \
	src/identity/slots.c src/identity/slots.h
