#!/bin/bash
# emulated.sh - programs of another architecture, which are installed in a chroot, against real brokers and
# clients of this machine.
#
#   packaging/tests/emulated.sh ARCHITECTURE ROOT
#
# As packaging/chroot-build.sh calls it.  Needs what the scenarios need.

set -euo pipefail

arch=${1:?usage: emulated.sh ARCHITECTURE ROOT}
root=${2:?usage: emulated.sh ARCHITECTURE ROOT}
top=$(cd "$(dirname "$0")/../.." && pwd)
case $arch in
arm64) emulator=qemu-aarch64-static ;;
armhf) emulator=qemu-arm-static ;;
*) echo "emulated: $arch: not one of arm64, armhf" >&2; exit 1 ;;
esac
build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT

for program in sbin/certflipd bin/certflipctl; do
    printf '#!/bin/sh\nexec %s -L "%s" "%s" "$@"\n' "$emulator" "$root" "$root/usr/$program" >"$build/${program#*/}"
    chmod +x "$build/${program#*/}"
done
"$build/certflipd" --version
# Emulation has every instruction; a gateway's processor may be without those for AES and SHA-256.
if [ "$arch" = arm64 ]; then
    chroot "$root" aarch64-linux-gnu-objdump -d /usr/sbin/certflipd >"$build/certflipd.s"
    if grep -m 5 -E '\s(aes(e|d|mc|imc)|sha(1|256)(c|p|m|h|h2|su0|su1)|pmull2?)\s.*(\.16b|\.4s|\.1q)' "$build/certflipd.s"; then
        echo "emulated: certflipd takes instructions that not every arm64 has" >&2
        exit 1
    fi
fi
# What it has to have is not there, so it says so, and ends.
if "$build/certflipd" --check-config -c "$root/etc/certflip/certflip.conf"; then exit 1; else [ $? -eq 2 ]; fi
CERTFLIP_BUILD=$build CERTFLIP_TEST_TIMEOUT_FACTOR=${CERTFLIP_TEST_TIMEOUT_FACTOR-10} PYTHONDONTWRITEBYTECODE=1 \
    /usr/bin/python3 -m pytest -p no:cacheprovider -q \
    "$top/tests/scenario/test_flips_go_unnoticed.py::test_flip_and_rollback_under_traffic" \
    "$top/tests/scenario/test_the_life_of_an_identity.py::test_the_whole_life_twice_under_traffic"
