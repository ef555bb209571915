#!/bin/bash
# Functions that are traceable by FTRACE_TRACEABLE alone keep their callers' registers, with one compiler.
#
#     attribute_only.sh COMPILER TOP
# shellcheck source=tests/with_compiler.sh
. "$2/tests/with_compiler.sh"

# ends_with STATUS FLAG...: the program, built with these flags, ends so.
ends_with() {
    local expected=$1 status
    shift
    "${build[@]}" "$@" "$top/tests/abi/attribute_only_program.cpp" -o "$work/program" > "$work/log" 2>&1 &&
        "$work/program" > "$work/log" 2>&1
    status=$?
    [ "$status" = "$expected" ]
    report "$*" $? "status $status, expected $expected"
}

for level in -O0 -O1 -O2 -O3 -Os; do ends_with 0 "$level"; done
ends_with 0 -O2 -fPIC
ends_with 0 -O2 -fomit-frame-pointer -mavx2
case $compiler in
    # Without what FTRACE_TRACEABLE adds, results are wrong: the program would see it.
    g++*) ends_with 3 -O2 -DATTRIBUTE_WITHOUT_NOIPA ;;
esac

finish
