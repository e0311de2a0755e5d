noinst_LIBRARIES += libtls.a
libtls_a_SOURCES = \
	src/tls/bundle.c src/tls/bundle.h \
	src/tls/cert.c src/tls/cert.h \
	src/tls/conn.c src/tls/conn.h \
	src/tls/cred.c src/tls/cred.h \
	src/tls/crl.c src/tls/crl.h \
	src/tls/crl_inside.h src/tls/crl_set.c \
	src/tls/ctx.c src/tls/ctx.h \
	src/tls/der.c src/tls/der.h \
	src/tls/fail.c src/tls/fail.h \
	src/tls/pbe.c src/tls/pbe.h \
	src/tls/pem.c src/tls/pem.h \
	src/tls/pkcs12.c src/tls/pkcs12.h \
	src/tls/pkcs8.c src/tls/pkcs8.h \
	src/tls/policy.c src/tls/policy.h \
	src/tls/sig.c src/tls/sig.h \
	src/tls/wolf.h
