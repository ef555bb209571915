// The unnamed arguments of a variadic call, one after the other, as va_arg reads them.
#pragma once

#include <ftrace/args/arguments.hpp>

namespace ftrace::inline v0 {
namespace detail {

/// T after the default argument promotions is another type, so no variadic argument ever is a T.
template <typename T>
inline constexpr bool is_promoted_away =
    std::is_same_v<T, float> ||
    ((std::is_integral_v<T> || std::is_enum_v<T>) && sizeof(T) < sizeof(int));

}  // namespace detail

/// The variadic tail of a call. Like a va_list it does not know the types: the caller's format
/// string does, and a wrong type, or one argument too many, reads something else. Valid inside the
/// entry callback. `Vectors`: the vector registers were saved.
template <bool Vectors>
class basic_variadic_arguments {
public:
    FTRACE_STUB_INLINE basic_variadic_arguments(const ftrace_regs& regs,
                                                arch::call_allocator named) noexcept
        : regs_(regs), registers_(named) {}

    /// The next argument, passed as a T: a copy, or for a class that is passed by address the
    /// caller's object.
    template <typename T>
        requires detail::is_general<T>
    [[nodiscard]] FTRACE_STUB_INLINE detail::accessed<T> next() noexcept {
        return detail::read_argument_general<T>(regs_, take<T>());
    }
    template <typename T>
        requires(!detail::is_general<T>)
    [[nodiscard]] FTRACE_VECTOR_ACCESSOR detail::accessed<T> next() noexcept {
        return detail::read_argument_vector<T>(regs_, take<T>());
    }

private:
    struct located {
        arch::location at;
        template <std::size_t Size>
        FTRACE_STUB_INLINE void load(const ftrace_regs& regs, void* to) const noexcept {
            arch::load_located(regs, at, to, Size);
        }
        template <typename T>
        FTRACE_STUB_INLINE T& object(const ftrace_regs& regs) const noexcept {
            return arch::located_object<T>(regs, at);
        }
    };

    template <typename T>
    FTRACE_STUB_INLINE located take() noexcept {
        static_assert(!detail::is_promoted_away<T>,
                      "ftrace: a variadic call promotes this type: read float as double, and "
                      "integers narrower than "
                      "int as int");
        static_assert(!std::is_reference_v<T>,
                      "ftrace: variadic arguments are values: name the type without &");
        static_assert(!arch::too_wide<T>(),
                      "ftrace: this vector is wider than this file is compiled for (add -mavx or "
                      "-mavx512f)");
        constexpr arch::type_class c = arch::classify<T>();
        static_assert(c.known || !arch::may_split<T>,
                      "ftrace: where clang passes this type in a variadic tail depends on all "
                      "arguments before it: give the whole call's signature to regs_get_argument, "
                      "int(const char*, __int128)");
        static_assert(c.known || arch::may_split<T>,
                      "ftrace: where a class by value is in a variadic tail is not known: give the "
                      "whole call's "
                      "signature to regs_get_argument, int(const char*, that_class)");
        static_assert(Vectors || c.lo != arch::eightbyte::sse,
                      "ftrace: this argument is in a vector register, which ARGS_INTEGER does not "
                      "save: register the "
                      "ops with ARGS and take args_regs& or ftrace_regs&");
        // psABI 3.2.3: unnamed __m256 and __m512 are passed on the stack.
        arch::type_class passed = c;
        passed.memory = passed.memory || arch::is_wide_vector(c);
        return located{registers_.next(passed)};
    }

    const ftrace_regs& regs_;
    arch::call_allocator registers_;
};
using variadic_arguments = basic_variadic_arguments<true>;

namespace detail {

template <typename Signature>
struct variadic_start;
template <bool Variadic, typename Result, typename... P>
struct variadic_start<call_signature<Variadic, Result, P...>> {
    static_assert(Variadic, "ftrace: this function has no variadic tail");
    static constexpr bool known =
        arch::classify_result<Result>().known &&
        ((arch::classify<P>().known && !arch::is_wide_vector(arch::classify<P>())) && ...);
    static_assert(
        known,
        "ftrace: a named parameter or the result of this variadic function is a class by value: "
        "give the "
        "whole call's signature to regs_get_argument, int(that_class, const char*, double)");

    FTRACE_NOTRACE static consteval arch::call_allocator get() {
        arch::call_allocator registers{};
        registers.integers = arch::classify_result<Result>().memory ? 1 : 0;
        if constexpr (known) (registers.next(arch::classify<P>()), ...);
        return registers;
    }
};

}  // namespace detail

/// The arguments behind the named ones of a call of a variadic function with this signature:
/// int(const char*, ...).
///
///     auto tail = regs_get_variadic<&log_line>(regs);
///     int level = tail.next<int>();
///     double seconds = tail.next<double>();
template <typename Signature, typename Regs>
[[nodiscard]] FTRACE_STUB_INLINE auto regs_get_variadic(const Regs& regs) noexcept {
    if constexpr (detail::check_function<Signature>()) {
        constexpr arch::call_allocator named =
            detail::variadic_start<detail::signature_t<Signature>>::get();
        return basic_variadic_arguments<detail::has_vectors<Regs>>(regs, named);
    }
}
template <auto Function, typename Regs>
[[nodiscard]] FTRACE_STUB_INLINE auto regs_get_variadic(const Regs& regs) noexcept {
    return regs_get_variadic<decltype(Function)>(regs);
}

}  // namespace ftrace::inline v0
