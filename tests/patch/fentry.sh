#!/bin/bash
# Sites made by -pg -mfentry -mnop-mcount -mrecord-mcount, which gcc alone offers, are traced and untraced.
#
#     fentry.sh COMPILER TOP
# shellcheck source=tests/with_compiler.sh
. "$2/tests/with_compiler.sh"

# program COMPILE_FLAGS LINK_FLAGS. Linked without -pg, which would start a profiler.
program() {
    # shellcheck disable=SC2086 # several flags each
    "${build[@]}" -pg -mfentry -mnop-mcount -mrecord-mcount -fno-pie $1 -c "$top/tests/patch/fentry_program.cpp" \
        -o "$work/program.o" > "$work/log" 2>&1 &&
        "$compiler" "$work/program.o" $2 -o "$work/program" > "$work/log" 2>&1 &&
        "$work/program" > "$work/log" 2>&1
    report "$1, linked with $2" $?
}

program -O0 -no-pie
program -O2 -no-pie
program "-O2 -fcf-protection" -no-pie
program -O2 -static
finish
