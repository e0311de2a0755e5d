#!/bin/sh
# ocsp_pki.sh DIR - a CA, what it has issued, and what it and others say of that (OCSP), made by openssl.
#
# Certificates are NAME.der: ca, good, revoked, strange (which the CA does not know).  Responses are SIGNER-NAME.resp,
# of the signers ca, responder (a delegate), plain (not made for that), foreign (of another CA), and some more.

set -eu
cd "$1"
exec 2>openssl.log

cat >ext.cnf <<'EOF'
[req]
distinguished_name = dn
[dn]
[ca]
basicConstraints = critical, CA:true
keyUsage = critical, keyCertSign, cRLSign, digitalSignature
[leaf]
basicConstraints = CA:false
extendedKeyUsage = serverAuth
[responder]
basicConstraints = CA:false
extendedKeyUsage = OCSPSigning
EOF

root() { # NAME
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$1.key" -out "$1.pem" -days 3650 \
        -subj "/O=Plant/CN=$1" -config ext.cnf -extensions ca
}
issue() { # CA NAME SERIAL EXTENSIONS
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$2.key" -out "$2.csr" \
        -subj "/O=Plant/CN=$2" -config ext.cnf
    openssl x509 -req -in "$2.csr" -CA "$1.pem" -CAkey "$1.key" -set_serial "$3" -days 3600 -extfile ext.cnf \
        -extensions "$4" -out "$2.pem"
}
root ca
root other
issue ca good 0x1001 leaf
issue ca revoked 0x1002 leaf
issue ca strange 0x1003 leaf
issue ca responder 0x1004 responder
issue ca plain 0x1005 leaf
issue other foreign 0x1006 responder
printf 'V\t491231235959Z\t\t1001\tunknown\t/O=Plant/CN=good\n' >index
printf 'R\t491231235959Z\t240229120000Z,keyCompromise\t1002\tunknown\t/O=Plant/CN=revoked\n' >>index

respond() { # NAME SIGNER OF [-OPTION...]
    openssl ocsp -issuer ca.pem "${hash:--sha1}" -cert "$3.pem" -no_nonce -reqout request
    name=$1 signer=$2
    shift 3
    openssl ocsp -index index -CA ca.pem -rsigner "$signer.pem" -rkey "$signer.key" -reqin request \
        -respout "$name.resp" "$@" >log
}
for of in good revoked strange; do
    respond ca-$of ca $of -ndays 7 -resp_no_certs
    respond responder-$of responder $of -ndays 7
done
hash=-sha256
respond ca-sha256 ca good -ndays 7 -resp_no_certs
hash=-sha1
respond ca-by-key ca good -ndays 7 -resp_key_id -resp_no_certs
respond responder-by-key responder good -ndays 7 -resp_key_id
respond responder-alone responder good -ndays 7 -resp_no_certs
respond plain-good plain good -ndays 7
respond foreign-good foreign good -ndays 7
respond weak-good ca good -ndays 7 -rmd sha1 -resp_no_certs
respond ca-open ca good -resp_no_certs
printf '\060\003\012\001\003' >later.resp # tryLater
for name in ca good revoked strange; do
    openssl x509 -in $name.pem -outform DER -out $name.der
done
