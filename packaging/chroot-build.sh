#!/bin/bash
# chroot-build.sh - the Debian packages, built and tested in a chroot that has nothing but what they say
# that they need.
#
#   packaging/chroot-build.sh SUITE ARCHITECTURE TARBALL OUTPUT-DIRECTORY [COMMAND...]
#
# SUITE is bookworm or trixie.  For another ARCHITECTURE than the machine's own the packages are cross
# built, and their unit tests run under qemu-user.  COMMAND is run afterwards with the chroot's path as
# its last argument, with the packages installed there.
#
# Needs root, mmdebstrap, an archive in the machine's own apt sources, and qemu-user-static for another
# architecture.  CHROOT_BASES=DIR keeps the bare systems there for the next run; what is built of wolfSSL
# comes from, and goes to, the cache of build-aux/wolfssl.sh.

set -euo pipefail

suite=${1:?usage: chroot-build.sh SUITE ARCHITECTURE TARBALL OUTPUT-DIRECTORY [COMMAND...]}
arch=${2:?an architecture}
tarball=$(realpath "${3:?a tarball}")
out=${4:?a directory for the packages}
shift 4
mkdir -p "$out" && out=$(cd "$out" && pwd)
build_arch=$(dpkg --print-architecture)
here=$(cd "$(dirname "$0")" && pwd)
cache=${CERTFLIP_CACHE:-${XDG_CACHE_HOME:-${HOME:?}/.cache}/certflip}
work=$(mktemp -d)
root=$work/root

say() { printf -- '-- %s\n' "$*"; }
die() { echo "chroot-build: $*" >&2; exit 1; }

clean() {
    local pid mounted
    for pid in /proc/[0-9]*; do
        if [ "$(readlink "$pid/root" 2>/dev/null)" = "$root" ]; then
            kill -KILL "${pid#/proc/}" 2>/dev/null || true
        fi
    done
    for mounted in "$root/var/cache/certflip" "$root/dev/shm" "$root/proc"; do
        if mountpoint -q "$mounted"; then umount "$mounted" || umount -l "$mounted" || true; fi
    done
    rm -rf --one-file-system "$work"
}
trap clean EXIT

case $arch in
"$build_arch") emulator= ;;
arm64) emulator=qemu-aarch64-static ;;
armhf) emulator=qemu-arm-static ;;
*) die "$arch: not one of $build_arch, arm64, armhf" ;;
esac
if [ -n "$emulator" ]; then
    command -v "$emulator" >/dev/null || die "$emulator is missing: apt-get install qemu-user-static"
fi

in_root() {
    chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 \
        DEBIAN_FRONTEND=noninteractive "$@"
}

# -- the bare system, with what debian/control wants for building --------------------------------------

tar -C "$work" -xf "$tarball" --wildcards '*/packaging/debian/control'
mkdir -p "$work/wants/debian" && cp "$work"/*/packaging/debian/control "$work/wants/debian/"
printf 'certflip (0-1) unstable; urgency=low\n\n  * x\n\n -- x <x@example.org>  Thu, 01 Jan 1970 00:00:00 +0000\n' \
    >"$work/wants/debian/changelog"
# shellcheck disable=SC2016 # apt's format, not the shell's
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' |
    grep -v ^cdrom: | sort -u | head -n 1)
[ -n "$mirror" ] || die "apt knows no Debian archive (run: apt-get update)"

packages=build-essential,dpkg-dev,ca-certificates,debian-archive-keyring
architectures=$build_arch
host=()
if [ "$arch" != "$build_arch" ]; then
    architectures=$build_arch,$arch
    packages=$packages,crossbuild-essential-$arch
    host=(--host-architecture "$arch" -Pcross)
fi
key=$({ sed '/^Package:/,$d' "$work/wants/debian/control"; echo "$packages"; } | sha256sum | cut -c 1-12)
base=${CHROOT_BASES:-$work}/$suite-$arch-$key.tar
if [ ! -s "$base" ]; then
    say "a bare $suite for $arch"
    mkdir -p "$(dirname "$base")"
    # shellcheck disable=SC2016 # for the hooks' shell
    mmdebstrap --quiet --variant=apt --architectures="$architectures" --include="$packages" \
        --skip=check/empty,cleanup/apt/lists \
        --customize-hook="copy-in $work/wants /" \
        --customize-hook='chroot "$1" apt-get -qq -y --no-install-recommends build-dep '"${host[*]}"' /wants >"$1/apt.log" 2>&1 ||
            { cat "$1/apt.log" >&2; exit 1; }' \
        --customize-hook='rm -rf "$1/wants" "$1/apt.log"; chroot "$1" apt-get clean' \
        "$suite" "${base%.tar}.part.tar" "$mirror" || die "mmdebstrap failed"
    mv "${base%.tar}.part.tar" "$base"
fi
mkdir "$root" && tar -C "$root" -xf "$base" --exclude=./dev/\*
if [ "$base" = "$work/$suite-$arch-$key.tar" ]; then rm -f "$base"; fi
for node in null zero full random urandom tty; do cp -a "/dev/$node" "$root/dev/"; done
mkdir -p "$root/dev/shm" "$root/var/cache/certflip" "$cache"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
mount --bind "$cache" "$root/var/cache/certflip"
cp /etc/resolv.conf "$root/etc/resolv.conf"
printf '127.0.0.1 localhost\n::1 localhost\n' >"$root/etc/hosts"
if [ -n "$emulator" ]; then cp "$(command -v "$emulator")" "$root/usr/bin/"; fi

# -- building, and the unit tests ------------------------------------------------------------------------

say "$suite, $arch: built and tested"
mkdir "$root/build"
cp "$tarball" "$here/make-deb.sh" "$root/build/"
options=()
build_options=terse
if [ -n "$emulator" ]; then
    options=(--host-arch "$arch" --build-profiles=cross)
    build_options="terse crossbuildcanrunhostbinaries"
fi
log=$out/build-$suite-$arch.log
if ! in_root CERTFLIP_CACHE=/var/cache/certflip DEB_BUILD_OPTIONS="$build_options" CERTFLIP_EMULATOR="$emulator" \
    /build/make-deb.sh "/build/${tarball##*/}" /build/out "${options[@]}" >"$log" 2>&1 </dev/null; then
    grep -E ': (warning|error): |^(FAIL|ERROR): |^# (FAIL|ERROR): ' "$log" >&2 || true
    tail -n 30 "$log" >&2
    die "$suite, $arch: not built, or a test failed; the whole log: $log"
fi
grep -E '^# (TOTAL|PASS|SKIP|FAIL|ERROR): ' "$log" || die "no unit test has run; the whole log: $log"
if grep -E ': warning: .*\[-W' "$log" >&2; then die "$suite, $arch: the compiler warns"; fi
cp "$root"/build/out/*.deb "$out/"

# -- installed ------------------------------------------------------------------------------------------

printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d" && chmod +x "$root/usr/sbin/policy-rc.d"
in_root sh -c 'apt-get -qq -y --no-install-recommends install $(ls /build/out/*.deb | grep -v dbgsym)' >"$log.install" 2>&1 ||
    { cat "$log.install" >&2; die "$suite, $arch: the packages do not install"; }
rm -f "$log.install"
for program in /usr/sbin/certflipd /usr/bin/certflipctl /usr/bin/certflip-fleet; do
    if [ -e "$root$program" ]; then
        file=$(in_root ${emulator:+"$emulator"} "$program" --version) || die "$program does not run"
        echo "$file"
    fi
done
if [ $# -gt 0 ]; then "$@" "$root"; fi
