// Which exception is leaving a wrapper: known without catching it.
//
// An exception is thrown in two phases (Itanium C++ ABI: Exception Handling, 1.3). The first looks for a
// handler, and asks the type of each catch clause on the way whether it catches this one. A wrapper
// has a clause of a type whose answer is always no; it is told what was thrown when it is asked. The
// second phase runs destructors, that of the wrapper among them, which reads what was noted. A
// wrapper is so never where the search ends: of an exception that nobody catches std::terminate()
// still sees the stack of the throw.
//
// A destructor that runs in the second phase may itself throw and catch: then one exception more is
// uncaught, and it is noted at another place.
#pragma once

#include <cstddef>
#include <cstring>
#include <exception>
#include <ftrace/core/config.hpp>
#include <typeinfo>

#if defined(__cpp_exceptions) && defined(__cpp_rtti)
#define FTRACE_SEES_THROWN 1
#else
#define FTRACE_SEES_THROWN 0
#endif

namespace ftrace::inline v0::detail {

#if FTRACE_SEES_THROWN
/// By how many exceptions are uncaught.
inline constexpr int most_uncaught = 8;
FTRACE_LOCAL inline constinit thread_local const std::type_info* thrown_types[most_uncaught]
    __attribute__((tls_model("initial-exec"))) = {};

FTRACE_NOTRACE inline const std::type_info*& thrown_type_now() noexcept {
    const int uncaught = std::uncaught_exceptions();
    return thrown_types[uncaught < most_uncaught ? uncaught : most_uncaught - 1];
}

/// Whether a type stands for what is no C++ exception: libstdc++ asks clauses about these, too.
FTRACE_LOCAL FTRACE_NOTRACE inline bool is_foreign(const std::type_info& thrown) noexcept {
    return std::strcmp(thrown.name(), "N10__cxxabiv119__foreign_exceptionE") == 0 ||
           std::strcmp(thrown.name(), "N10__cxxabiv115__forced_unwindE") == 0;
}

/// std::type_info::__do_catch of libstdc++ (a pointer to the pointer to the object, and how deep the
/// clause is), std::__shim_type_info::can_catch of libc++abi: both are the fifth virtual function.
FTRACE_LOCAL FTRACE_NOTRACE inline bool note_thrown(const void*, const std::type_info* thrown,
                                                    void**, unsigned) noexcept {
    thrown_type_now() = is_foreign(*thrown) ? nullptr : thrown;
    return false;
}
FTRACE_LOCAL FTRACE_NOTRACE inline bool says_no(const void*) noexcept { return false; }

/// What the catch clauses of wrappers are of. Its type_info would be emitted with its first virtual
/// function, which nobody defines.
struct thrown_spy {
    virtual void never_defined();
};
/// A std::type_info as the ABI has it (2.9.5): one pointer to functions, one to the name.
struct spy_type_info {
    const void* const* functions;
    const char* name;
};
FTRACE_LOCAL inline const void* const spy_functions[] = {
    nullptr,                                  // offset to top
    nullptr,                                  // type_info
    reinterpret_cast<const void*>(&says_no),  // the two destructors
    reinterpret_cast<const void*>(&says_no),
    reinterpret_cast<const void*>(&says_no),  // __is_pointer_p, or noop1
    reinterpret_cast<const void*>(&says_no),  // __is_function_p, or noop2
    reinterpret_cast<const void*>(&note_thrown),
    reinterpret_cast<const void*>(&says_no),  // __do_upcast
};
FTRACE_LOCAL inline constinit const spy_type_info the_spy_type_info __asm__(
    "_ZTIN6ftrace2v06detail10thrown_spyE") = {spy_functions + 2, "N6ftrace2v06detail10thrown_spyE"};

/// Around what may throw. The assembly makes the compiler emit what it knows under another name.
#define FTRACE_NOTE_THROWN_BEGIN                            \
    __asm__("" ::"m"(::ftrace::detail::the_spy_type_info)); \
    try {
#define FTRACE_NOTE_THROWN_END              \
    }                                       \
    catch (::ftrace::detail::thrown_spy&) { \
        __builtin_unreachable();            \
    }
/// In a destructor that an exception runs: its type, or null. (Inlined always: a file without RTTI has
/// another function of this name.)
[[nodiscard]] FTRACE_NOTRACE __attribute__((always_inline)) inline const std::type_info*
thrown_type() noexcept {
    return thrown_type_now();
}
#else
#define FTRACE_NOTE_THROWN_BEGIN
#define FTRACE_NOTE_THROWN_END
[[nodiscard]] FTRACE_NOTRACE __attribute__((always_inline)) inline const std::type_info*
thrown_type() noexcept {
    return nullptr;
}
#endif

}  // namespace ftrace::inline v0::detail
