# Fuzz targets: make fuzz, in a build configured with --enable-fuzz CC=clang.  Seeds of fuzz_NAME lie in
# corpus/NAME.  EXTRA_PROGRAMS: elsewhere they would not link.

EXTRA_PROGRAMS += tests/fuzz/fuzz_mqtt
fuzz_programs += tests/fuzz/fuzz_mqtt
EXTRA_DIST += tests/fuzz/corpus/mqtt

tests_fuzz_fuzz_mqtt_SOURCES = tests/fuzz/fuzz_mqtt.c
tests_fuzz_fuzz_mqtt_LDADD = libmqtt.a libbase.a
tests_fuzz_fuzz_mqtt_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)

EXTRA_PROGRAMS += tests/fuzz/fuzz_convert
fuzz_programs += tests/fuzz/fuzz_convert
EXTRA_DIST += tests/fuzz/corpus/convert

tests_fuzz_fuzz_convert_SOURCES = tests/fuzz/fuzz_convert.c
tests_fuzz_fuzz_convert_LDADD = libmqtt.a libbase.a
tests_fuzz_fuzz_convert_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)

# Writes tests/fuzz/corpus/mqtt and .../convert anew, when the packets in tests/unit/mqtt_samples.c have changed.
EXTRA_PROGRAMS += tests/fuzz/seed_mqtt
tests_fuzz_seed_mqtt_SOURCES = tests/fuzz/seed_mqtt.c tests/unit/mqtt_samples.c tests/unit/mqtt_samples.h
tests_fuzz_seed_mqtt_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/tests/unit
tests_fuzz_seed_mqtt_LDADD = libmqtt.a libbase.a

fuzz-seeds: tests/fuzz/seed_mqtt
	tests/fuzz/seed_mqtt '$(top_srcdir)/tests/fuzz/corpus/mqtt' '$(top_srcdir)/tests/fuzz/corpus/convert'

.PHONY: fuzz-seeds

EXTRA_PROGRAMS += tests/fuzz/fuzz_conf
fuzz_programs += tests/fuzz/fuzz_conf
EXTRA_DIST += tests/fuzz/corpus/conf tests/fuzz/conf.dict

tests_fuzz_fuzz_conf_SOURCES = tests/fuzz/fuzz_conf.c
tests_fuzz_fuzz_conf_LDADD = libconf.a libbase.a $(CONFIG_LIBS)
tests_fuzz_fuzz_conf_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)

EXTRA_PROGRAMS += tests/fuzz/fuzz_crl
fuzz_programs += tests/fuzz/fuzz_crl
EXTRA_DIST += tests/fuzz/corpus/crl

tests_fuzz_fuzz_crl_SOURCES = tests/fuzz/fuzz_crl.c
tests_fuzz_fuzz_crl_LDADD = libtls.a libbase.a $(WOLFSSL_LIBS)
tests_fuzz_fuzz_crl_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)

# Seeds: chains of tests/scenario/test_lint.py, an octet before them, the anchor behind.
EXTRA_PROGRAMS += tests/fuzz/fuzz_lint
fuzz_programs += tests/fuzz/fuzz_lint
EXTRA_DIST += tests/fuzz/corpus/lint

tests_fuzz_fuzz_lint_SOURCES = tests/fuzz/fuzz_lint.c
tests_fuzz_fuzz_lint_LDADD = liblint.a libtls.a libbase.a $(WOLFSSL_LIBS)
tests_fuzz_fuzz_lint_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)

# Their seeds are what tests/unit/tls_containers.sh makes, behind an octet that chooses the password.
EXTRA_PROGRAMS += tests/fuzz/fuzz_bundle tests/fuzz/fuzz_pkcs12
fuzz_programs += tests/fuzz/fuzz_bundle tests/fuzz/fuzz_pkcs12
EXTRA_DIST += tests/fuzz/corpus/bundle tests/fuzz/corpus/pkcs12

tests_fuzz_fuzz_bundle_SOURCES = tests/fuzz/fuzz_bundle.c
tests_fuzz_fuzz_bundle_LDADD = libtls.a libbase.a $(WOLFSSL_LIBS)
tests_fuzz_fuzz_bundle_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)

tests_fuzz_fuzz_pkcs12_SOURCES = tests/fuzz/fuzz_pkcs12.c
tests_fuzz_fuzz_pkcs12_LDADD = libtls.a libbase.a $(WOLFSSL_LIBS)
tests_fuzz_fuzz_pkcs12_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)

EXTRA_PROGRAMS += tests/fuzz/fuzz_signed
fuzz_programs += tests/fuzz/fuzz_signed
EXTRA_DIST += tests/fuzz/corpus/signed

tests_fuzz_fuzz_signed_SOURCES = tests/fuzz/fuzz_signed.c
tests_fuzz_fuzz_signed_LDADD = libcontrol.a libtls.a libbase.a $(WOLFSSL_LIBS) $(JANSSON_LIBS)
tests_fuzz_fuzz_signed_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)

# Seeds: a request for each method, and some that are none.  It stands on the world of the unit tests.
if CMOCKA
EXTRA_PROGRAMS += tests/fuzz/fuzz_dispatch
fuzz_programs += tests/fuzz/fuzz_dispatch
endif
EXTRA_DIST += tests/fuzz/corpus/dispatch tests/fuzz/dispatch.dict

tests_fuzz_fuzz_dispatch_SOURCES = tests/fuzz/fuzz_dispatch.c $(control_world)
tests_fuzz_fuzz_dispatch_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/tests/unit
tests_fuzz_fuzz_dispatch_LDADD = $(control_world_libs)
tests_fuzz_fuzz_dispatch_LDFLAGS = $(control_world_ldflags) $(FUZZ_LDFLAGS)

# Seeds: what openssl s_client begins with.
EXTRA_PROGRAMS += tests/fuzz/fuzz_hello
fuzz_programs += tests/fuzz/fuzz_hello
EXTRA_DIST += tests/fuzz/corpus/hello

tests_fuzz_fuzz_hello_SOURCES = tests/fuzz/fuzz_hello.c
tests_fuzz_fuzz_hello_LDADD = libtls.a libbase.a
tests_fuzz_fuzz_hello_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)

# Seeds: an octet, then issuer, certificate and response of tests/unit/ocsp_pki.sh.
EXTRA_PROGRAMS += tests/fuzz/fuzz_ocsp
fuzz_programs += tests/fuzz/fuzz_ocsp
EXTRA_DIST += tests/fuzz/corpus/ocsp

tests_fuzz_fuzz_ocsp_SOURCES = tests/fuzz/fuzz_ocsp.c
tests_fuzz_fuzz_ocsp_LDADD = libtls.a libbase.a $(WOLFSSL_LIBS)
tests_fuzz_fuzz_ocsp_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS) -Wl,--wrap=sig_verify

EXTRA_PROGRAMS += tests/fuzz/fuzz_uri
fuzz_programs += tests/fuzz/fuzz_uri
EXTRA_DIST += tests/fuzz/corpus/uri

tests_fuzz_fuzz_uri_SOURCES = tests/fuzz/fuzz_uri.c
tests_fuzz_fuzz_uri_LDADD = libtls.a libbase.a
tests_fuzz_fuzz_uri_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)

# Seeds: requests by openssl, with and without extensions.
EXTRA_PROGRAMS += tests/fuzz/fuzz_csr
fuzz_programs += tests/fuzz/fuzz_csr
EXTRA_DIST += tests/fuzz/corpus/csr

tests_fuzz_fuzz_csr_SOURCES = tests/fuzz/fuzz_csr.c
tests_fuzz_fuzz_csr_LDADD = libtls.a libbase.a $(WOLFSSL_LIBS)
tests_fuzz_fuzz_csr_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)

# Seeds: what a certflipd has retained, a topic and a message in each line.
EXTRA_PROGRAMS += tests/fuzz/fuzz_fleet_view
fuzz_programs += tests/fuzz/fuzz_fleet_view
EXTRA_DIST += tests/fuzz/corpus/fleet_view

tests_fuzz_fuzz_fleet_view_SOURCES = tests/fuzz/fuzz_fleet_view.c
tests_fuzz_fuzz_fleet_view_LDADD = libfleet.a libcli.a libcontrol.a liblint.a libtls.a libbase.a $(WOLFSSL_LIBS) $(JANSSON_LIBS)
tests_fuzz_fuzz_fleet_view_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)
