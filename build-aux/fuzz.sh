#!/bin/sh
# fuzz.sh SECONDS CORPUS TARGET... - runs each fuzz target for a while, one line of result each.
#
# A target tests/fuzz/fuzz_NAME starts from the seeds in CORPUS/NAME.  What it finds on the way is thrown
# away; an input that makes it fail is kept in the current directory and named.  As many run at once
# as there are cores.
# Exit status: 0 when all held, 1 otherwise.

set -u
seconds=$1 corpus=$2
shift 2

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'kill $(jobs -p) 2>/dev/null; exit 1' HUP INT TERM

# run TARGET: what there is to say goes to $work/NAME.said.
run() {
    target=$1
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
        -artifact_prefix="fuzz-$name-" "$@" >"$work/$name.log" 2>&1; then
        runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$work/$name.log")
        echo "PASS: fuzz_$name, ${runs:-?} runs in $seconds s"
    else
        tail -n 60 "$work/$name.log"
        echo "FAIL: fuzz_$name"
    fi >"$work/$name.said"
}

at_once=$(nproc 2>/dev/null || echo 2)
running=
count=0
for target; do
    run "$target" &
    running="$running ${target##*/fuzz_}"
    count=$((count + 1))
    if [ $((count % at_once)) -ne 0 ] && [ "$count" -lt $# ]; then
        continue
    fi
    wait
    for name in $running; do
        cat "$work/$name.said"
    done
    running=
done

failed=$(cat "$work"/*.said | grep -c '^FAIL: ')
echo "fuzz: $((count - failed)) passed, $failed failed"
[ "$failed" -eq 0 ]
