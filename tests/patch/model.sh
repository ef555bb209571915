#!/bin/bash
# Checks the model of how text changes, text_poke.pml, with Spin: no interleaving goes wrong; without one of its steps some
# does, and the checker finds it.
#
#     model.sh COMPILER TOP
# shellcheck source=tests/with_compiler.sh
. "$2/tests/with_compiler.sh"
model=$(cd "$top" && pwd)/tests/patch/text_poke.pml

if ! command -v spin > /dev/null; then
    echo "No spin here: not tested"
    exit "${REQUIRE_COMPILERS:-0}"
fi

# errors FLAG...: how many the checker finds in all that can happen, or 1 if it stops at the first; "?" if it could not
# look at everything. Its report is in $work/log.
errors() {
    (
        cd "$work" && spin "$@" -a "$model" > log &&
            "${compiler/g++/gcc}" -O2 -w -DSAFETY pan.c -o pan && ./pan -m1000000 >> log
    ) 2>> "$work/log"
    if grep -qE 'max search depth too small|out of memory' "$work/log"; then echo "?"; return; fi
    grep -oP 'errors: \K[0-9]+' "$work/log" || echo "?"
}

[ "$(errors)" = 0 ]
report "as it is" $?
for step in NO_FIRST_SYNC NO_SECOND_SYNC NO_EVACUATION NO_STALE_TRAPS NO_WAIT TAIL_FIRST; do
    grep -q "$step" "$model" && [ "$(errors "-D$step")" = 1 ]
    report "$step" $?
done
finish
