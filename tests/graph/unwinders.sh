#!/bin/bash
# Builds a program with one compiler, for every unwinder and way of linking it, and runs it.
#
#     unwinders.sh COMPILER TOP [PROGRAM]
#
# TOP holds include/, arch/ and tests/. PROGRAM: a path under it, if it is not unwind_program.cpp. In CI
# (REQUIRE_COMPILERS=1) a missing compiler is a failure; a C++ library that is not installed is left out
# everywhere.
set -u
compiler=$1
top=$2
source=${3:-tests/graph/unwind_program.cpp}
work=$(mktemp -d "${TEST_TMPDIR:-/tmp}/unwinders.XXXXXX")
trap 'rm -rf "$work"' EXIT
passed=0
failed=0

if ! command -v "$compiler" > /dev/null; then
    echo "No $compiler here: not tested"
    exit "${REQUIRE_COMPILERS:-0}"
fi

build=("$compiler" -std=c++20 -Wall -Wextra -Werror -I "$top/include" -I "$top/arch/$(uname -m)/include"
    -fpatchable-function-entry=5 "$top/$source" -o "$work/program")

# program FLAG...: builds and runs; prints what the program says on its way, which is to be nothing.
program() {
    if "${build[@]}" "$@" > "$work/log" 2>&1 && "$work/program" > "$work/log" 2>&1 && [ ! -s "$work/log" ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAILED: $compiler $*"
        head -n 20 "$work/log"
    fi
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

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
