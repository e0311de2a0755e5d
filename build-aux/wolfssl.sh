#!/bin/bash
# wolfssl.sh - builds the static wolfSSL that certflip links, and prints its prefix.
#
#   build-aux/wolfssl.sh [--variant normal|tsan] [--cc COMPILER] [--host TRIPLET]
#
# The source is Debian's source package in the version of wolfssl.pin.  It is fetched through apt with
# directories of our own, so neither the machine's sources nor its lists change and root is not
# needed.  CERTFLIP_WOLFSSL_SOURCE names a directory with the package's files instead.
#
# The result stands in ${CERTFLIP_CACHE:-${XDG_CACHE_HOME:-~/.cache}/certflip}, one prefix per version,
# variant, flags and compiler; it is complete or absent, whoever builds at the same time.
#
# stdout: the prefix alone.  stderr: what happens.
# Exit status: 0 the prefix is there, 1 failed, 3 no source can be had here (use the system's library).

set -euo pipefail

readonly NO_SOURCE=3

say() { echo "wolfssl: $*" >&2; }
die() { say "$*"; exit 1; }

variant=normal
cc=
host=
while [ $# -gt 0 ]; do
    case $1 in
    --variant) variant=${2:?}; shift 2 ;;
    --cc) cc=${2:?}; shift 2 ;;
    --host) host=${2:?}; shift 2 ;;
    *) die "unknown argument: $1" ;;
    esac
done

here=$(cd "$(dirname "$0")" && pwd)
pin=$here/wolfssl.pin
cache=${CERTFLIP_CACHE:-${XDG_CACHE_HOME:-${HOME:?}/.cache}/certflip}
mkdir -p "$cache"
cache=$(cd "$cache" && pwd)
pin_version=$(awk '$1 == "version" { print $2 }' "$pin")
pin_suites=$(awk '$1 == "suites" { for (i = 2; i <= NF; i++) print $i }' "$pin")
: "${cc:=$(command -v gcc || command -v cc || echo cc)}"
# shellcheck disable=SC2086 # a compiler may come with flags
machine=$($cc -dumpmachine) || die "no C compiler: $cc"

# -- what is built -----------------------------------------------------------------------------

# shellcheck disable=SC2054 # the comma is part of a value
flags=(
    --enable-static --disable-shared --disable-examples --disable-crypttests
    --enable-opensslextra=x509small --enable-altcertchains
    --enable-tls13 --enable-oldtls --enable-tlsv10
    --enable-session-ticket --enable-sni --enable-alpn --enable-supportedcurves
    --enable-secure-renegotiation-info --enable-extended-master --enable-enc-then-mac
    --enable-crl --enable-ocsp --enable-ocspstapling
    --enable-certgen --enable-certreq --enable-certext --enable-keygen
    --enable-pkcs11 --enable-cryptocb --enable-pkcs7 --enable-pkcs12 --enable-enckeys --enable-pwdbased
    --enable-des3 --enable-des3-tls-suites --enable-rc2
    --enable-curve25519 --enable-ed25519 --enable-aesctr --enable-hkdf
    --enable-keying-material --enable-context-extra-user-data
    --enable-ip-alt-name --disable-sys-ca-certs
    --enable-sp=yes,4096
)
# The verify callback also on success; seeds by getrandom; SAN in requests; static RSA suites of old
# sensors; our own key log; alerts that the small compatibility layer leaves out; tables for the P-256
# keys that come again and again (the CA, the broker): a tenth less CPU for a handshake.
cppflags="-DWOLFSSL_ALWAYS_VERIFY_CB -DWOLFSSL_GETRANDOM -DWOLFSSL_ALT_NAMES -DWOLFSSL_STATIC_RSA"
cppflags="$cppflags -DHAVE_SECRET_CALLBACK -DWOLFSSL_EXTRA_ALERTS -DFP_ECC"
# The same time_t as ours, which the library's interface has.
time64=$("$here/time64.sh" "$cc")
cppflags="$cppflags${time64:+ $time64}"

case $variant in
normal)
    cflags="-O2 -g -fstack-protector-strong"
    case $machine in
    x86_64-*) flags+=(--enable-intelasm --enable-sp-asm) ;;
    # No --enable-armasm: it takes AES and SHA-256 instructions without asking, and a Raspberry Pi 4 has none.
    aarch64-*) flags+=(--enable-sp-asm) ;;
    esac
    ;;
tsan) # ThreadSanitizer does not see into assembly.
    cflags="-O1 -g -fsanitize=thread"
    flags+=(--disable-intelasm --disable-sp-asm --disable-asm)
    ;;
*) die "unknown variant: $variant" ;;
esac
if [ -n "$host" ]; then
    flags+=("--host=$host")
fi

# prefix_of VERSION: where a build of this version with these flags belongs.
prefix_of() {
    local key
    # shellcheck disable=SC2086
    key=$(printf '%s\n' "$1" "${flags[@]}" "$cflags" "$cppflags" "$($cc --version | head -n 1)" \
        "$machine" | sha256sum | cut -c 1-12)
    printf '%s/wolfssl-%s-%s-%s\n' "$cache" "$1" "$variant" "$key"
}

# -- where the source comes from -----------------------------------------------------------------

# check_pin DIR: the files of the pinned version are in DIR and are the ones that we know.
check_pin() {
    local sums
    sums=$(awk '$1 == "sha256" { print $2 "  " $3 }' "$pin")
    (cd "$1" && sha256sum --quiet -c <<<"$sums") >&2
}

# archive_uri LABEL: the mirror from which this machine's apt gets Debian itself, or its security fixes.
archive_uri() {
    # shellcheck disable=SC2016 # apt's format, not the shell's
    apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' "Label: $1" \
        2>/dev/null | grep -v '^cdrom:' | sort -u | head -n 1 || true
}

# fetch DIR: put the source package in DIR, and its version in $version.
fetch() {
    local dir=$1 key=/usr/share/keyrings/debian-archive-keyring.gpg apt=$1/apt suite uri label newest
    version=

    if ! command -v apt-get >/dev/null || [ ! -r "$key" ]; then
        say "this machine has no apt with Debian's archive keys"
        return "$NO_SOURCE"
    fi
    mkdir -p "$apt"/etc/{sources.list.d,preferences.d,apt.conf.d,trusted.gpg.d} "$apt"/lists/partial \
        "$apt"/cache/archives/partial "$apt"/state
    : >"$apt/status"
    for suite in $pin_suites; do
        case $suite in
        *-security) label=Debian-Security ;;
        *) label=Debian ;;
        esac
        uri=$(archive_uri "$label")
        if [ -n "$uri" ]; then
            echo "deb-src [signed-by=$key] $uri $suite main" >>"$apt/etc/sources.list"
        fi
    done
    if [ ! -s "$apt/etc/sources.list" ]; then
        say "apt knows no Debian archive (run: apt-get update)"
        return "$NO_SOURCE"
    fi

    local get=(-qq -o "Dir::Etc=$apt/etc" -o "Dir::Etc::sourcelist=$apt/etc/sources.list"
        -o "Dir::Etc::sourceparts=$apt/etc/sources.list.d" -o "Dir::Etc::parts=$apt/etc/apt.conf.d"
        -o "Dir::State=$apt/state" -o "Dir::State::lists=$apt/lists" -o "Dir::State::status=$apt/status"
        -o "Dir::Cache=$apt/cache" -o "APT::Sandbox::User=" -o "Acquire::Retries=2"
        -o "Acquire::Languages=none")
    if ! apt-get "${get[@]}" update >&2; then
        say "the archive's index cannot be had"
        return "$NO_SOURCE"
    fi
    newest=$(apt-cache "${get[@]}" showsrc wolfssl 2>/dev/null |
        sed -n 's/^Version: //p' | sort -V | tail -n 1)
    if [ -z "$newest" ]; then
        # shellcheck disable=SC2086 # a list of suites
        say "the archive has no source package wolfssl in:" $pin_suites
        return "$NO_SOURCE"
    fi
    version=$newest
    if apt-cache "${get[@]}" showsrc wolfssl | grep -qxF "Version: $pin_version"; then
        version=$pin_version
    fi
    if [ -e "$(prefix_of "$version")/.complete" ]; then
        return 0
    fi
    say "fetching the source package wolfssl $version"
    if ! (cd "$dir" && apt-get "${get[@]}" source --download-only "wolfssl=$version") >&2; then
        say "the source package cannot be downloaded"
        return "$NO_SOURCE"
    fi
    if [ "$version" = "$pin_version" ]; then
        check_pin "$dir" || die "the archive's files are not those of wolfssl.pin"
    fi
}

# substitute: a version that the archive gave in place of the pinned one, kept for days without network.
substitute=$cache/wolfssl-instead-of-$pin_version

# -- the build -----------------------------------------------------------------------------------

# build DIR VERSION: unpack the package in DIR, build it, and put it in its place.
build() {
    local dir=$1 version=$2 prefix jobs log
    prefix=$(prefix_of "$version")
    log=$cache/wolfssl-$variant.log
    jobs=$(nproc 2>/dev/null || echo 2)

    for tool in autoreconf libtoolize dpkg-source make; do
        command -v "$tool" >/dev/null ||
            die "$tool is missing (apt-get install autoconf automake libtool dpkg-dev make)"
    done
    say "building $version ($variant), a minute or two; log: $log"
    if ! (
        cd "$dir" &&
            dpkg-source --no-check -x "wolfssl_$version.dsc" src &&
            cd src && autoreconf -fi &&
            mkdir ../obj && cd ../obj &&
            ../src/configure --prefix="$prefix" "${flags[@]}" CC="$cc" CPPFLAGS="$cppflags" \
                CFLAGS="$cflags -ffile-prefix-map=$dir=." &&
            make -j"$jobs" &&
            make install DESTDIR="$dir/dest"
    ) >"$log" 2>&1 </dev/null; then
        tail -n 20 "$log" >&2
        die "the build failed; the whole log: $log"
    fi
    rm -rf "$dir/dest$prefix/share/doc" "$dir/dest$prefix/lib/libwolfssl.la"
    : >"$dir/dest$prefix/.complete"
    rm -rf "$prefix"
    mv "$dir/dest$prefix" "$prefix"
}

# -- one at a time ---------------------------------------------------------------------------------

done_with() {
    printf '%s\n' "$(prefix_of "$1")"
    exit 0
}

if [ -e "$(prefix_of "$pin_version")/.complete" ]; then
    done_with "$pin_version"
fi
exec 9>"$cache/wolfssl.lock"
if ! flock -n 9; then
    say "waiting for another build"
    flock 9
fi
if [ -e "$(prefix_of "$pin_version")/.complete" ]; then
    done_with "$pin_version"
fi

rm -rf "$cache"/wolfssl-build.* # of a build that was killed: the lock is ours
work=$(mktemp -d "$cache/wolfssl-build.XXXXXX")
trap 'rm -rf "$work"' EXIT

if [ -n "${CERTFLIP_WOLFSSL_SOURCE:-}" ]; then
    [ -d "$CERTFLIP_WOLFSSL_SOURCE" ] || die "CERTFLIP_WOLFSSL_SOURCE: no directory $CERTFLIP_WOLFSSL_SOURCE"
    check_pin "$CERTFLIP_WOLFSSL_SOURCE" ||
        die "CERTFLIP_WOLFSSL_SOURCE: $CERTFLIP_WOLFSSL_SOURCE does not hold the files of wolfssl.pin"
    version=$pin_version
    cp "$CERTFLIP_WOLFSSL_SOURCE"/wolfssl_* "$work/"
else
    rc=0
    fetch "$work" || rc=$?
    if [ "$rc" -ne 0 ]; then
        if [ -s "$substitute" ] && [ -e "$(prefix_of "$(cat "$substitute")")/.complete" ]; then
            say "using $(cat "$substitute"), built earlier in place of $pin_version"
            done_with "$(cat "$substitute")"
        fi
        exit "$rc"
    fi
    if [ "$version" != "$pin_version" ]; then
        say "the archive no longer has $pin_version: taking $version, the newest of its suite," \
            "on the strength of the archive's signature"
        printf '%s\n' "$version" >"$substitute"
    fi
fi
if [ ! -e "$(prefix_of "$version")/.complete" ]; then
    build "$work" "$version"
fi
done_with "$version"
