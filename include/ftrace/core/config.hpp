// Attributes and version. For programs: FTRACE_TRACEABLE, FTRACE_INTERPOSABLE, FTRACE_NOTRACE and
// FTRACE_GENERAL_REGS_ONLY. All other macros of the library are its own.
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
/// overwrite. It also keeps the compiler from using what it knows of the function in its callers.
///
/// clang has no `noipa`. `used` makes it keep the parameters and the result of functions that only
/// one file can call (static, or in an unnamed namespace). Left over are, in callers in the same
/// file (or, with -flto, in the program): an argument that the function does not use is not passed;
/// a result that is always the same constant is not looked at; and from clang 17 on, at -O2, calls
/// with constant arguments may go to a copy, `name.specialized.N`. See FTRACE_INTERPOSABLE.
#if defined(__clang__)
#define FTRACE_TRACEABLE __attribute__((noinline, used, patchable_function_entry(5)))
#else
#define FTRACE_TRACEABLE __attribute__((noipa, patchable_function_entry(5)))
#endif

/// Beside FTRACE_TRACEABLE, on a function with external linkage: clang assumes nothing about the
/// function in its callers, as gcc does not by FTRACE_TRACEABLE alone. The function is a weak
/// symbol then, and callers are not optimised by copying calls of it (`noduplicate`).
///
///     FTRACE_TRACEABLE FTRACE_INTERPOSABLE int version() { return 3; }
#if defined(__clang__)
#define FTRACE_INTERPOSABLE __attribute__((weak, noduplicate))
#else
#define FTRACE_INTERPOSABLE
#endif

/// Gives a function no site, whatever the command line says. Every function of this library carries
/// it.
#define FTRACE_NOTRACE                                                     \
    __attribute__((patchable_function_entry(0, 0), no_instrument_function, \
                   no_profile_instrument_function))

/// What a stub may reach: no site, and nothing a sanitizer, profiler or stack protector would add,
/// since these call functions of their own and may use registers that a stub has not saved.
#if defined(__clang__)
// The second attribute is not about UndefinedBehaviorSanitizer, whose checks clang itself makes.
#define FTRACE_NO_INSTRUMENTATION                                                        \
    FTRACE_NOTRACE __attribute__((no_stack_protector, disable_sanitizer_instrumentation, \
                                  no_sanitize("undefined"), xray_never_instrument))
#else
#define FTRACE_NO_INSTRUMENTATION                                                             \
    FTRACE_NOTRACE                                                                            \
    __attribute__((no_stack_protector, no_sanitize("address", "thread", "undefined", "leak"), \
                   no_sanitize_coverage))
#endif

/// Compiles a function without vector and floating-point registers: what a callback of an
/// ARGS_INTEGER ops has to carry, since its stub saves none. gcc refuses floating-point code in such
/// a function; clang makes of it calls of the soft-float library, which uses general registers.
/// ThreadSanitizer leaves it out: it would call its runtime, which uses vector registers.
#if defined(__clang__)
#define FTRACE_GENERAL_REGS_ONLY \
    __attribute__((target("general-regs-only"), disable_sanitizer_instrumentation))
#else
#define FTRACE_GENERAL_REGS_ONLY __attribute__((target("general-regs-only"), no_sanitize("thread")))
#endif

/// A few instructions of a stub's C++ side, inlined with or without vector registers around them.
#define FTRACE_STUB_INLINE \
    FTRACE_NO_INSTRUMENTATION FTRACE_GENERAL_REGS_ONLY __attribute__((always_inline)) inline

/// Each shared object keeps its own copy; the copies meet in core/process.hpp.
#define FTRACE_LOCAL __attribute__((visibility("hidden")))
