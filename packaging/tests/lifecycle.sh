#!/bin/bash
# lifecycle.sh - the package's life in a chroot: installed, configured, working, upgraded while a sensor
# is connected, removed, installed again, purged.
#
#   packaging/tests/lifecycle.sh PACKAGE.deb [SUITE]
#
# Needs root, mmdebstrap, and an archive in the machine's own apt sources.  There is no service manager
# in the chroot: the daemon is started as the unit does, as the package's user.  CHROOT_BASES=DIR
# keeps the bare systems there for the next run, as for chroot-build.sh.

set -euo pipefail

deb=$(realpath "${1:?usage: lifecycle.sh PACKAGE.deb [SUITE]}")
suite=${2:-bookworm}
root=$(mktemp -d)
chmod 755 "$root"

step() { printf -- '-- %s\n' "$*"; }
fail() {
    tail -n 15 "$root"/tmp/*.log >&2 || true
    echo "lifecycle: FAILED: $*" >&2
    exit 1
}
in_root() { chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive "$@"; }
as_service() { in_root setpriv --reuid=certflip --regid=certflip --init-groups --no-new-privs "$@"; }

clean() {
    local pid
    for pid in /proc/[0-9]*; do
        if [ "$(readlink "$pid/root" 2>/dev/null)" = "$root" ]; then
            kill -KILL "${pid#/proc/}" 2>/dev/null || true
        fi
    done
    umount "$root/proc" 2>/dev/null || true
    rm -rf --one-file-system "$root" "$root.new" "$root.tar" "$root.tar.part.tar"
}
trap clean EXIT

# until_so WHAT COMMAND...: wait for a condition, a minute at most.
until_so() {
    local what=$1
    shift
    for _ in $(seq 600); do
        if "$@" >/dev/null 2>&1; then return 0; fi
        sleep 0.1
    done
    fail "waited in vain until $what"
}

# free_port: one of the machine's, whose network the chroot has, too; below those that the kernel hands out.
free_port() {
    local port=$((10000 + RANDOM % 20000))
    while (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do port=$((10000 + RANDOM % 20000)); done
    echo "$port"
}
broker_port=$(free_port) inside_port=$(free_port) sensors_port=$(free_port) page_port=$(free_port)

everything() { (cd "$root" && find etc lib usr var/lib run -xdev ! -path 'var/lib/dpkg/*' ! -path 'var/lib/apt/*' ! -path 'etc/ld.so.cache' | sort); }

step "a bare $suite"
# shellcheck disable=SC2016 # apt's format, not the shell's
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' | grep -v ^cdrom: | sort -u | head -n 1)
[ -n "$mirror" ] || fail "apt knows no Debian archive (run: apt-get update)"
depends=$({ dpkg-deb -f "$deb" Depends; echo ,; dpkg-deb -f "${deb/certflip_/certflip-fleet_}" Depends; } | sed 's/([^)]*)//g; s/|[^,]*//g; s/,/ /g')
# With what it recommends, so that apt has nothing to ask.
include=$(echo $depends ca-certificates mosquitto mosquitto-clients openssl util-linux | tr ' ' ',')
base=$root.tar
if [ -n "${CHROOT_BASES:-}" ]; then
    mkdir -p "$CHROOT_BASES"
    base=$CHROOT_BASES/life-$suite-$(sha256sum <<<"$include" | cut -c 1-12).tar
fi
if [ ! -s "$base" ]; then
    mmdebstrap --quiet --variant=minbase --skip=check/empty --include="$include" "$suite" "$base.part.tar" "$mirror" ||
        fail "mmdebstrap"
    mv "$base.part.tar" "$base"
fi
tar -C "$root" -xf "$base" --exclude='./dev/*'
rm -f "$root.tar"
for node in null zero full random urandom tty; do cp -a "/dev/$node" "$root/dev/"; done
mount -t proc proc "$root/proc"
printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d" && chmod +x "$root/usr/sbin/policy-rc.d"
mkdir "$root/tmp/debs"
cp "$deb" "$root/tmp/debs/"
# The centre's program, built together with it.
cp "${deb/certflip_/certflip-fleet_}" "$root/tmp/debs/fleet.deb"
everything >"$root/tmp/before"

step "install, as docs/quick-start.md says"
commands=$(sed -n '/^```sh skip=package$/,/^```$/{/^```/!p}' "$(dirname "$0")/../../docs/quick-start.md")
[ -n "$commands" ] || fail "docs/quick-start.md does not say how to install"
in_root sh -euc "cd /tmp/debs; $commands" >"$root/tmp/dpkg.log" 2>&1 || { cat "$root/tmp/dpkg.log"; fail "$commands"; }
in_root certflipd -V
[ "$(stat -c '%U:%G %a' "$root/etc/certflip/certflip.conf" | sed 's/UNKNOWN/certflip/')" ] || fail "no configuration"
in_root stat -c '%U:%G %a %n' /etc/certflip /etc/certflip/certflip.conf /var/lib/certflip |
    diff - <(printf '%s\n' 'root:certflip 750 /etc/certflip' 'root:certflip 640 /etc/certflip/certflip.conf' \
        'certflip:certflip 750 /var/lib/certflip') || fail "who owns what"
in_root man -w certflipd >/dev/null 2>&1 || [ -e "$root/usr/share/man/man8/certflipd.8.gz" ] || fail "no manual"

step "configure: a CA, a broker, a sensor with an old and a new identity"
in_root broker_port="$broker_port" inside_port="$inside_port" sh -euc '
    mkdir -p /tmp/ca && cd /tmp/ca
    ca() { openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout $1.key -out $1.pem -days 30 \
        -subj "/CN=$1" -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign 2>/dev/null; }
    issue() { # NAME CN CA EXTENSION
        openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout $1.key -out $1.csr -subj "/CN=$2" 2>/dev/null
        printf "%s\n" "$4" >$1.ext
        openssl x509 -req -in $1.csr -CA $3.pem -CAkey $3.key -CAcreateserial -days 20 -extfile $1.ext -out $1.pem 2>/dev/null; }
    ca root
    issue broker localhost root "subjectAltName=DNS:localhost,IP:127.0.0.1"
    issue server localhost root "subjectAltName=DNS:localhost,IP:127.0.0.1"
    issue old press-01 root "extendedKeyUsage=clientAuth"
    issue new press-01 root "extendedKeyUsage=clientAuth"
    cp root.pem /etc/certflip/tls/ca.pem
    cp server.pem /etc/certflip/tls/server-chain.pem
    install -o certflip -g certflip -m 600 server.key /etc/certflip/tls/server-key.pem
    chgrp certflip /etc/certflip/tls/*.pem
    for slot in old new; do
        install -d -o certflip -g certflip -m 700 /var/lib/certflip/identities/press-01 /var/lib/certflip/identities/press-01/$slot
        install -o certflip -g certflip -m 600 $slot.pem /var/lib/certflip/identities/press-01/$slot/chain.pem
        install -o certflip -g certflip -m 600 $slot.key /var/lib/certflip/identities/press-01/$slot/key.pem
    done
    cat >/tmp/mosquitto.conf <<EOF
listener $broker_port 127.0.0.1
cafile /tmp/ca/root.pem
certfile /tmp/ca/broker.pem
keyfile /tmp/ca/broker.key
require_certificate true
use_identity_as_username true
allow_anonymous false
persistence false
user root
listener $inside_port 127.0.0.1
allow_anonymous true
EOF
    sed -i "1a per_listener_settings true" /tmp/mosquitto.conf
    sed -i "/per_listener_settings/d; 1i per_listener_settings true" /tmp/mosquitto.conf
'
cat >"$root/etc/certflip/certflip.conf" <<EOF
gateway = "gw-1";
listeners = ( { name = "plain"; type = "plaintext"; address = "127.0.0.1"; port = $sensors_port; allow = [ "127.0.0.0/8" ]; } );
upstreams = ( { name = "main"; address = "127.0.0.1"; port = $broker_port; anchors = [ "tls/ca.pem" ]; } );
devices = ( { name = "{client_id}"; match = { any = true; }; } );
status = { port = $page_port; };
@CLOCK@
EOF
# A chroot's clock is whoever's.
if in_root zcat -f /usr/share/man/man5/certflip.conf.5.gz | grep -q 'require_sync'; then
    sed -i 's/@CLOCK@/clock = { require_sync = false; };/' "$root/etc/certflip/certflip.conf"
else
    sed -i 's/@CLOCK@//' "$root/etc/certflip/certflip.conf"
fi

start_daemon() {
    in_root install -d -o certflip -g certflip -m 755 /run/certflip
    as_service certflipd --check-config || fail "the configuration is not taken"
    # One process, no function: it is what gets the signal.
    chroot "$root" /usr/bin/setpriv --reuid=certflip --regid=certflip --init-groups --no-new-privs --reset-env \
        /usr/sbin/certflipd >>"$root/tmp/certflipd.log" 2>&1 &
    daemon=$!
    until_so "certflipctl answers" in_root certflipctl status
    until_so "it says that it is ready, over HTTP" is_ready
}
is_ready() {
    in_root bash -c 'exec 3<>/dev/tcp/127.0.0.1/'"$page_port"'; printf "GET /readyz HTTP/1.0\r\n\r\n" >&3; grep -q "^ready" <&3' \
        2>/dev/null
}
stop_daemon() {
    kill -TERM "$daemon"
    wait "$daemon" || fail "certflipd ended with $?"
}
phase() { in_root certflipctl --json device press-01 | grep -o '"phase": *"[a-z-]*"' | cut -d'"' -f4; }
is_phase() { [ "$(phase)" = "$1" ]; }
heard() { grep -qx "$1" "$root/tmp/heard.log"; }

in_root mosquitto -c /tmp/mosquitto.conf >"$root/tmp/mosquitto.log" 2>&1 &
until_so "the broker listens" in_root mosquitto_pub -h 127.0.0.1 -p "$inside_port" -t x -m x
in_root mosquitto_sub -h 127.0.0.1 -p "$inside_port" -t 'data/#' >"$root/tmp/heard.log" 2>&1 &
start_daemon

step "a sensor, and a flip"
# It reconnects by itself, as sensors do.
mkfifo "$root/tmp/says"
(while [ -e "$root/tmp/says" ]; do
    in_root mosquitto_pub -h 127.0.0.1 -p "$sensors_port" -i press-01 -q 1 -t data/press-01 -l <"$root/tmp/says" || sleep 0.5
done) >"$root/tmp/sensor.log" 2>&1 &
sensor=$!
exec 7<>"$root/tmp/says"
until_so "the subscriber is there" sh -c "echo hello >&7; grep -qx hello '$root/tmp/heard.log'"
in_root certflipctl flip press-01 --probation 1 --wait >/dev/null || fail "flip"
is_phase committed || fail "not committed, but $(phase)"
echo after-the-flip >&7
until_so "a message came with the new identity" heard after-the-flip

step "upgrade, with the sensor connected"
mkdir "$root.new" && dpkg-deb -R "$deb" "$root.new"
sed -i 's/^Version: .*/Version: 0.1.0-1+next/' "$root.new/DEBIAN/control"
dpkg-deb -b "$root.new" "$root/tmp/two.deb" >/dev/null
rm -rf "$root.new"
in_root dpkg -i /tmp/two.deb >"$root/tmp/dpkg.log" 2>&1 || { cat "$root/tmp/dpkg.log"; fail "upgrade"; }
grep -q "port = $broker_port" "$root/etc/certflip/certflip.conf" || fail "the configuration was replaced"
stop_daemon # what systemctl try-restart does
start_daemon
is_phase committed || fail "the upgrade has forgotten the phase: $(phase)"
echo after-the-upgrade >&7
until_so "the sensor is back by itself" heard after-the-upgrade

step "remove: keys, phases and configuration stay"
stop_daemon
in_root dpkg -r certflip >"$root/tmp/dpkg.log" 2>&1 || { cat "$root/tmp/dpkg.log"; fail "remove"; }
[ ! -e "$root/usr/sbin/certflipd" ] || fail "the program is still there"
for kept in etc/certflip/certflip.conf etc/certflip/tls/server-key.pem var/lib/certflip/certflip.db \
    var/lib/certflip/identities/press-01/new/key.pem; do
    [ -e "$root/$kept" ] || fail "$kept is gone"
done

step "and again"
in_root dpkg -i /tmp/two.deb >"$root/tmp/dpkg.log" 2>&1 || { cat "$root/tmp/dpkg.log"; fail "install again"; }
start_daemon
is_phase committed || fail "the phase is forgotten: $(phase)"
echo after-it-all >&7
until_so "the sensor is back by itself" heard after-it-all
stop_daemon

step "certflip-fleet comes, serves, and goes, on its own"
in_root dpkg -i /tmp/debs/fleet.deb >"$root/tmp/dpkg.log" 2>&1 || { cat "$root/tmp/dpkg.log"; fail "certflip-fleet"; }
in_root certflip-fleet --version
in_root certflip-fleet help >/dev/null || fail "certflip-fleet help"
in_root sh -c 'test -s /usr/share/doc/certflip-fleet/examples/certflip-fleet.conf &&
    test -s /usr/share/bash-completion/completions/certflip-fleet' || fail "certflip-fleet is not whole"
in_root dpkg -P certflip-fleet >"$root/tmp/dpkg.log" 2>&1 || { cat "$root/tmp/dpkg.log"; fail "certflip-fleet does not go"; }

step "purge: nothing stays but the user"
rm -f "$root/tmp/says"
kill "$sensor" 2>/dev/null || true
in_root rm -rf /run/certflip
in_root dpkg -P certflip >"$root/tmp/dpkg.log" 2>&1 || { cat "$root/tmp/dpkg.log"; fail "purge"; }
everything >"$root/tmp/after"
diff "$root/tmp/before" "$root/tmp/after" || fail "something stays behind (>), or is gone (<)"
echo "lifecycle: passed"
