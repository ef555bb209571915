#!/bin/bash
# What cannot be right does not compile, and the compiler prints the sentence that says why.
#
#     refused.sh COMPILER TOP CASES
#
# TOP holds include/ and arch/. CASES is a file of bash that writes $work/prelude.hpp and calls accept_code and
# refuse_code. In CI (REQUIRE_COMPILERS=1) a missing compiler is a failure.
set -u
compiler=$1
top=$2
cases=$3
work=$(mktemp -d "${TEST_TMPDIR:-/tmp}/refused.XXXXXX")
trap 'rm -rf "$work"' EXIT
passed=0
failed=0

if ! command -v "$compiler" > /dev/null; then
    echo "No $compiler here: not tested"
    exit "${REQUIRE_COMPILERS:-0}"
fi

compile() { # CODE
    printf '#include "prelude.hpp"\n%s\n' "$1" > "$work/a.cpp"
    "$compiler" -std=c++20 -Wall -Wextra -Werror -fsyntax-only -I "$work" -I "$top/include" \
        -I "$top/arch/$(uname -m)/include" "$work/a.cpp" > "$work/log" 2>&1
}

accept_code() { # CODE
    if compile "$1"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAILED: does not compile: $1"
        head -n 5 "$work/log"
    fi
}

# WORDS: one line of the message contains them; several lines: any of them does.
refuse_code() { # WORDS CODE
    if compile "$2"; then
        failed=$((failed + 1))
        echo "FAILED: compiles: $2"
    elif ! grep -qF -- "$1" "$work/log"; then
        failed=$((failed + 1))
        echo "FAILED: the message about '$2' does not say '$1':"
        grep error "$work/log" | head -n 5
    else
        passed=$((passed + 1))
    fi
}

# shellcheck source=/dev/null # one of several
. "$cases"

echo "$compiler: $passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" != 0 ]
