# libfleet.a is everything but main, so that the tests reach it.
noinst_LIBRARIES += libfleet.a
libfleet_a_SOURCES = \
	src/fleet/campaign.c src/fleet/campaign.h \
	src/fleet/command.c src/fleet/command.h \
	src/fleet/doctor.c src/fleet/doctor.h src/fleet/doctor_judge.c \
	src/fleet/engine.c src/fleet/engine.h \
	src/fleet/engine_inside.h \
	src/fleet/engine_look.c \
	src/fleet/engine_order.c \
	src/fleet/engine_reply.c \
	src/fleet/engine_wave.c \
	src/fleet/gather.c src/fleet/gather.h \
	src/fleet/inventory.c src/fleet/inventory.h \
	src/fleet/ledger.c src/fleet/ledger.h \
	src/fleet/ledger_inside.h \
	src/fleet/ledger_rows.c \
	src/fleet/link.c src/fleet/link.h \
	src/fleet/link_feed.c \
	src/fleet/link_inside.h \
	src/fleet/link_request.c \
	src/fleet/link_tls.c \
	src/fleet/overview.c src/fleet/overview.h \
	src/fleet/pace.c src/fleet/pace.h \
	src/fleet/plan.c src/fleet/plan.h \
	src/fleet/progress.c src/fleet/progress.h \
	src/fleet/report.c src/fleet/report.h \
	src/fleet/report_html.c \
	src/fleet/report_inside.h \
	src/fleet/run.c src/fleet/run.h \
	src/fleet/run_inside.h \
	src/fleet/run_loop.c \
	src/fleet/sign.c src/fleet/sign.h \
	src/fleet/sign_run.c src/fleet/sign_run.h \
	src/fleet/status.c src/fleet/status.h \
	src/fleet/stragglers.c src/fleet/stragglers.h \
	src/fleet/view.c src/fleet/view.h \
	src/fleet/watch.c src/fleet/watch.h \
	src/fleet/window.c src/fleet/window.h \
	src/fleet/words.c src/fleet/words.h

fleet_libs = libfleet.a libcli.a libcontrol.a liblint.a libtls.a libconf.a libbase.a \
	$(WOLFSSL_LIBS) $(MOSQUITTO_LIBS) $(OPENSSL_LIBS) $(CONFIG_LIBS) $(SQLITE_LIBS) $(JANSSON_LIBS) -lm

bin_PROGRAMS += certflip-fleet
certflip_fleet_SOURCES = src/fleet/main.c
certflip_fleet_LDADD = $(fleet_libs)

dist_man_MANS += src/fleet/certflip-fleet.1 src/fleet/certflip-fleet.conf.5
dist_bashcompletion_DATA += packaging/completion/certflip-fleet
