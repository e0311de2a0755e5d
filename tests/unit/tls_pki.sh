#!/bin/sh
# tls_pki.sh DIR - the certificates that the tests of src/tls need, made by openssl.
#
# For every NAME: NAME.pem (certificate), NAME.key (mode 600), and where there is an intermediate NAME-chain.pem.

set -eu
cd "$1"
exec 2>openssl.log

cat >ca.cnf <<'EOF'
[ca]
default_ca = one
[one]
database = index
new_certs_dir = .
rand_serial = yes
unique_subject = no
default_md = sha256
policy = any
email_in_dn = no
preserve = yes
[any]
commonName = optional
organizationName = optional
organizationalUnitName = optional
countryName = optional
localityName = optional
[v3_ca]
basicConstraints = critical, CA:true
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[v3_client]
basicConstraints = CA:false
extendedKeyUsage = clientAuth
[v3_plain]
basicConstraints = CA:false
[v3_server]
basicConstraints = CA:false
extendedKeyUsage = serverAuth
subjectAltName = DNS:broker.example, DNS:*.wild.example, IP:127.0.0.1, IP:::1
[v3_rich]
basicConstraints = CA:false
extendedKeyUsage = clientAuth, serverAuth
subjectAltName = DNS:press-07.plant.example, URI:urn:dev:mac:0024befffe804ff1, email:op@plant.example, IP:192.0.2.7, IP:2001:db8::7, DNS:second.example
[v3_any]
basicConstraints = CA:false
extendedKeyUsage = anyExtendedKeyUsage
[v3_bound]
basicConstraints = critical, CA:true, pathlen:1
keyUsage = critical, digitalSignature, keyCertSign, decipherOnly
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
nameConstraints = critical, permitted;DNS:plant.example
1.2.840.113549.3 = critical, ASN1:NULL
EOF
: >index

key() { # NAME KIND
    case $2 in
    ec) openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1.key" ;;
    p384) openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -out "$1.key" ;;
    ed25519) openssl genpkey -algorithm ed25519 -out "$1.key" ;;
    rsa*) openssl genpkey -algorithm RSA -pkeyopt "rsa_keygen_bits:${2#rsa}" -out "$1.key" ;;
    same:*) cp "${2#same:}.key" "$1.key" ;;
    esac
    chmod 600 "$1.key"
}
root() { # NAME KIND [-sha1]
    key "$1" "$2"
    openssl req -new -x509 -config ca.cnf -extensions v3_ca -key "$1.key" "${3:--sha256}" -days 3650 \
        -subj "/O=Plant/CN=$1" -out "$1.pem"
}
issue() { # CA NAME KIND EXTENSIONS [SUBJECT [DIGEST [START [END]]]]
    key "$2" "$3"
    openssl req -new -config ca.cnf -key "$2.key" -utf8 -subj "${5:-/O=Plant/CN=$2}" -out "$2.csr"
    openssl ca -batch -notext -utf8 -config ca.cnf -cert "$1.pem" -keyfile "$1.key" -extensions "$4" \
        -md "${6:-sha256}" -startdate "${7:-20200101000000Z}" -enddate "${8:-20491231235959Z}" \
        -in "$2.csr" -out "$2.pem"
}
printf '[req]\ndistinguished_name = dn\n[dn]\n' >>ca.cnf

root ca-old ec
root ca-new rsa2048
root ca-far ec
root ca-sha1 ec -sha1
issue ca-old ca-int ec v3_ca

issue ca-old server-ec ec v3_server
issue ca-old server-rsa rsa2048 v3_server
issue ca-new server-new ec v3_server
issue ca-new server-rsa-new rsa2048 v3_server
issue ca-new server-sha1 rsa2048 v3_server "" sha1
issue ca-old server-plain ec v3_plain /CN=plain.example
issue ca-old server-wrong-eku ec v3_client /CN=broker.example
issue ca-old server-expired ec v3_server "" sha256 20200101000000Z 20210101000000Z
issue ca-far server-far ec v3_server
issue ca-old server-1024 rsa1024 v3_server
issue ca-int server-int ec v3_server
cat server-int.pem ca-int.pem >server-int-chain.pem

issue ca-old press-07 ec v3_client
issue ca-old press-rsa rsa2048 v3_client
issue ca-new press-new ec v3_client
issue ca-far press-far ec v3_client
issue ca-old press-p384 p384 v3_client
issue ca-old press-ed ed25519 v3_client
issue ca-old press-1024 rsa1024 v3_client
issue ca-old press-expired ec v3_client "" sha256 20200101000000Z 20210101000000Z
issue ca-old press-early ec v3_client "" sha256 20480101000000Z 20491231235959Z
issue ca-old press-sha1 ec v3_client "" sha1
issue ca-new press-rsa-sha1 rsa2048 v3_client "" sha1
issue ca-old press-eku ec v3_server
issue ca-old press-any ec v3_any
issue ca-old press-plain ec v3_plain
issue ca-old press-everything rsa1024 v3_server "" sha1 20200101000000Z 20210101000000Z
issue ca-sha1 press-root-sha1 ec v3_client
issue ca-int press-int ec v3_client
issue ca-old ca-int-expired same:ca-int v3_ca /O=Plant/CN=ca-int-expired sha256 20200101000000Z 20210101000000Z
issue ca-int-expired press-int-expired ec v3_client
issue ca-old ca-int-sha1 ec v3_ca "" sha1
issue ca-int-sha1 press-int-sha1 ec v3_client
for n in press-int:ca-int press-int-expired:ca-int-expired press-int-sha1:ca-int-sha1; do
    cat "${n%:*}.pem" "${n#*:}.pem" >"${n%:*}-chain.pem"
done
# Another CA of the same name: the issuer is known, its signature is not.
key ca-twin ec
openssl req -new -x509 -config ca.cnf -extensions v3_ca -key ca-twin.key -days 3650 -subj /O=Plant/CN=ca-old -out ca-twin.pem
# Of version 1, without key identifiers, which newer versions of OpenSSL add unless they are told.
if openssl req -help 2>&1 | grep -q -e '-x509v1'; then
    openssl req -config ca.cnf -x509 -x509v1 -in press-07.csr -CA ca-twin.pem -CAkey ca-twin.key -days 100 -out press-forged.pem
else
    openssl x509 -req -in press-07.csr -CA ca-twin.pem -CAkey ca-twin.key -days 100 -CAcreateserial -out press-forged.pem
fi
cp press-07.key press-forged.key
# The same CA, renewed: the same name and the same key.
openssl req -new -x509 -config ca.cnf -extensions v3_ca -key ca-old.key -days 3000 -subj /O=Plant/CN=ca-old -out ca-renewed.pem
root ca-1024 rsa1024
# Those who do not send the intermediate.
cp press-int.pem press-bare.pem
cp press-int.key press-bare.key
cp server-int.pem server-bare.pem
cp server-int.key server-bare.key
key press-self ec
openssl req -new -x509 -config ca.cnf -extensions v3_client -key press-self.key -days 100 -subj /CN=press-self -out press-self.pem
key server-self ec
openssl req -new -x509 -config ca.cnf -extensions v3_server -key server-self.key -days 100 -subj /CN=server-self -out server-self.pem
issue ca-old ca-gone ec v3_ca "" sha256 20200101000000Z 20210101000000Z

issue ca-old ca-bound same:ca-int v3_bound
# The name of ca-old in another spelling, and of another CA that it only begins like.
for n in "ca-spelt:/O=  PLANT /CN=CA-old" "ca-unlike:/O=Plant/CN=ca-ol" "ca-longer:/O=Plant/CN=ca-old/OU=x"; do
    openssl req -new -x509 -config ca.cnf -extensions v3_ca -key ca-old.key -utf8 -days 3650 -subj "${n#*:}" \
        -out "${n%:*}.pem"
done

issue ca-old ca-early ec v3_ca "" sha256 20480101000000Z 20491231235959Z

key rich rsa2048
openssl req -new -config ca.cnf -key rich.key -utf8 -out rich.csr \
    -subj '/C=DE/L=Köln/O=Plant, "North"/OU=one+UID=u7/CN=first/CN= press-07 '
openssl x509 -req -in rich.csr -CA ca-old.pem -CAkey ca-old.key -days 100 -CAcreateserial \
    -extfile ca.cnf -extensions v3_rich -out rich.pem
issue ca-old pss rsa2048 v3_client
openssl x509 -req -in pss.csr -CA ca-new.pem -CAkey ca-new.key -days 100 -CAcreateserial \
    -sigopt rsa_padding_mode:pss -sha256 -out pss.pem
openssl x509 -req -in pss.csr -CA ca-new.pem -CAkey ca-new.key -days 100 -CAcreateserial \
    -sigopt rsa_padding_mode:pss -sha1 -out pss-sha1.pem

# The holder of a pinned certificate plays the CA.
key press-minted ec
openssl req -new -config ca.cnf -key press-minted.key -subj /CN=press-07 -out press-minted.csr
openssl x509 -req -in press-minted.csr -CA press-self.pem -CAkey press-self.key -days 100 -CAcreateserial -out press-minted.pem

# Keys and containers in other shapes.
openssl ec -in press-07.key -out press-07.sec1
openssl rsa -in press-rsa.key -traditional -out press-rsa.pkcs1
openssl pkcs8 -topk8 -in press-07.key -passout pass:x -out press-07.pkcs8-encrypted
openssl ec -in press-07.key -aes128 -passout pass:x -out press-07.sec1-encrypted
openssl x509 -in press-07.pem -outform DER -out press-07.der
openssl pkey -in press-07.key -outform DER -out press-07.key.der
openssl x509 -in press-07.pem -trustout -addtrust clientAuth -out press-07.trusted
chmod 600 press-07.* press-rsa.*
{ openssl ecparam -name prime256v1; cat press-07.sec1; } >press-07.param
chmod 600 press-07.param
: >done

# A CA that was revoked, and a certificate of it that its holder made up: as if ca-other had issued it.
printf '[v3_sub]\nbasicConstraints = critical, CA:true\nkeyUsage = critical, keyCertSign, cRLSign\n' >>ca.cnf
printf 'subjectKeyIdentifier = hash\nauthorityKeyIdentifier = keyid:always\n' >>ca.cnf
printf '[v3_under]\nbasicConstraints = CA:false\nextendedKeyUsage = clientAuth\n' >>ca.cnf
printf 'subjectKeyIdentifier = hash\nauthorityKeyIdentifier = keyid:always\n' >>ca.cnf
issue ca-old ca-lost ec v3_sub
issue ca-old ca-other ec v3_sub
issue ca-lost press-lost ec v3_under
cp ca-lost.pem lost-true.pem
id=$(openssl x509 -in ca-other.pem -noout -ext subjectKeyIdentifier | tail -1 | tr -d ' ')
printf '[req]\ndistinguished_name = dn\n[dn]\n[v3_posing]\nbasicConstraints = critical, CA:true\n' >posing.cnf
printf 'subjectKeyIdentifier = %s\n' "$id" >>posing.cnf
key ca-posing ec
openssl req -new -x509 -config posing.cnf -extensions v3_posing -key ca-posing.key -days 3650 -subj /CN=ca-other/O=Plant \
    -out ca-posing.pem
issue ca-posing ca-madeup same:ca-lost v3_sub /O=Plant/CN=ca-lost
cat ca-other.pem ca-madeup.pem ca-lost.pem >lost-hidden.pem
printf 'default_crl_days = 3650\n' >crl-days
sed '/^default_md/r crl-days' ca.cnf >crl.cnf
cp index crl.index
sed -i 's/^database = .*/database = crl.index/' crl.cnf
openssl ca -config crl.cnf -cert ca-old.pem -keyfile ca-old.key -revoke ca-lost.pem
openssl ca -config crl.cnf -cert ca-old.pem -keyfile ca-old.key -gencrl -out ca-old.crl
