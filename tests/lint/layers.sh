#!/bin/bash
# The headers keep to their layers; and the check sees it when they do not.
set -u
check=tools/check_layers.py
copy=$TEST_TMPDIR/copy
status=0

python3 "$check" . || status=1

# expect_complaint WORDS FILE LINE: with the line added to the file, the check fails and says so.
expect_complaint() {
    rm -rf "$copy"
    mkdir "$copy"
    cp -rL include arch "$copy"
    mkdir -p "$(dirname "$copy/$2")"
    [ -e "$copy/$2" ] || echo '#pragma once' > "$copy/$2"
    echo "$3" >> "$copy/$2"
    if python3 "$check" "$copy" > "$TEST_TMPDIR/log" || ! grep -q "$1" "$TEST_TMPDIR/log"; then
        echo "FAILED: no complaint '$1' about '$3' in $2; the check said:"
        cat "$TEST_TMPDIR/log"
        status=1
    fi
}

expect_complaint "core/ must not know ops" include/ftrace/core/config.hpp '#include <ftrace/ops/ops.hpp>'
expect_complaint "arch/ must not know sites" arch/x86_64/include/ftrace/arch/registers.hpp '#include <ftrace/sites/a.hpp>'
expect_complaint "write #include <ftrace" include/ftrace/core/error.hpp '#include "result.hpp"'
expect_complaint "includes itself" include/ftrace/core/config.hpp '#include <ftrace/core/error.hpp>'
expect_complaint "names a register, rbx" include/ftrace/core/new.hpp 'inline int rbx;'
expect_complaint "names an opcode, 0xe8" include/ftrace/core/new.hpp 'inline int call = 0xe8;'
expect_complaint "names an architecture" include/ftrace/core/new.hpp '#ifdef __x86_64__'
expect_complaint "too dear" include/ftrace/core/config.hpp '#include <regex>'
expect_complaint "which is no part" include/ftrace/misc/new.hpp ''
expect_complaint "which is not there" include/ftrace/core/config.hpp '#include <ftrace/core/missing.hpp>'
expect_complaint "lines: one idea a header" include/ftrace/core/new.hpp "$(printf '//\n%.0s' {1..500})"
exit $status
