noinst_LIBRARIES += libtls.a
libtls_a_SOURCES = \
	src/tls/anchor.c src/tls/anchor.h \
	src/tls/bundle.c src/tls/bundle.h \
	src/tls/ca.c src/tls/ca.h \
	src/tls/chain.c src/tls/chain.h \
	src/tls/cert.c src/tls/cert.h \
	src/tls/conn.c src/tls/conn.h \
	src/tls/cred.c src/tls/cred.h \
	src/tls/crl.c src/tls/crl.h \
	src/tls/crl_inside.h src/tls/crl_set.c \
	src/tls/csr.c src/tls/csr.h src/tls/csr_inside.h src/tls/csr_read.c \
	src/tls/cryptoki.c src/tls/cryptoki.h \
	src/tls/ctx.c src/tls/ctx.h \
	src/tls/der.c src/tls/der.h \
	src/tls/excuse.c src/tls/excuse.h \
	src/tls/fail.c src/tls/fail.h \
	src/tls/jws.c src/tls/jws.h \
	src/tls/key.c src/tls/key.h \
	src/tls/names.c src/tls/names.h \
	src/tls/ocsp.c src/tls/ocsp.h src/tls/staple.c \
	src/tls/heap.c \
	src/tls/hello.c src/tls/hello.h \
	src/tls/keyring.c src/tls/keyring.h src/tls/keyring_inside.h \
	src/tls/pbe.c src/tls/pbe.h \
	src/tls/pem.c src/tls/pem.h \
	src/tls/pkcs12.c src/tls/pkcs12.h \
	src/tls/pkcs8.c src/tls/pkcs8.h \
	src/tls/policy.c src/tls/policy.h \
	src/tls/sig.c src/tls/sig.h \
	src/tls/token.c src/tls/token.h src/tls/token_inside.h \
	src/tls/token_key.c \
	src/tls/token_keygen.c \
	src/tls/token_session.c \
	src/tls/uri.c src/tls/uri.h \
	src/tls/trail.c src/tls/trail.h \
	src/tls/verify.c src/tls/verify.h \
	src/tls/wolf.h
