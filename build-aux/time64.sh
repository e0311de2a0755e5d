#!/bin/sh
# time64.sh - the flags with which a compiler's time_t and off_t have 64 bits: none where they have them anyway.
#
#   build-aux/time64.sh COMPILER
#
# With a time_t of 32 bits (armhf in Debian 12) no certificate could end after January 2038.  Asked by configure for
# our own files and by wolfssl.sh for the library, whose interface has time_t: both have to have the same one.
#
# stdout: the flags.  Exit status: 1 when this C library cannot do it (glibc before 2.34).

set -eu

cc=${1:?usage: time64.sh COMPILER}

# have FLAG...: whether that gives 64 bits of both.
have() {
    # shellcheck disable=SC2086 # a compiler may come with flags
    printf '%s\n' '#include <sys/types.h>' '#include <time.h>' \
        'char wide[sizeof(time_t) >= 8 && sizeof(off_t) >= 8 ? 1 : -1];' |
        $cc "$@" -x c -fsyntax-only - 2>/dev/null
}

if have; then exit 0; fi
set -- -D_FILE_OFFSET_BITS=64 -D_TIME_BITS=64
if have "$@"; then
    echo "$*"
    exit 0
fi
echo "time64: $cc has no time_t of 64 bits, which dates after 2038 need: glibc 2.34 and later have it" >&2
exit 1
