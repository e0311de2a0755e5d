noinst_LIBRARIES += libsession.a
libsession_a_SOURCES = \
	src/session/adopt.c \
	src/session/alias.c src/session/alias.h \
	src/session/blame.c src/session/blame.h \
	src/session/cleaner.c \
	src/session/connack.c \
	src/session/dial.c \
	src/session/dialect.c src/session/dialect.h \
	src/session/distrust.c \
	src/session/env.h \
	src/session/evidence.c src/session/evidence.h \
	src/session/from_broker.c \
	src/session/from_device.c \
	src/session/gate.c src/session/gate.h \
	src/session/greet.c src/session/greet.h \
	src/session/inflight.c src/session/inflight.h \
	src/session/leave.c \
	src/session/leg.c src/session/leg.h \
	src/session/limits.c src/session/limits.h \
	src/session/pace.c \
	src/session/rehome.c src/session/rehome.h \
	src/session/presence.c src/session/presence.h \
	src/session/relay.c src/session/relay.h \
	src/session/restore.c \
	src/session/retained.c src/session/retained.h \
	src/session/session.c src/session/session.h \
	src/session/snapshot.c src/session/snapshot.h \
	src/session/sources.c src/session/sources.h \
	src/session/stats.h \
	src/session/suspect.c src/session/suspect.h \
	src/session/subs.c src/session/subs.h \
	src/session/upleg.c \
	src/session/upstream.c src/session/upstream_inside.h \
	src/session/verdict.c
