#!/bin/bash
# No function of the library is a site, in a program that includes all of it and calls its main entry points.
#
#     notrace.sh COMPILER
set -u
compiler=$1
program=$TEST_TMPDIR/program.cpp
arch=$(cd arch/*/include && pwd) || exit
status=0

if ! command -v "$compiler" > /dev/null; then
    echo "No $compiler here: not tested"
    exit "${REQUIRE_COMPILERS:-0}"
fi

(cd include && find -L . -name '*.hpp' | sort | sed 's|^\./\(.*\)|#include <\1>|') > "$program"
cat tests/lint/entry_points.cpp >> "$program"

for level in -O0 -O2; do
    "$compiler" -std=c++20 "$level" -I include -I "$arch" -fpatchable-function-entry=5 -c "$program" \
        -o "$TEST_TMPDIR/program.o" || exit
    tools/check_notrace.py "$TEST_TMPDIR/program.o" || status=1
done

# The same file without the attribute: the check must see that.
mkdir "$TEST_TMPDIR/bare"
cp -rL include "$TEST_TMPDIR/bare"
sed -i 's/patchable_function_entry(0, 0), *//' "$TEST_TMPDIR/bare/include/ftrace/core/config.hpp"
"$compiler" -std=c++20 -O0 -I "$TEST_TMPDIR/bare/include" -I "$arch" -fpatchable-function-entry=5 -c "$program" \
    -o "$TEST_TMPDIR/bare.o" || exit
if tools/check_notrace.py "$TEST_TMPDIR/bare.o" > /dev/null; then
    echo "FAILED: the check does not see the sites of a library without FTRACE_NOTRACE"
    status=1
fi
exit $status
