#!/bin/bash
# Compiles the C++ that README.md and docs/ show, so that it stays true: a block that includes something is a file, any
# other is what stands in a function of a program that has a parser.
#
#     documents.sh COMPILER TOP
# shellcheck source=tests/with_compiler.sh
. "$2/tests/with_compiler.sh"

# block FILE N: the Nth block of C++ in FILE; nothing if there are fewer.
block() {
    awk -v wanted="$2" '/^```/ { inside = 0 } inside && n == wanted { print }
        /^```cpp$/ { inside = 1; ++n }' "$1"
}

prelude='#include <chrono>
#include <cstdio>
#include <ftrace/ftrace.hpp>
#include <ftrace/export/text.hpp>
#include <ftrace/trace/tracer.hpp>
#include <string_view>
struct Parser { int parse(std::string_view text); };
void report(int result, std::chrono::nanoseconds spent);
void work();
void shown() {'

for document in "$top"/README.md "$top"/docs/*.md; do
    for ((n = 1; ; ++n)); do
        code=$(block "$document" $n)
        [ -z "$code" ] && break
        grep -q '^#include' <<< "$code" || code="$prelude
$code
}"
        echo "$code" > "$work/shown.cpp"
        "${build[@]}" -fpatchable-function-entry=5 -c "$work/shown.cpp" -o "$work/shown.o" > "$work/log" 2>&1
        report "${document#"$top"/}: block $n" $?
    done
done
[ "${#cases[@]}" -ge 4 ] || report "blocks of C++ in the documents" 1 "only ${#cases[@]} found"
finish
