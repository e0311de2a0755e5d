#!/bin/sh
# crl_pki.sh DIR - CAs, certificates and the lists that revoke some, made by openssl for the tests of revocation.
set -eu
cd "$1"
exec 2>openssl.log

ca() { # NAME KIND SUBJECT EXTENSIONS
    case $2 in
    rsa) openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out "$1.key" ;;
    ed) openssl genpkey -algorithm ed25519 -out "$1.key" ;;
    *) openssl genpkey -algorithm EC -pkeyopt "ec_paramgen_curve:$2" -out "$1.key" ;;
    esac
    : >"$1.index"
    echo 01 >"$1.number"
    cat >"$1.cnf" <<END
[req]
distinguished_name = dn
[dn]
[ca]
default_ca = one
[one]
database = $1.index
crlnumber = $1.number
new_certs_dir = .
rand_serial = yes
unique_subject = no
default_md = sha256
policy = any
certificate = $1.pem
private_key = $1.key
default_crl_days = 3650
[any]
commonName = optional
organizationName = optional
[v3_ca]
basicConstraints = critical, CA:true
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid:always
[v3_nosign]
basicConstraints = critical, CA:true
keyUsage = critical, keyCertSign
subjectKeyIdentifier = hash
[v3_client]
basicConstraints = CA:false
extendedKeyUsage = clientAuth
[v3_pointed]
basicConstraints = CA:false
extendedKeyUsage = clientAuth
crlDistributionPoints = URI:http://pki.example/part-1.crl
[list]
authorityKeyIdentifier = keyid
[users]
issuingDistributionPoint = critical, @idp_users
[idp_users]
onlyuser = TRUE
[part]
issuingDistributionPoint = critical, @idp_part
[idp_part]
fullname = URI:http://pki.example/part-1.crl
[indirect]
issuingDistributionPoint = critical, @idp_indirect
[idp_indirect]
indirectCRL = TRUE
[reasons]
issuingDistributionPoint = critical, @idp_reasons
[idp_reasons]
onlysomereasons = keyCompromise
[delta]
2.5.29.27 = critical, DER:02:01:01
[unknown]
1.2.3.4 = critical, DER:05:00
END
    if [ -n "$4" ]; then
        openssl req -new -x509 -config "$1.cnf" -extensions "$4" -key "$1.key" -days 3650 -subj "$3" -out "$1.pem"
    fi
}
issue() { # CA NAME EXTENSIONS [START END]
    [ -f "$2.key" ] || openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$2.key"
    chmod 600 "$2.key"
    openssl req -new -config "$1.cnf" -key "$2.key" -subj "/O=Plant/CN=$2" -out "$2.csr"
    openssl ca -batch -notext -config "$1.cnf" -extensions "$3" -startdate "${4:-20200101000000Z}" \
        -enddate "${5:-20491231235959Z}" -in "$2.csr" -out "$2.pem"
}
revoke() { # CA NAME [REASON]
    openssl ca -config "$1.cnf" -revoke "$2.pem" ${3:+-crl_reason "$3"}
}
list() { # CA FILE [OPTIONS ...]
    from=$1 to=$2
    shift 2
    [ $# -gt 0 ] || set -- -crlexts list
    openssl ca -config "$from.cnf" -gencrl "$@" -out "$to"
}

ca root P-256 /O=Plant/CN=root v3_ca
ca twin P-256 /O=Plant/CN=root v3_ca # somebody else of the same name
ca far P-256 /O=Elsewhere/CN=far v3_ca
ca rsa rsa /O=Plant/CN=rsa v3_ca
ca p384 P-384 /O=Plant/CN=p384 v3_ca
ca ed ed /O=Plant/CN=ed v3_ca
ca nosign P-256 /O=Plant/CN=nosign v3_nosign
ca int P-256 /O=Plant/CN=int ''
ca int2 P-256 /O=Plant/CN=int2 ''
issue root int v3_ca
issue root int2 v3_ca
issue root good v3_client
issue root bad v3_client
issue root old v3_client 20200101000000Z 20210101000000Z
issue int below v3_client
issue int below-bad v3_client
issue int2 below2 v3_client
issue root pointed v3_pointed

list root root-0.crl # number 1: nobody yet
revoke root bad keyCompromise
revoke root old superseded
revoke root int2 cACompromise
revoke int below-bad
list root root.crl # number 2
list int int.crl
list root root-stale.crl -crlexts list -crl_lastupdate 20200101000000Z -crl_nextupdate 20200201000000Z
list twin twin.crl
list far far.crl
list nosign nosign.crl
list root users.crl -crlexts users
list root part.crl -crlexts part
for kind in indirect reasons delta unknown; do list root $kind.crl -crlexts $kind; done
list root sha1.crl -crlexts list -md sha1
mv root.number root.number.kept # without a number, and without extensions at all: version 1
sed '/^crlnumber/d' root.cnf >v1.cnf
cp root.index v1.index
openssl ca -config v1.cnf -gencrl -out v1.crl
mv root.number.kept root.number
list root root-9.crl # a newer one
for kind in rsa p384 ed; do list $kind $kind.crl; done
openssl ca -config rsa.cnf -gencrl -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:32 -out rsa-pss.crl
openssl crl -in root.crl -outform DER -out root.der
cat root.crl int.pem int.crl >root-and-int.crl

# Thousands of certificates, all of them revoked.
ca big P-256 /O=Plant/CN=big v3_ca
awk 'BEGIN { for (i = 1; i <= 100000; i++)
    printf "R\t491231235959Z\t250101000000Z,keyCompromise\t%032X\tunknown\t/CN=b%d\n", i * 7919, i }' >big.index
list big big.crl
