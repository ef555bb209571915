// Attributes and version: the only macros a program sees, besides FTRACE_ASSERT-free code.
#pragma once

#if !defined(__cplusplus) || __cplusplus < 202002L
#error "ftrace++ needs C++20: compile with -std=c++20 (Bazel: build --cxxopt=-std=c++20)"
#endif

#define FTRACE_VERSION_MAJOR 0
#define FTRACE_VERSION_MINOR 1

/// Makes one function traceable in a file that is compiled without -fpatchable-function-entry.
///
/// gcc needs `noipa` beside the attribute: without the command-line flag its -fipa-ra stays on, and
/// callers in the same file would keep values in registers that every ABI-conforming hook may
/// overwrite.
#if defined(__clang__)
#define FTRACE_TRACEABLE __attribute__((noinline, patchable_function_entry(5)))
#else
#define FTRACE_TRACEABLE __attribute__((noipa, patchable_function_entry(5)))
#endif

/// Gives a function no site, whatever the command line says. Every function of this library carries
/// it.
#define FTRACE_NOTRACE                                                     \
    __attribute__((patchable_function_entry(0, 0), no_instrument_function, \
                   no_profile_instrument_function))

/// What a stub may reach: no site, and nothing a sanitizer, profiler or stack protector would add,
/// since these call functions of their own and may use registers that a stub has not saved.
#if defined(__clang__)
#define FTRACE_NO_INSTRUMENTATION                                                        \
    FTRACE_NOTRACE __attribute__((no_stack_protector, disable_sanitizer_instrumentation, \
                                  xray_never_instrument))
#else
#define FTRACE_NO_INSTRUMENTATION                                                             \
    FTRACE_NOTRACE                                                                            \
    __attribute__((no_stack_protector, no_sanitize("address", "thread", "undefined", "leak"), \
                   no_sanitize_coverage))
#endif

/// Compiles a function without vector and floating-point registers: what a callback of an
/// ARGS_INTEGER ops has to carry, since its stub saves none. Floating-point code in such a function
/// is an error of the compiler.
#define FTRACE_GENERAL_REGS_ONLY __attribute__((target("general-regs-only")))

/// A few instructions of a stub's C++ side, inlined with or without vector registers around them.
#define FTRACE_STUB_INLINE \
    FTRACE_NO_INSTRUMENTATION FTRACE_GENERAL_REGS_ONLY __attribute__((always_inline)) inline

/// Each shared object keeps its own copy; the copies meet in core/process.hpp.
#define FTRACE_LOCAL __attribute__((visibility("hidden")))
