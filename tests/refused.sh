#!/bin/bash
# What cannot be right does not compile, and the compiler prints the sentence that says why.
#
#     refused.sh COMPILER TOP CASES
#
# CASES is a file of bash that writes $work/prelude.hpp and calls accept_code and refuse_code.
# shellcheck source=tests/with_compiler.sh
. "$2/tests/with_compiler.sh"

compile() { # CODE
    printf '#include "prelude.hpp"\n%s\n' "$1" > "$work/a.cpp"
    "$compiler" -std=c++20 -Wall -Wextra -Werror -fsyntax-only -I "$work" -I "$top/include" \
        -I "$top/arch/$(uname -m)/include" "$work/a.cpp" > "$work/log" 2>&1
}

accept_code() { # CODE
    compile "$1"
    report "$1" $? "does not compile"
}

# WORDS: one line of the message contains them; several lines: any of them does.
refuse_code() { # WORDS CODE
    if compile "$2"; then
        report "$2" 1 "compiles"
        return
    fi
    grep -qF -- "$1" "$work/log"
    report "$2" $? "the message does not say '$1'"
}

# shellcheck source=/dev/null # one of several
. "$3" || report "$3" $?

finish
