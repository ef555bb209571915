#!/bin/bash
# Builds a program with one compiler, for every unwinder and way of linking it, and runs it.
#
#     unwinders.sh COMPILER TOP [PROGRAM]
#
# PROGRAM: a path under TOP, if it is not unwind_program.cpp. A C++ library that is not installed is left out
# everywhere.
# shellcheck source=tests/with_compiler.sh
. "$2/tests/with_compiler.sh"
source=${3:-tests/graph/unwind_program.cpp}

# program FLAG...: builds and runs; prints what the program says on its way, which is to be nothing.
program() {
    "${build[@]}" -fpatchable-function-entry=5 "$top/$source" -o "$work/program" "$@" > "$work/log" 2>&1 &&
        "$work/program" > "$work/log" 2>&1 && [ ! -s "$work/log" ]
    report "$*" $?
}

# has FLAG...: whether a program of this C++ library and unwinder links at all.
has() {
    echo '#include <string>
int main(int n, char**) { try { throw std::string(1, char(n)); } catch (std::string&) {} }' |
        "$compiler" -std=c++20 -Werror "$@" -x c++ - -o "$work/has" > /dev/null 2>&1
}

for level in -O0 -O2; do program "$level"; done
program -O2 -static
program -O2 -static-pie
program -O2 -no-pie
program -O2 -fPIC
program -O2 -static-libgcc -static-libstdc++
program -O2 -fomit-frame-pointer
case $compiler in
    clang*)
        for unwinder in "" "-rtlib=compiler-rt -unwindlib=libunwind"; do
            for linking in "" -static; do
                # shellcheck disable=SC2086 # several flags each
                if has -stdlib=libc++ $unwinder $linking; then
                    program -O2 -stdlib=libc++ $unwinder $linking
                else
                    echo "Not installed: -stdlib=libc++ $unwinder $linking"
                fi
            done
        done
        ;;
esac

finish
