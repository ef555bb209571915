#!/bin/bash
# An example ends well and prints exactly what it should.
#
#     prints.sh PROGRAM EXPECTED
set -u
output=$("$1" 2>&1) || { echo "FAILED: $1 ended with $?:"; echo "$output"; exit 1; }
# Which names come second and third depends on what the optimiser left.
output=$(sed -E 's/(nearest: [^,.]*)[^.]*\./\1./' <<< "$output")
diff "$2" <(echo "$output") || { echo "FAILED: expected <, printed >"; exit 1; }
