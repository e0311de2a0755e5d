# libcli.a is everything but main, so that the tests reach it.
noinst_LIBRARIES += libcli.a
libcli_a_SOURCES = \
	src/cli/client.c src/cli/client.h \
	src/cli/commands.c src/cli/commands.h \
	src/cli/crl.c src/cli/crl.h \
	src/cli/devices.c src/cli/devices.h \
	src/cli/explain.c src/cli/explain.h \
	src/cli/find.c src/cli/find.h \
	src/cli/follow.c src/cli/follow.h \
	src/cli/import.c src/cli/import.h \
	src/cli/lint.c src/cli/lint.h \
	src/cli/logs.c src/cli/logs.h \
	src/cli/logs_inside.h \
	src/cli/logs_journal.c \
	src/cli/nearest.c src/cli/nearest.h \
	src/cli/pem.c src/cli/pem.h \
	src/cli/rekey.c src/cli/rekey.h \
	src/cli/schema.c src/cli/schema.h src/cli/schema_texts.h \
	src/cli/show.c src/cli/show.h \
	src/cli/sign.c src/cli/sign.h \
	src/cli/table.c src/cli/table.h \
	src/cli/terminal.c src/cli/terminal.h \
	src/cli/watch.c src/cli/watch.h \
	src/cli/watch_model.c src/cli/watch_model.h \
	src/cli/words.c src/cli/words.h
nodist_libcli_a_SOURCES = src/cli/schema_texts.c

src/cli/schema_texts.c: $(schema_files) build-aux/embed.sh
	@$(MKDIR_P) src/cli
	$(AM_V_GEN)cd '$(srcdir)' && build-aux/embed.sh $(schema_files) >'$(abs_builddir)/$@.tmp'
	@mv $@.tmp $@
CLEANFILES += src/cli/schema_texts.c

bin_PROGRAMS += certflipctl
certflipctl_SOURCES = src/cli/main.c
certflipctl_LDADD = libcli.a libcontrol.a liblint.a libtls.a libbase.a $(WOLFSSL_LIBS) $(JANSSON_LIBS) $(SYSTEMD_LIBS) $(NCURSES_LIBS)

dist_man_MANS += src/cli/certflipctl.1

# Where bash-completion looks when the command is first completed.
bashcompletiondir = $(datadir)/bash-completion/completions
dist_bashcompletion_DATA = packaging/completion/certflipctl
