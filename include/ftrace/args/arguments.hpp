// The arguments of a traced call, by position and by type.
#pragma once

#include <ftrace/args/typed.hpp>

namespace ftrace::inline v0 {
namespace detail {

template <std::size_t N, typename Signature>
inline constexpr bool has_parameter = false;
template <std::size_t N, bool Variadic, typename Result, typename... P>
inline constexpr bool has_parameter<N, call_signature<Variadic, Result, P...>> = N < sizeof...(P);

/// The declared type of parameter N; no_signature where there is none (a static_assert tells, not a
/// failed lookup).
template <std::size_t N, typename Signature>
struct parameter_or_none {
    using type = no_signature;
};
template <std::size_t N, typename Signature>
    requires has_parameter<N, Signature>
struct parameter_or_none<N, Signature> : type_at<N, typename Signature::parameters> {};

template <std::size_t N, typename F>
using parameter_t = typename parameter_or_none<N, signature_t<F>>::type;

template <typename Signature>
inline constexpr bool all_complete = true;
template <bool Variadic, typename Result, typename... P>
inline constexpr bool all_complete<call_signature<Variadic, Result, P...>> =
    arch::is_complete<Result> && (arch::is_complete<P> && ...);

template <typename Signature>
inline constexpr bool any_too_wide = false;
template <bool Variadic, typename Result, typename... P>
inline constexpr bool any_too_wide<call_signature<Variadic, Result, P...>> =
    arch::too_wide<Result>() || (arch::too_wide<P>() || ...);

/// The named thing is a function with a signature. (What an accessor gives otherwise is
/// no concern.)
template <typename F>
FTRACE_NOTRACE consteval bool check_function() {
    static_assert(!is_called_otherwise<F>,
                  "ftrace: this function uses another calling convention (ms_abi, preserve_all, "
                  "regcall, ...): where its arguments are is not known, so read its registers");
    static_assert(
        is_signature<F> || is_called_otherwise<F>,
        "ftrace: name the traced function (&function, &class::member) or its signature, such as "
        "int(const char*, double)");
    static_assert(!any_too_wide<signature_t<F>>,
                  "ftrace: this signature has a vector parameter or result wider than this file is "
                  "compiled for (add -mavx or -mavx512f)");
    return is_signature<F> && !any_too_wide<signature_t<F>>;
}

/// The checks of a typed access, in the order in which people get it wrong.
template <std::size_t N, typename F, typename Regs>
FTRACE_NOTRACE consteval bool check_argument() {
    static_assert(std::is_base_of_v<ftrace_regs, Regs>,
                  "ftrace: the registers of a traced call are an ftrace_regs");
    constexpr bool named = check_function<F>();
    static_assert(
        !is_signature<F> || has_parameter<N, signature_t<F>>,
        "ftrace: the function has no such argument: the first is number 0, and of a member "
        "function "
        "number 0 is `this`; arguments of a variadic tail are read with regs_get_variadic");
    static_assert(all_complete<signature_t<F>>,
                  "ftrace: a class in this signature is incomplete here, so where its arguments "
                  "are cannot be known: "
                  "include the class' definition");
    if constexpr (named && has_parameter<N, signature_t<F>> && all_complete<signature_t<F>>) {
        constexpr bool refused = !has_vectors<Regs> && is_vector_class<parameter_t<N, F>>();
        static_assert(!refused,
                      "ftrace: this argument is in a vector register, which ARGS_INTEGER does not "
                      "save: register the "
                      "ops with ARGS and take args_regs& or ftrace_regs&");
        return !refused;
    } else {
        return false;
    }
}

/// The checks of reading a T into a copy.
template <typename T, typename Regs>
FTRACE_NOTRACE consteval bool check_copy() {
    if constexpr (is_object<T>) {
        return true;
    } else {
        constexpr bool small = has_vectors<Regs> || sizeof(T) <= largest_general_copy;
        static_assert(
            small,
            "ftrace: compilers may copy a class of this size by calling memcpy, which "
            "uses vector registers that ARGS_INTEGER does not save: register the ops with "
            "ARGS and take args_regs& or ftrace_regs&");
        return small;
    }
}
/// The checks of setting something declared as T to a Value.
template <typename T, typename Value>
FTRACE_NOTRACE consteval bool check_value() {
    if constexpr (is_object<T>) {
        static_assert(
            refers_to<T, Value>,
            "ftrace: this is passed by address: give an lvalue of its type (or of a class "
            "derived from it) that outlives the call, not a value that would have to be "
            "converted or dies before");
        return refers_to<T, Value>;
    } else {
        static_assert(
            !std::is_integral_v<T> || !std::is_floating_point_v<std::remove_cvref_t<Value>>,
            "ftrace: a floating-point value for an integer: say how to round it, such as "
            "static_cast<int>(value)");
        static_assert(std::is_convertible_v<Value, const T&>,
                      "ftrace: the value does not convert to the declared type (a null pointer is "
                      "nullptr)");
        return is_settable<T, Value>;
    }
}

}  // namespace detail

/// The N-th word of integer class, as the kernel's ftrace_regs_get_argument counts: the registers,
/// then the words on the stack. Right for functions whose parameters are all integers and pointers;
/// the others take a signature. In entry callbacks. What lies beyond the function's arguments is
/// some word of its caller.
template <std::size_t N>
[[nodiscard]] FTRACE_STUB_INLINE unsigned long regs_get_argument(const ftrace_regs& regs) noexcept {
    return *arch::integer_word<N>(regs);
}
/// Sets that word for the function.
template <std::size_t N>
FTRACE_STUB_INLINE void regs_set_argument(ftrace_regs& regs, unsigned long value) noexcept {
    *arch::integer_word<N>(regs) = value;
}

/// Argument N of a call of a function with this signature: `int(const char*, double)`, or decltype
/// of a function or of a pointer to a (member) function. Of a member function argument 0 is `this`.
/// In entry callbacks.
///
/// The signature has to be the machine code's too. Of a function that only one file can call
/// (static, or in an unnamed namespace) optimisers drop or change parameters, clang without giving
/// the copy another name: it wants FTRACE_TRACEABLE. Arguments that a function does not use are
/// not passed by clang's callers in the same file, unless it is FTRACE_INTERPOSABLE too.
///
/// By type of the parameter: a value comes as a copy; a reference, and a class that is passed by
/// address since it is not trivially copyable (std::string), as an lvalue, the caller's object,
/// valid as long as the call. Where the policy saved no vector register, or fewer bytes of it than
/// the type has, the value is all zeros.
template <std::size_t N, typename Signature, typename Regs>
    requires detail::by_general_registers<detail::parameter_t<N, Signature>, Regs>
[[nodiscard]] FTRACE_STUB_INLINE decltype(auto) regs_get_argument(const Regs& regs) noexcept {
    using parameter = detail::parameter_t<N, Signature>;
    if constexpr (detail::check_argument<N, Signature, Regs>())
        if constexpr (detail::check_copy<parameter, Regs>()) {
            using bytes = detail::parameter_bytes<N, detail::signature_t<Signature>>;
            return detail::read_argument_general<parameter>(regs, bytes{});
        }
}
template <std::size_t N, typename Signature, typename Regs>
    requires(!detail::by_general_registers<detail::parameter_t<N, Signature>, Regs>)
[[nodiscard]] FTRACE_VECTOR_ACCESSOR decltype(auto) regs_get_argument(const Regs& regs) noexcept {
    using parameter = detail::parameter_t<N, Signature>;
    if constexpr (detail::check_argument<N, Signature, Regs>())
        if constexpr (detail::check_copy<parameter, Regs>()) {
            using bytes = detail::parameter_bytes<N, detail::signature_t<Signature>>;
            return detail::read_argument_vector<parameter>(regs, bytes{});
        }
}

/// Argument N of a call of `Function`: a function, or a pointer to a member function. Of an
/// overloaded one say which: `static_cast<int (*)(double)>(&f)`. Of a virtual one, `this` is what
/// the overrider gets.
template <std::size_t N, auto Function, typename Regs>
    requires detail::by_general_registers<detail::parameter_t<N, decltype(Function)>, Regs>
[[nodiscard]] FTRACE_STUB_INLINE decltype(auto) regs_get_argument(const Regs& regs) noexcept {
    return regs_get_argument<N, decltype(Function)>(regs);
}
template <std::size_t N, auto Function, typename Regs>
    requires(!detail::by_general_registers<detail::parameter_t<N, decltype(Function)>, Regs>)
[[nodiscard]] FTRACE_VECTOR_ACCESSOR decltype(auto) regs_get_argument(const Regs& regs) noexcept {
    return regs_get_argument<N, decltype(Function)>(regs);
}

/// Sets argument N for the function. `value` is converted to the parameter's type; for a reference,
/// or a class passed by address, it is the object to refer to: an lvalue that outlives the call.
/// (To change the caller's own object, assign to what regs_get_argument gives.) Has no effect on a
/// vector register that the policy did not save.
template <std::size_t N, typename Signature, typename Regs>
    requires(!detail::is_object<detail::parameter_t<N, Signature>>)
FTRACE_STUB_INLINE void regs_set_argument(Regs& regs,
                                          const detail::parameter_t<N, Signature>& value) noexcept {
    if constexpr (detail::check_argument<N, Signature, Regs>()) {
        using bytes = detail::parameter_bytes<N, detail::signature_t<Signature>>;
        detail::write_argument<detail::parameter_t<N, Signature>>(regs, bytes{}, value);
    }
}
template <std::size_t N, typename Signature, typename Regs, typename Value>
    requires(!detail::is_settable<detail::parameter_t<N, Signature>, Value>)
FTRACE_STUB_INLINE void regs_set_argument(Regs& regs, Value&& value) noexcept {
    using parameter = detail::parameter_t<N, Signature>;
    if constexpr (detail::check_argument<N, Signature, Regs>())
        if constexpr (detail::check_value<parameter, Value>()) {
            using bytes = detail::parameter_bytes<N, detail::signature_t<Signature>>;
            detail::write_argument<parameter>(regs, bytes{}, value);
        }
}
/// The same for a call of `Function`.
template <std::size_t N, auto Function, typename Regs>
    requires(!detail::is_object<detail::parameter_t<N, decltype(Function)>>)
FTRACE_STUB_INLINE void regs_set_argument(
    Regs& regs, const detail::parameter_t<N, decltype(Function)>& value) noexcept {
    regs_set_argument<N, decltype(Function)>(regs, value);
}
template <std::size_t N, auto Function, typename Regs, typename Value>
    requires(!detail::is_settable<detail::parameter_t<N, decltype(Function)>, Value>)
FTRACE_STUB_INLINE void regs_set_argument(Regs& regs, Value&& value) noexcept {
    regs_set_argument<N, decltype(Function)>(regs, static_cast<Value&&>(value));
}

}  // namespace ftrace::inline v0
