#!/bin/sh
# tls_containers.sh DIR - PKCS#12 and encrypted keys of every kind, made by openssl of what tls_pki.sh left in DIR.

set -eu
cd "$1"
exec 2>containers.log

p12() { # NAME OPTION...
    name=$1
    shift
    openssl pkcs12 -export -out "$name.p12" -in press-int.pem -inkey press-int.key "$@"
}
cat ca-int.pem ca-old.pem >extra.pem
p12 modern -passout pass:secret -certfile extra.pem -name 'Presse Nº 7'
p12 legacy -passout pass:secret -certfile extra.pem -legacy -descert
p12 legacy-rc2 -passout pass:secret -certfile extra.pem -legacy
p12 empty -passout pass:
p12 none -passout pass: -keypbe NONE -certpbe NONE -nomac
p12 plain-mac -passout pass:secret -keypbe NONE -certpbe NONE
p12 nomac -passout pass:secret -nomac
p12 unicode -passout 'pass:Schlüssel-№😀'
p12 sha512 -passout pass:secret -macalg sha512
p12 triple -passout pass:secret -keypbe PBE-SHA1-3DES -certpbe PBE-SHA1-3DES
p12 triple2 -passout pass:secret -keypbe PBE-SHA1-2DES -certpbe PBE-SHA1-2DES
p12 rc2-128 -passout pass:secret -keypbe PBE-SHA1-RC2-128 -certpbe PBE-SHA1-RC2-128 -legacy
p12 aes128 -passout pass:secret -keypbe AES-128-CBC -certpbe AES-192-CBC
p12 rc4 -passout pass:secret -keypbe PBE-SHA1-RC4-128 -legacy
p12 iter1 -passout pass:secret -noiter -nomaciter
openssl pkcs12 -export -out nokey.p12 -nokeys -in press-int.pem -certfile extra.pem -passout pass:secret
openssl pkcs12 -export -out rsa.p12 -in press-rsa.pem -inkey press-rsa.key -certfile ca-far.pem -passout pass:secret
openssl pkcs12 -export -out ed.p12 -in press-ed.pem -inkey press-ed.key -passout pass:secret
# Two identities in one.
cat press-07.pem press-07.key press-new.pem press-new.key >two.pem

for v in aes-256-cbc aes-128-cbc aes-192-cbc des3; do
    openssl pkcs8 -topk8 -v2 "$v" -in press-07.key -passout pass:x -out "press-07.$v.p8"
done
for prf in hmacWithSHA1 hmacWithSHA384 hmacWithSHA512; do
    openssl pkcs8 -topk8 -v2 aes-256-cbc -v2prf "$prf" -in press-07.key -passout pass:x -out "press-07.$prf.p8"
done
openssl pkcs8 -topk8 -v1 PBE-SHA1-3DES -in press-07.key -passout pass:x -out press-07.v1.p8
openssl pkcs8 -topk8 -v1 PBE-MD5-DES -provider legacy -provider default -in press-07.key -passout pass:x -out press-07.md5des.p8
openssl pkcs8 -topk8 -scrypt -in press-07.key -passout pass:x -out press-07.scrypt.p8
openssl pkcs8 -topk8 -v2 aes-256-cbc -outform DER -in press-07.key -passout pass:x -out press-07.p8.der
openssl rsa -aes256 -in press-rsa.key -passout pass:x -traditional -out press-rsa.enc
openssl rsa -des3 -in press-rsa.key -passout pass:x -traditional -out press-rsa.des3
openssl ec -in press-07.key -outform DER -out press-07.sec1.der
openssl rsa -in press-rsa.key -traditional -outform DER -out press-rsa.pkcs1.der
: >containers.done
