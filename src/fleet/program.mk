# The program, its way to the broker, and the commands that need no campaign.
libfleet_a_SOURCES += \
	src/fleet/command.h \
	src/fleet/link.c \
	src/fleet/view.c \
	src/fleet/words.c src/fleet/words.h

fleet_libs = libfleet.a libcli.a libcontrol.a liblint.a libtls.a libconf.a libbase.a \
	$(WOLFSSL_LIBS) $(MOSQUITTO_LIBS) $(OPENSSL_LIBS) $(CONFIG_LIBS) $(SQLITE_LIBS) $(JANSSON_LIBS) -lm

bin_PROGRAMS += certflip-fleet
certflip_fleet_SOURCES = src/fleet/main.c
certflip_fleet_LDADD = $(fleet_libs)
dist_bashcompletion_DATA += packaging/completion/certflip-fleet
