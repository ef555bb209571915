#!/bin/bash
# What cannot be right does not compile, and the compiler prints the sentence that says why.
#
#     refused.sh COMPILER TOP
#
# TOP holds include/ and arch/. In CI (REQUIRE_COMPILERS=1) a missing compiler is a failure.
set -u
compiler=$1
top=$2
work=$(mktemp -d "${TEST_TMPDIR:-/tmp}/refused.XXXXXX")
trap 'rm -rf "$work"' EXIT
passed=0
failed=0

if ! command -v "$compiler" > /dev/null; then
    echo "No $compiler here: not tested"
    exit "${REQUIRE_COMPILERS:-0}"
fi

cat > "$work/prelude.hpp" << 'END'
#include <ftrace/args/args.hpp>
#include <string>
using namespace ftrace;
struct pair { int a, b; };
struct forward;
struct parser { int parse(double); };
int plain(int, double);
void nothing(int);
int variadic(const char*, ...);
int variadic_pair(pair, ...);
void takes_forward(forward);
int value = 3;
END

compile() { # REGS STATEMENT
    printf '#include "prelude.hpp"\nvoid callback([[maybe_unused]] %s& regs) noexcept { %s; }\n' "$1" "$2" > "$work/a.cpp"
    "$compiler" -std=c++20 -Wall -Wextra -Werror -fsyntax-only -I "$work" -I "$top/include" \
        -I "$top/arch/$(uname -m)/include" "$work/a.cpp" > "$work/log" 2>&1
}

accept() { # REGS STATEMENT
    if compile "$1" "$2"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAILED: does not compile with $1: $2"
        head -n 5 "$work/log"
    fi
}

refuse() { # WORDS REGS STATEMENT
    if compile "$2" "$3"; then
        failed=$((failed + 1))
        echo "FAILED: compiles with $2: $3"
    elif ! grep -qF -- "$1" "$work/log"; then
        failed=$((failed + 1))
        echo "FAILED: the message about '$3' with $2 does not say '$1':"
        grep error "$work/log" | head -n 5
    else
        passed=$((passed + 1))
    fi
}

accept ftrace_regs '(void)regs_get_argument<1, &plain>(regs)'
refuse 'the function has no such argument' ftrace_regs '(void)regs_get_argument<2, &plain>(regs)'
refuse 'the function has no such argument' ftrace_regs '(void)regs_get_argument<2, &parser::parse>(regs)'
refuse 'the function has no such argument' ftrace_regs '(void)regs_get_argument<1, int(int)>(regs)'
refuse 'the function has no such argument' ftrace_regs 'regs_set_argument<2, &plain>(regs, 1)'
refuse 'name the traced function' ftrace_regs '(void)regs_get_argument<0, int>(regs)'
refuse 'name the traced function' ftrace_regs '(void)regs_get_argument<0, &value>(regs)'
refuse 'regs_get_variadic' ftrace_regs '(void)regs_get_argument<1, &variadic>(regs)'
refuse 'ncomplete' ftrace_regs '(void)regs_get_argument<0, &takes_forward>(regs)'

accept full_regs '(void)regs_get_register<reg::bx>(regs)'
accept full_regs 'regs_set_register<reg::flags>(regs, 1)'
accept args_regs '(void)regs_get_register<reg::r10>(regs)'
refuse 'rbx is saved by SAVE_REGS only: take full_regs&' ftrace_regs '(void)regs_get_register<reg::bx>(regs)'
refuse 'rbx is saved by SAVE_REGS only: take full_regs&' args_regs '(void)regs_get_register<reg::bx>(regs)'
refuse 'r15 is saved by SAVE_REGS only: take full_regs&' integer_regs 'regs_set_register<reg::r15>(regs, 1)'
refuse 'rflags is saved by SAVE_REGS only: take full_regs&' args_regs '(void)regs_get_register<reg::flags>(regs)'

accept integer_regs '(void)regs_get_argument<0, &plain>(regs)'
accept integer_regs '(void)regs_get_argument<0, int(pair)>(regs)'
refuse 'which ARGS_INTEGER does not save' integer_regs '(void)regs_get_argument<1, &plain>(regs)'
refuse 'which ARGS_INTEGER does not save' integer_regs 'regs_set_argument<1, &plain>(regs, 1.0)'
refuse 'which ARGS_INTEGER does not save' integer_regs '(void)regs_get_return_value<double>(regs)'

accept ftrace_regs 'regs_set_argument<0, int(std::string&)>(regs, *new std::string)'
refuse 'error' ftrace_regs 'regs_set_argument<0, int(std::string&)>(regs, std::string())'

accept ftrace_regs 'override_function_with_return<&plain>(regs, 1)'
accept ftrace_regs 'override_function_with_return<&nothing>(regs)'
refuse 'does not convert to the function' ftrace_regs 'override_function_with_return<&plain>(regs, "text")'
refuse 'this function returns void' ftrace_regs 'override_function_with_return<&nothing>(regs, 1)'
refuse 'this function returns a value' ftrace_regs 'override_function_with_return<&plain>(regs)'
refuse 'this function returns void' ftrace_regs '(void)regs_get_return_value<&nothing>(regs)'
refuse 'assign to regs_get_return_value' ftrace_regs 'std::string s; regs_set_return_value<std::string>(regs, s)'

accept ftrace_regs '(void)regs_get_variadic<&variadic>(regs).next<double>()'
refuse 'this function has no variadic tail' ftrace_regs '(void)regs_get_variadic<&plain>(regs)'
refuse 'read float as double' ftrace_regs '(void)regs_get_variadic<&variadic>(regs).next<float>()'
refuse 'read float as double' ftrace_regs '(void)regs_get_variadic<&variadic>(regs).next<short>()'
refuse 'give the whole call' ftrace_regs '(void)regs_get_variadic<&variadic>(regs).next<pair>()'
refuse 'is a class by value' ftrace_regs '(void)regs_get_variadic<&variadic_pair>(regs)'

echo "$compiler: $passed passed, $failed failed"
[ "$failed" = 0 ]
