#!/bin/sh
# tls_token.sh DIR [KEY LABEL ID]... - a SoftHSM token "hsm" with PIN 1234 in DIR/tokens, configured by
# DIR/softhsm2.conf, with these keys (PEM) in it.

set -eu
dir=$1
shift
export SOFTHSM2_CONF="$dir/softhsm2.conf"
if [ ! -e "$SOFTHSM2_CONF" ]; then
    mkdir "$dir/tokens"
    printf 'directories.tokendir = %s/tokens\nobjectstore.backend = file\nlog.level = ERROR\n' "$dir" >"$SOFTHSM2_CONF"
    softhsm2-util --init-token --free --label hsm --pin 1234 --so-pin 5678 >/dev/null
    (umask 077 && printf '1234\n' >"$dir/pin")
fi
while [ $# -gt 0 ]; do
    openssl pkcs8 -topk8 -nocrypt -in "$1" -out "$dir/import.p8"
    softhsm2-util --import "$dir/import.p8" --token hsm --label "$2" --id "$3" --pin 1234 >/dev/null
    rm "$dir/import.p8"
    shift 3
done
