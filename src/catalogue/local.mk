# src/catalogue/local.mk - what can go wrong, and what to do about it.  It goes into the archive that everybody links:
# every folder above base says its failures in these words.

libbase_a_SOURCES += \
	src/catalogue/catalogue.c src/catalogue/catalogue.h \
	src/catalogue/findings.h \
	src/catalogue/rows.c

# Its manual is written by a program that runs here, whatever machine the rest is for.
CC_FOR_BUILD = $(if $(filter $(build),$(host)),$(CC),cc)
catalogue_manual_sources = src/catalogue/manual.c src/catalogue/catalogue.c src/catalogue/rows.c

src/catalogue/certflip-errors.7: $(catalogue_manual_sources) src/catalogue/catalogue.h src/catalogue/findings.h
	@$(MKDIR_P) src/catalogue
	$(AM_V_GEN)sources=; for f in $(catalogue_manual_sources); do sources="$$sources $(srcdir)/$$f"; done; \
	$(CC_FOR_BUILD) -std=gnu17 -D_GNU_SOURCE -I'$(srcdir)/src' -o $@.writer $$sources && \
	./$@.writer > $@.tmp && mv $@.tmp $@

EXTRA_DIST += src/catalogue/manual.c
man_MANS += src/catalogue/certflip-errors.7
CLEANFILES += src/catalogue/certflip-errors.7 src/catalogue/certflip-errors.7.writer \
	src/catalogue/certflip-errors.7.tmp
