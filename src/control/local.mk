# src/control/local.mk - the main thread: hub, commands and their two transports.

noinst_LIBRARIES += libcontrol.a
libcontrol_a_SOURCES = \
	src/control/central.c \
	src/control/central.h \
	src/control/chains.c \
	src/control/chains.h \
	src/control/crls.c \
	src/control/crls.h \
	src/control/dispatch.c \
	src/control/dispatch.h \
	src/control/dispatch_inside.h \
	src/control/dispatch_job.c \
	src/control/dispatch_once.c \
	src/control/dispatch_target.c \
	src/control/hub.c \
	src/control/hub.h \
	src/control/hub_change.c \
	src/control/hub_clock.c \
	src/control/hub_exceptions.c \
	src/control/hub_flush.c \
	src/control/hub_inside.h \
	src/control/hub_lint.c src/control/hub_lint_lists.c \
	src/control/hub_load.c \
	src/control/hub_news.c \
	src/control/hub_step.c \
	src/control/jsonrpc.c \
	src/control/jsonrpc.h \
	src/control/lint_json.c \
	src/control/lint_json.h \
	src/control/local.c \
	src/control/local.h \
	src/control/methods_crl.c \
	src/control/methods_device.c \
	src/control/methods_flip.c \
	src/control/methods_import.c \
	src/control/methods_gateway.c \
	src/control/methods_identity.c \
	src/control/methods_lint.c \
	src/control/methods_log.c \
	src/control/methods_trust.c \
	src/control/operators.c \
	src/control/operators.h \
	src/control/outbox.c \
	src/control/outbox.h \
	src/control/reload.c \
	src/control/reload.h \
	src/control/rpc.c \
	src/control/rpc.h \
	src/control/show.c \
	src/control/show.h \
	src/control/show_trust.c \
	src/control/signed.c \
	src/control/signed.h \
	src/control/token_watch.c \
	src/control/token_watch.h \
	src/control/trust.c \
	src/control/trust.h

dist_man_MANS += src/control/certflip-mqtt.7
