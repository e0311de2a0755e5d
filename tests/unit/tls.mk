# tests/unit/tls.mk - the certificates are made by openssl when a test starts.
tls_test_cppflags = $(AM_CPPFLAGS) -I$(top_srcdir)/tests/unit \
	-DTLS_PKI_SH='"$(abs_top_srcdir)/tests/unit/tls_pki.sh"'
tls_test_pki = tests/unit/test_tls_pki.c tests/unit/test_tls_pki.h
tls_test_ldadd = libtls.a libbase.a $(WOLFSSL_LIBS) $(CMOCKA_LIBS)

EXTRA_DIST += tests/unit/tls_pki.sh tests/unit/crl_pki.sh tests/unit/ocsp_pki.sh tests/unit/tls_containers.sh

check_PROGRAMS += \
	tests/unit/test_tls_bundle \
	tests/unit/test_tls_cert \
	tests/unit/test_tls_chain \
	tests/unit/test_tls_conn \
	tests/unit/test_tls_cred \
	tests/unit/test_tls_crl \
	tests/unit/test_tls_ctx \
	tests/unit/test_tls_fail \
	tests/unit/test_tls_jws \
	tests/unit/test_tls_key \
	tests/unit/test_tls_keyring \
	tests/unit/test_tls_ocsp \
	tests/unit/test_tls_openssl \
	tests/unit/test_tls_policy

tests_unit_test_tls_bundle_SOURCES = tests/unit/test_tls_bundle.c $(tls_test_pki)
tests_unit_test_tls_bundle_CPPFLAGS = $(tls_test_cppflags) \
	-DTLS_CONTAINERS_SH='"$(abs_top_srcdir)/tests/unit/tls_containers.sh"'
tests_unit_test_tls_bundle_LDADD = $(tls_test_ldadd)

tests_unit_test_tls_cert_SOURCES = tests/unit/test_tls_cert.c $(tls_test_pki)
tests_unit_test_tls_cert_CPPFLAGS = $(tls_test_cppflags)
tests_unit_test_tls_cert_LDADD = $(tls_test_ldadd)

tests_unit_test_tls_chain_SOURCES = tests/unit/test_tls_chain.c $(tls_test_pki)
tests_unit_test_tls_chain_CPPFLAGS = $(tls_test_cppflags)
tests_unit_test_tls_chain_LDADD = $(tls_test_ldadd)

tests_unit_test_tls_conn_SOURCES = tests/unit/test_tls_conn.c $(tls_test_pki)
tests_unit_test_tls_conn_CPPFLAGS = $(tls_test_cppflags)
tests_unit_test_tls_conn_LDADD = $(tls_test_ldadd)

tests_unit_test_tls_cred_SOURCES = tests/unit/test_tls_cred.c $(tls_test_pki)
tests_unit_test_tls_cred_CPPFLAGS = $(tls_test_cppflags)
tests_unit_test_tls_cred_LDADD = $(tls_test_ldadd)

tests_unit_test_tls_crl_SOURCES = tests/unit/test_tls_crl.c $(tls_test_pki)
tests_unit_test_tls_crl_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/tests/unit \
	-DTLS_PKI_SH='"$(abs_top_srcdir)/tests/unit/crl_pki.sh"'
tests_unit_test_tls_crl_LDADD = $(tls_test_ldadd)

tests_unit_test_tls_ctx_SOURCES = tests/unit/test_tls_ctx.c $(tls_test_pki)
tests_unit_test_tls_ctx_CPPFLAGS = $(tls_test_cppflags)
tests_unit_test_tls_ctx_LDADD = $(tls_test_ldadd) -lpthread
tests_unit_test_tls_ctx_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=getauxval

tests_unit_test_tls_fail_SOURCES = tests/unit/test_tls_fail.c
tests_unit_test_tls_fail_LDADD = libtls.a libbase.a $(CMOCKA_LIBS)

tests_unit_test_tls_jws_SOURCES = tests/unit/test_tls_jws.c $(tls_test_pki)
tests_unit_test_tls_jws_CPPFLAGS = $(tls_test_cppflags)
tests_unit_test_tls_jws_LDADD = $(tls_test_ldadd)

tests_unit_test_tls_key_SOURCES = tests/unit/test_tls_key.c $(tls_test_pki)
tests_unit_test_tls_key_CPPFLAGS = $(tls_test_cppflags)
tests_unit_test_tls_key_LDADD = $(tls_test_ldadd)

tests_unit_test_tls_keyring_SOURCES = tests/unit/test_tls_keyring.c $(tls_test_pki)
tests_unit_test_tls_keyring_CPPFLAGS = $(tls_test_cppflags)
tests_unit_test_tls_keyring_LDADD = $(tls_test_ldadd)

tests_unit_test_tls_ocsp_SOURCES = tests/unit/test_tls_ocsp.c
tests_unit_test_tls_ocsp_CPPFLAGS = $(AM_CPPFLAGS) -DOCSP_PKI_SH='"$(abs_top_srcdir)/tests/unit/ocsp_pki.sh"'
tests_unit_test_tls_ocsp_LDADD = $(tls_test_ldadd)

tests_unit_test_tls_openssl_SOURCES = tests/unit/test_tls_openssl.c $(tls_test_pki)
tests_unit_test_tls_openssl_CPPFLAGS = $(tls_test_cppflags)
tests_unit_test_tls_openssl_LDADD = $(tls_test_ldadd)

tests_unit_test_tls_policy_SOURCES = tests/unit/test_tls_policy.c
tests_unit_test_tls_policy_LDADD = libtls.a $(CMOCKA_LIBS)

# A module that is slow, or fails, when told to.  Nothing of ours is in it, and no sanitizer.
token_shim = tests/unit/token_shim.so
tests/unit/token_shim.so: tests/unit/token_shim.c
	$(AM_V_CC)$(CC) -O1 -g -shared -fPIC $(WOLFSSL_CFLAGS) -o $@ $(srcdir)/tests/unit/token_shim.c -ldl

check_DATA = $(token_shim)
CLEANFILES += $(token_shim)
EXTRA_DIST += tests/unit/tls_token.sh tests/unit/token_shim.c

check_PROGRAMS += tests/unit/test_tls_token tests/unit/test_tls_uri

tests_unit_test_tls_token_SOURCES = tests/unit/test_tls_token.c $(tls_test_pki)
tests_unit_test_tls_token_CPPFLAGS = $(tls_test_cppflags) \
	-DTLS_TOKEN_SH='"$(abs_top_srcdir)/tests/unit/tls_token.sh"' \
	-DTOKEN_SHIM='"$(abs_top_builddir)/tests/unit/token_shim.so"'
tests_unit_test_tls_token_LDADD = $(tls_test_ldadd) -lpthread

tests_unit_test_tls_uri_SOURCES = tests/unit/test_tls_uri.c
tests_unit_test_tls_uri_LDADD = libtls.a libbase.a $(CMOCKA_LIBS)
