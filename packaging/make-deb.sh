#!/bin/sh
# make-deb.sh - builds the Debian packages out of a source tarball, as `make deb` does.
#
#   packaging/make-deb.sh TARBALL [OUTPUT-DIRECTORY [OPTION...]]
#
# The packages, and what dpkg says of the build, are put into the directory (the present one unless
# it is given).  OPTIONs are dpkg-buildpackage's.  DEB_BUILD_OPTIONS is passed on; without it the unit tests
# are left out (nocheck), as ./bootstrap check has them.

set -eu

die() { echo "make-deb: $*" >&2; exit 1; }

tarball=${1:?usage: make-deb.sh TARBALL [OUTPUT-DIRECTORY]}
out=${2:-.}
if [ $# -gt 2 ]; then shift 2; else shift $#; fi
[ -f "$tarball" ] || die "$tarball: no such file"
for tool in dpkg-buildpackage dh; do
    command -v "$tool" >/dev/null || die "$tool is missing: apt-get install dpkg-dev debhelper"
done
mkdir -p "$out"
out=$(cd "$out" && pwd)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
base=$(basename "$tarball" .tar.xz)
cp "$tarball" "$work/$(echo "$base" | tr - _).orig.tar.xz"
tar -C "$work" -xf "$tarball"
cp -r "$work/$base/packaging/debian" "$work/$base/debian"

# dpkg-buildpackage has a HOME of its own for the build; what was built of wolfSSL stays where it is.
: "${CERTFLIP_CACHE:=${XDG_CACHE_HOME:-${HOME:?}/.cache}/certflip}"
: "${DEB_BUILD_OPTIONS:=nocheck}"
export CERTFLIP_CACHE DEB_BUILD_OPTIONS
(cd "$work/$base" && dpkg-buildpackage --no-sign "--jobs=$(nproc)" --build=full "$@")
find "$work" -maxdepth 1 -type f -exec cp -t "$out" {} +
echo "make-deb: built in $out:" && (cd "$out" && ls -1 certflip*_*.deb)
