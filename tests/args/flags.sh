#!/bin/bash
# What flags of the user's may not break, and what must not stand in the code of an accessor.
#
#     flags.sh COMPILER TOP
# shellcheck source=tests/with_compiler.sh
. "$2/tests/with_compiler.sh"

compile() { # FILE FLAGS...
    local file=$1
    shift
    "$compiler" -std=c++20 -fpatchable-function-entry=5 -I "$top/include" \
        -I "$top/arch/$(uname -m)/include" "$work/$file" "$@" > "$work/log" 2>&1
}
cat > "$work/program.cpp" << 'END'
#include <ftrace/ftrace.hpp>
#include <ftrace/graph/fgraph.hpp>
struct pair { int a; float b; };
FTRACE_TRACEABLE int traced(pair p, int n) { return p.a + n; }
auto* volatile call_traced = traced;
int seen = 0;
void callback(unsigned long, unsigned long, ftrace::ftrace_ops&, ftrace::ftrace_regs& regs) noexcept {
    seen += ftrace::regs_get_argument<0, &traced>(regs).a + ftrace::regs_get_argument<1, &traced>(regs);
}
static ftrace::ops<callback> op;
bool enter(const ftrace::ftrace_graph_ent&, ftrace::fgraph_ops&, ftrace::ftrace_regs&) noexcept { return true; }
void leave(const ftrace::ftrace_graph_ret&, ftrace::fgraph_ops&, ftrace::ftrace_regs& regs) noexcept {
    seen += ftrace::regs_get_return_value<&traced>(regs);
}
static ftrace::fgraph_ops graph(enter, leave);
int main() {
    if (!op.set_filter("traced") || !graph.ops.set_filter("traced")) return 1;
    auto by_op = ftrace::register_ftrace_function(op);
    auto by_graph = ftrace::register_ftrace_graph(graph);
    if (!by_op || !by_graph) return 2;
    return call_traced({3, 0}, 4) == 7 && seen == 14 ? 0 : 3;
}
END

# Without unwind tables no function is open for CFI directives.
for flags in "-fno-exceptions -fno-asynchronous-unwind-tables -fno-unwind-tables" "-fno-dwarf2-cfi-asm"; do
    case $compiler$flags in clang*-fno-dwarf2-cfi-asm) continue ;; esac
    # shellcheck disable=SC2086
    compile program.cpp $flags -o "$work/program" -pthread -ldl && "$work/program"
    report "a program built with $flags" $?
done
! compile program.cpp -masm=intel -o "$work/program" -pthread -ldl &&
    grep -qF 'compile this file without -masm=intel' "$work/log"
report "-masm=intel is refused" $?

cat > "$work/accessors.cpp" << 'END'
#include <ftrace/args/args.hpp>
#include <string>
struct pair { int a; float b; };
struct words { long w[2]; };
struct fixed { int a; fixed(int); fixed(const fixed&) = delete; };
pair make(pair, words, fixed, double, std::string, const int&);
fixed make_fixed(int);
int tail(const char*, ...);
words make_words(words, int);
volatile double sink;
void callback(ftrace::ftrace_regs& regs) noexcept {
    using namespace ftrace;
    sink = regs_get_argument<0, &make>(regs).b + double(regs_get_argument<1, &make>(regs).w[0]) +
           regs_get_argument<2, &make>(regs).a + regs_get_argument<3, &make>(regs) +
           double(regs_get_argument<4, &make>(regs).size()) + regs_get_argument<5, &make>(regs);
    regs_set_argument<0, &make>(regs, pair{1, 2});
    regs_set_argument<3, &make>(regs, 2.0);
    sink = regs_get_return_value<&make>(regs).b + regs_get_return_value<&make_fixed>(regs).a;
    regs_set_return_value<&make>(regs, pair{1, 2});
    override_function_with_return<&make>(regs, pair{1, 2});
    override_function_with_return<&make_fixed>(regs, 3);
    auto more = regs_get_variadic<&tail>(regs);
    sink = more.next<int>() + more.next<double>();
}
FTRACE_GENERAL_REGS_ONLY void by_integers(ftrace::integer_regs& regs) noexcept {
    using namespace ftrace;
    words w = regs_get_argument<0, &make_words>(regs);
    regs_set_argument<0, &make_words>(regs, w);
    w = regs_get_return_value<&make_words>(regs);
    override_function_with_return<&make_words>(regs, w);
}
END
for level in -O0 -Os; do
    rm -f "$work/accessors.s"
    compile accessors.cpp $level -S -o "$work/accessors.s"
    report "accessors at $level" $?
    # A stub may come here, and a guard locks.
    [ -s "$work/accessors.s" ] && ! grep '__cxa_guard' "$work/accessors.s" > "$work/log"
    report "no guarded static in an accessor at $level" $?
    # memcpy uses vector registers, which ARGS_INTEGER does not save.
    sed -n '/^_Z11by_integers/,/\.cfi_endproc/p' "$work/accessors.s" > "$work/general.s"
    sed -n '/^_ZN.*_located/,/\.cfi_endproc/p' "$work/accessors.s" >> "$work/general.s"
    grep -q 'load_located' "$work/general.s" && ! grep -E 'mem(cpy|move|set)|%[xyz]mm' "$work/general.s" > "$work/log"
    report "accessors under ARGS_INTEGER use no vector registers at $level" $?
done

finish
