#!/bin/sh
# scratch.sh - runs a test with a $TMPDIR of its own, which is removed however the test ends; a test that
# passes and leaves something there has failed.
#
#   build-aux/scratch.sh PROGRAM [ARGUMENT...]

set -u

# A socket's path is short.
case ${TMPDIR:-} in
/???????????????????????*) base=/tmp ;;
/*) base=$TMPDIR ;;
*) base=/tmp ;;
esac
TMPDIR=$(mktemp -d "$base/certflip-check-XXXXXX") || exit 99
export TMPDIR
chmod 711 "$TMPDIR" # there are tests that go on as somebody else
trap 'rm -rf "$TMPDIR"' EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

status=0
"$@" || status=$?
left=$(find "$TMPDIR" -mindepth 1 -maxdepth 2)
if [ "$status" -eq 0 ] && [ -n "$left" ]; then
    printf 'scratch: %s has left behind:\n%s\n' "$1" "$left"
    status=1
fi
exit "$status"
