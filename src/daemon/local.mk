# src/daemon/local.mk - certflipd.

sbin_PROGRAMS += certflipd
certflipd_SOURCES = \
	src/daemon/main.c \
	src/daemon/notify.c \
	src/daemon/notify.h
certflipd_LDADD = libstatus.a libcontrol.a libworker.a libstore.a libsession.a libtrust.a libidentity.a liblint.a libflip.a \
	libconf.a libmqtt.a libtls.a libnet.a libbase.a $(MICROHTTPD_LIBS) $(external_libs)
dist_man_MANS += src/daemon/certflipd.8
EXTRA_DIST += packaging/systemd/certflip.service packaging/systemd/privileged-ports.conf \
	packaging/systemd/pkcs11-token.conf packaging/systemd/passphrase.conf
