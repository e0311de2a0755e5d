#!/bin/sh
# fuzz.sh SECONDS CORPUS TARGET... - runs each fuzz target for a while, one line of result each.
#
# A target tests/fuzz/fuzz_NAME starts from the seeds in CORPUS/NAME.  What it finds on the way is thrown
# away; an input that makes it fail is kept in the current directory and named.
# Exit status: 0 when all held, 1 otherwise.

set -u
seconds=$1 corpus=$2
shift 2
passed=0 failed=0

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

for target; do
    name=${target##*/fuzz_}
    mkdir -p "$work/$name"
    set -- "$work/$name"
    if [ -d "$corpus/$name" ]; then
        set -- "$@" "$corpus/$name"
    fi
    dictionary=${corpus%/*}/$name.dict
    if [ -f "$dictionary" ]; then
        set -- "-dict=$dictionary" "$@"
    fi
    if "./$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
        -artifact_prefix="fuzz-$name-" "$@" >"$work/log" 2>&1; then
        runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$work/log")
        echo "PASS: fuzz_$name, ${runs:-?} runs in $seconds s"
        passed=$((passed + 1))
    else
        tail -n 60 "$work/log"
        echo "FAIL: fuzz_$name"
        failed=$((failed + 1))
    fi
done

echo "fuzz: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
