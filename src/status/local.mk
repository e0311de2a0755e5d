# src/status/local.mk - metrics, health, JSON and a page over HTTP: the folder of libmicrohttpd.

noinst_LIBRARIES += libstatus.a
libstatus_a_SOURCES = \
	src/status/api.c \
	src/status/health.c \
	src/status/inside.h \
	src/status/metrics.c \
	src/status/page.c \
	src/status/server.c \
	src/status/server.h \
	src/status/status.c \
	src/status/status.h \
	src/status/table.c
nodist_libstatus_a_SOURCES = src/status/page_html.c
CLEANFILES += src/status/page_html.c
EXTRA_DIST += src/status/page.html packaging/grafana/certflip.json \
	packaging/prometheus/certflip.rules.yml packaging/prometheus/certflip.test.yml

# The page as bytes: a string would be longer than a compiler has to take.
src/status/page_html.c: src/status/page.html src/status/local.mk
	@$(MKDIR_P) src/status
	$(AM_V_GEN){ \
		echo '/* Made of page.html. */'; \
		echo 'extern const unsigned char status_page_html[]; extern const unsigned status_page_html_bytes;'; \
		echo 'const unsigned char status_page_html[] = {'; \
		od -An -v -tx1 '$(srcdir)/src/status/page.html' | sed 's/ \([0-9a-f][0-9a-f]\)/0x\1,/g'; \
		echo '};'; \
		echo 'const unsigned status_page_html_bytes = sizeof(status_page_html);'; \
	} >$@.new && mv $@.new $@
