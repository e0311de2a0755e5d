#!/bin/sh
# embed.sh FILE... - JSON files as the C source of cli/schema_texts.h, on standard output.
#
# Octet by octet: a string literal of that length is beyond what ISO C promises.

set -eu

echo '/* Made by build-aux/embed.sh out of conf/schema. */'
echo '#include "cli/schema_texts.h"'
n=0
for file; do
    echo "static const unsigned char text_$n[] = {"
    od -An -v -tx1 "$file" | sed 's/ \([0-9a-f][0-9a-f]\)/0x\1,/g'
    echo '};'
    n=$((n + 1))
done
echo 'const struct schema_text schema_texts[] = {'
n=0
for file; do
    name=${file##*/}
    echo "    {\"${name%.json}\", text_$n, sizeof(text_$n)},"
    n=$((n + 1))
done
echo '};'
echo "const size_t schema_text_count = $n;"
