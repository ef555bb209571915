#!/bin/bash
# An example ends well and prints exactly what it should.
#
#     prints.sh PROGRAM EXPECTED
set -u
output=$("$1" 2>&1) || { echo "FAILED: $1 ended with $?:"; echo "$output"; exit 1; }
diff "$2" <(echo "$output") || { echo "FAILED: expected <, printed >"; exit 1; }
