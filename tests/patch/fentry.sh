#!/bin/bash
# Sites made by -pg -mfentry -mnop-mcount -mrecord-mcount, which gcc alone offers, are traced and untraced.
#
#     fentry.sh COMPILER TOP
#
# TOP holds include/, arch/ and tests/.
set -u
compiler=$1
top=$2
work=$(mktemp -d "${TEST_TMPDIR:-/tmp}/fentry.XXXXXX")
trap 'rm -rf "$work"' EXIT
passed=0
failed=0

# program COMPILE_FLAGS LINK_FLAGS. Linked without -pg, which would start a profiler.
program() {
    # shellcheck disable=SC2086 # several flags each
    if "$compiler" -std=c++20 -Wall -Wextra -Wconversion -Wshadow -Wpedantic -Werror -I "$top" -I "$top/include" \
        -I "$top/arch/$(uname -m)/include" -pg -mfentry -mnop-mcount -mrecord-mcount -fno-pie $1 \
        -c "$top/tests/patch/fentry_program.cpp" -o "$work/program.o" > "$work/log" 2>&1 &&
        "$compiler" "$work/program.o" $2 -o "$work/program" > "$work/log" 2>&1 &&
        "$work/program" > "$work/log" 2>&1; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAILED: $compiler $1, linked with $2"
        head -n 20 "$work/log"
    fi
}

program -O0 -no-pie
program -O2 -no-pie
program "-O2 -fcf-protection" -no-pie
program -O2 -static
echo "$compiler: $passed passed, $failed failed"
[ "$failed" = 0 ]
