#!/bin/bash
# Builds a program with one compiler, in several ways, and compares what gdb says of it traced and untraced.
#
#     gdb.sh COMPILER TOP
#
# Return trampolines are the only frames that tracing may add. In CI (REQUIRE_COMPILERS=1) a missing gdb is a failure.
# shellcheck source=tests/with_compiler.sh
. "$2/tests/with_compiler.sh"

if ! command -v gdb > /dev/null; then
    echo "No gdb here: not tested"
    exit "${REQUIRE_COMPILERS:-0}"
fi

# look PROGRAM ARGUMENTS COMMANDS: starts the program under gdb; into $work/out.
look() {
    cat > "$work/commands" << end
set pagination off
set confirm off
set style enabled off
set print frame-arguments presence
set print frame-info short-location
set print address off
set startup-with-shell off
set debuginfod enabled off
set args $2
$3
end
    # -nx: no settings of the user. gdb may run forever on a wrong stack.
    timeout 120 gdb -nx -batch -x "$work/commands" "$1" > "$work/out" 2>&1 < /dev/null
}

# The functions of the backtraces that gdb printed, a line for each backtrace; `all` with trampolines.
frames() {
    awk -v all="${1:-}" '
        function end_of_trace() { if (line != "") print substr(line, 2); line = "" }
        /^#/ {
            if ($1 == "#0") end_of_trace()
            name = $0
            sub(/^#[0-9]+ +/, "", name)
            sub(/ \((\.\.\.)?\).*$/, "", name)
            gsub(/ /, "_", name)
            if (all || name != "ftrace_return_trampoline") line = line " " name
        }
        END { end_of_trace() }' "$work/out"
}

# expect NAME EXPECTED FOUND
expect() {
    local status=0
    if [ "$2" != "$3" ]; then
        status=1
        printf 'Expected:\n%s\nFound:\n%s\n' "$2" "$3" > "$work/log"
        cat "$work/out" >> "$work/log"
    fi
    report "$name: $1" "$status"
}

# as_untraced CASE SCENARIO COMMANDS FUNCTIONS: the same backtraces, which have these functions in them, one line for each
# backtrace.
as_untraced() {
    local untraced
    look "$program" "untraced $2" "$3"
    untraced=$(frames)
    expect "$1, untraced" "$4" "$(grep -o "$(head -n 1 <<< "$4")" <<< "$untraced")"
    look "$program" "traced $2" "$3"
    expect "$1" "$untraced" "$(frames)"
}

stack="innermost four three two one"
hooked_stack=" ${stack// / ftrace_return_trampoline } ftrace_return_trampoline main"

looks_the_same() {
    as_untraced "a breakpoint in the innermost function" calls "break stop_here
run
bt" "$stack"
    expect "a trampoline for each hooked call" "stop_here$hooked_stack" "$(frames all)"
    as_untraced "an exception is thrown" throws "catch throw
run
bt" "$stack"
    as_untraced "an exception that nobody catches" uncaught "handle SIGABRT stop
run
bt" "$stack"
}

returns_are_seen() {
    look "$program" "traced calls" "break in_callback
run
bt"
    expect "a return callback" "four three two one main" "$(frames | grep -o 'four .*')"
    # The last line of the last trace is what `up` says.
    look "$program" "traced calls" "break stop_here
run
finish
finish
bt
finish
bt
next
bt
up 2"
    expect "finish until in the caller; next; up" "four three two one main
four three two one main
four three two one main three" "$(frames)"
    expect "finish goes to the trampoline first" "ftrace_return_trampoline four four" \
        "$(frames all | sed 's/ .*//' | xargs)"
}

# At every instruction from before the call of the innermost function until after its return.
steps_through() {
    # shellcheck disable=SC2016 # gdb's variables
    look "$program" "traced calls" 'break begin_here
run
delete
set $steps = 0
while !returned && $steps < 20000
stepi
bt
set $steps = $steps + 1
end'
    frames > "$work/traces"
    local wrong
    wrong=$(awk '!/(^| )four three two one main$/ || / four .* four / || /\?/ { print NR ": " $0 }' "$work/traces")
    expect "stepping through entry and return, $(grep -c . "$work/traces") instructions" "" "$wrong"
    for part in innermost ftrace::.*entry_stub ftrace::.*return_stub ftrace::.*graph_return::returned on_return \
        in_callback "four three"; do
        grep -q "^$part" "$work/traces"
        report "$name: stepping through $part" $? "never seen"
    done
    grep -q '^#0  *ftrace_return_trampoline' "$work/out"
    report "$name: stepping through a trampoline" $?
}

# Debuggers that come later.
attaches() {
    local pid
    # Not a child of this shell, which would say how it ended.
    pid=$("$program" traced waits > "$work/says" 2>&1 & echo $!)
    until [ -s "$work/says" ] || ! kill -0 "$pid"; do sleep 0.1; done
    look "$program" "" "attach $pid
bt
kill"
    if grep -q 'ptrace: ' "$work/out"; then
        echo "No attaching here: not tested"
        kill "$pid"
    else
        expect "attached later" "$stack main" "$(frames | grep -o 'innermost.*')"
    fi
}

# compile NAME FLAG...
compile() {
    name=$1
    program=$work/program
    "${build[@]}" -g -fpatchable-function-entry=5 -o "$program" "${@:2}" > "$work/log" 2>&1
    local status=$?
    [ "$status" = 0 ] || report "$name: builds" "$status"
    return "$status"
}
source=$top/tests/graph/debugged_program.cpp

if compile -O0 -O0 "$source"; then
    looks_the_same
    returns_are_seen
    attaches
fi
if compile -O2 -O2 "$source"; then
    looks_the_same
    returns_are_seen
    steps_through
fi
compile "-O2 -static" -O2 -static "$source" && looks_the_same && steps_through
compile "-O2 -fomit-frame-pointer -no-pie" -O2 -fomit-frame-pointer -no-pie "$source" && looks_the_same

# A program that has a just-in-time compiler as well.
cat > "$work/jit.cpp" << 'end'
#include <cstdint>
extern "C" {
struct jit_code_entry;
struct jit_descriptor {
    std::uint32_t version, action_flag;
    jit_code_entry *relevant_entry, *first_entry;
};
__attribute__((noinline)) void __jit_debug_register_code() { __asm__ volatile("" : : : "memory"); }
jit_descriptor __jit_debug_descriptor = {1, 0, nullptr, nullptr};
}
end
compile "beside a JIT" -O2 "$source" "$work/jit.cpp" && looks_the_same

# Two objects that have the library, of which one hooks.
cat > "$work/main.cpp" << 'end'
#include <ftrace/graph/fgraph.hpp>
int library_main(int count, char** arguments);
ftrace::fgraph_ops unused{nullptr, nullptr};
FTRACE_NOTRACE int main(int count, char** arguments) {
    if (count == 0) (void)ftrace::register_ftrace_graph(unused);
    return library_main(count, arguments) + 0 * count;
}
end
if compile "a shared object" -O2 -fPIC -shared -Dmain=library_main "$source" &&
    mv "$program" "$work/library.so" &&
    compile "a shared object" -O2 "$work/main.cpp" "$work/library.so" "-Wl,-rpath,$work"; then
    as_untraced "a breakpoint in the innermost function" calls "set breakpoint pending on
break stop_here
run
bt" "$stack library_main"
fi

case $compiler in
    clang*)
        for linking in "" -static; do
            flags=(-O2 -stdlib=libc++ -rtlib=compiler-rt -unwindlib=libunwind)
            # shellcheck disable=SC2206
            [ -n "$linking" ] && flags+=($linking)
            if echo 'int main() {}' | "$compiler" "${flags[@]}" -x c++ - -o "$work/has" > /dev/null 2>&1; then
                compile "${flags[*]}" "${flags[@]}" "$source" && looks_the_same && steps_through
            else
                echo "Not installed: ${flags[*]}"
            fi
        done
        ;;
esac

finish
