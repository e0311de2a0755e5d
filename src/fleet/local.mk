# libfleet.a is everything but main, so that the tests reach it.
noinst_LIBRARIES += libfleet.a
libfleet_a_SOURCES = \
	src/fleet/campaign.c src/fleet/campaign.h \
	src/fleet/engine.h \
	src/fleet/ledger.c src/fleet/ledger.h src/fleet/ledger_inside.h \
	src/fleet/ledger_rows.c \
	src/fleet/link.h \
	src/fleet/plan.h \
	src/fleet/progress.c src/fleet/progress.h \
	src/fleet/sign.c src/fleet/sign.h \
	src/fleet/sign_run.c src/fleet/sign_run.h \
	src/fleet/view.h \
	src/fleet/window.c src/fleet/window.h

include src/fleet/program.mk
