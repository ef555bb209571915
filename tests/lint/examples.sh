#!/bin/bash
# Every example has under 80 lines.
set -u
status=0
examples=0
for file in examples/*.cpp; do
    examples=$((examples + 1))
    lines=$(wc -l < "$file")
    if [ "$lines" -ge 80 ]; then
        echo "FAILED: $file has $lines lines"
        status=1
    fi
done
[ "$examples" -ge 6 ] || { echo "FAILED: only $examples examples found"; status=1; }
exit $status
