#!/bin/bash
# Functions that are traceable by FTRACE_TRACEABLE alone keep their callers' registers, with one compiler.
#
#     attribute_only.sh COMPILER TOP
#
# TOP holds include/, arch/ and tests/. In CI (REQUIRE_COMPILERS=1) a missing compiler is a failure.
set -u
compiler=$1
top=$2
work=$(mktemp -d "${TEST_TMPDIR:-/tmp}/attribute_only.XXXXXX")
trap 'rm -rf "$work"' EXIT
passed=0
failed=0

if ! command -v "$compiler" > /dev/null; then
    echo "No $compiler here: not tested"
    exit "${REQUIRE_COMPILERS:-0}"
fi

# ends_with STATUS FLAG...: the program, built with these flags, ends so.
ends_with() {
    local expected=$1 status
    shift
    "$compiler" -std=c++20 -Wall -Wextra -Wconversion -Wshadow -Wpedantic -Werror -I "$top" -I "$top/include" \
        -I "$top/arch/$(uname -m)/include" "$@" "$top/tests/abi/attribute_only_program.cpp" -o "$work/program" \
        > "$work/log" 2>&1 && "$work/program" > "$work/log" 2>&1
    status=$?
    if [ "$status" = "$expected" ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAILED: $compiler $*: status $status, expected $expected"
        head -n 20 "$work/log"
    fi
}

for level in -O0 -O1 -O2 -O3 -Os; do ends_with 0 "$level"; done
ends_with 0 -O2 -fPIC
ends_with 0 -O2 -fomit-frame-pointer -mavx2
case $compiler in
    # Without what FTRACE_TRACEABLE adds, results are wrong: the program would see it.
    g++*) ends_with 3 -O2 -DATTRIBUTE_WITHOUT_NOIPA ;;
esac

echo "$compiler: $passed passed, $failed failed"
[ "$failed" = 0 ]
