#!/bin/bash
# Builds a program with one compiler, and compares the stacks that it prints traced and untraced.
#
#     backtraces.sh COMPILER TOP
#
# shellcheck source=tests/with_compiler.sh
. "$2/tests/with_compiler.sh"

chain="four three two one main"

# same SCENARIO WAYS CHAIN: what `program` prints is the same, in as many ways, with the hooked calls in it.
same() {
    local how status trampolines
    for how in untraced traced; do
        # In a shell of its own: this one would say what killed the program.
        status=$("$work/program" "$how" "$1" > "$work/$how.trampolines" 2> "$work/$how" < /dev/null; echo $?)
        echo "exit status $status" >> "$work/$how"
    done
    diff "$work/untraced" "$work/traced" > "$work/log" 2>&1
    report "$name, $1: the same stack" $?
    cp "$work/untraced" "$work/log"
    [ "$(grep -c ": .*$3" "$work/untraced")" = "$2" ]
    report "$name, $1: all functions, in $2 ways" $?
    # Each hooked call adds a frame, of the name that the trampolines have.
    trampolines=$(sort -u "$work/traced.trampolines" | xargs)
    cp "$work/traced.trampolines" "$work/log"
    [ "$trampolines" = 5 ] && [ "$(sort -u "$work/untraced.trampolines")" = 0 ]
    report "$name, $1: a trampoline for each hooked call" $?
}

# check WAYS FLAG...
check() {
    local ways=$1
    shift
    name=$*
    "${build[@]}" -fpatchable-function-entry=5 -rdynamic "$top/tests/graph/backtrace_program.cpp" \
        -o "$work/program" "$@" > "$work/log" 2>&1
    local status=$?
    report "$name: builds" "$status"
    [ "$status" = 0 ] || return
    same calls "$ways" "innermost $chain"
    same uncaught "$ways" "$chain"  # what throws may be a part of `innermost` that has no name
}

# has FLAG...: whether $source builds with these flags. An older clang gets a warning from libc++.
has() {
    echo "$source" | "$compiler" -std=c++20 -Werror -x c++ - -o "$work/has" "$@" > /dev/null 2>&1 && return
    echo "Not installed: $*"
    return 1
}

check 2 -O0
check 2 -O2
check 2 -O2 -fomit-frame-pointer

boost=(-DWITH_BOOST)
source='#include <boost/stacktrace.hpp>
int main() { return static_cast<int>(boost::stacktrace::stacktrace().size()) == 0; }'
if has "${boost[@]}"; then check 3 -O0 "${boost[@]}"; check 3 -O2 "${boost[@]}"; fi

llvm=/usr/lib/llvm-19
libunwind=(-DWITH_LIBUNWIND -idirafter /usr/include/libunwind -L "$llvm/lib" "-Wl,-rpath,$llvm/lib" -lunwind)
source='#include <libunwind.h>
int main() { unw_context_t context; return unw_getcontext(&context); }'
has "${libunwind[@]}" && check 3 -O2 "${libunwind[@]}"

case $compiler in
    clang*)
        flags=(-O2 -stdlib=libc++ -rtlib=compiler-rt -unwindlib=libunwind)
        source='#include <string>
int main() { try { throw std::string(); } catch (std::string&) {} }'
        has "${flags[@]}" && check 2 "${flags[@]}"
        ;;
esac

finish
