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

template <typename T>
inline constexpr bool is_complete = requires { sizeof(T); };
template <typename T>
    requires std::is_void_v<T> || std::is_reference_v<T>
inline constexpr bool is_complete<T> = true;

template <typename Signature>
inline constexpr bool all_complete = true;
template <bool Variadic, typename Result, typename... P>
inline constexpr bool all_complete<call_signature<Variadic, Result, P...>> =
    is_complete<Result> && (is_complete<P> && ...);

/// The checks of a typed access, in the order in which people get it wrong.
template <std::size_t N, typename F, typename Regs>
FTRACE_NOTRACE consteval bool check_argument() {
    static_assert(std::is_base_of_v<ftrace_regs, Regs>,
                  "ftrace: the registers of a traced call are an ftrace_regs");
    static_assert(
        is_signature<F>,
        "ftrace: name the traced function (&function, &class::member) or its signature, such as "
        "int(const char*, double)");
    static_assert(
        !is_signature<F> || has_parameter<N, signature_t<F>>,
        "ftrace: the function has no such argument: the first is number 0, and of a member "
        "function "
        "number 0 is `this`; arguments of a variadic tail are read with regs_get_variadic");
    static_assert(all_complete<signature_t<F>>,
                  "ftrace: a class in this signature is incomplete here, so where its arguments "
                  "are cannot be known: "
                  "include the class' definition");
    if constexpr (has_parameter<N, signature_t<F>> && all_complete<signature_t<F>>) {
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
/// The signature has to be the machine code's too: of a function that only one file can call (static, or in an unnamed
/// namespace) optimisers drop or change parameters, clang without giving the copy another name. Such a function wants
/// FTRACE_TRACEABLE and external linkage.
///
/// By type of the parameter: a value comes as a copy; a reference, and a class that is passed by
/// address since it is not trivially copyable (std::string), as an lvalue, the caller's object,
/// valid as long as the call. Where the policy saved no vector register, or fewer bytes of it than
/// the type has, the value is all zeros.
template <std::size_t N, typename Signature, typename Regs>
    requires detail::by_general_registers<detail::parameter_t<N, Signature>, Regs>
[[nodiscard]] FTRACE_STUB_INLINE decltype(auto) regs_get_argument(const Regs& regs) noexcept {
    if constexpr (detail::check_argument<N, Signature, Regs>()) {
        using bytes = detail::parameter_bytes<N, detail::signature_t<Signature>>;
        return detail::read_argument_general<detail::parameter_t<N, Signature>>(regs, bytes{});
    }
}
template <std::size_t N, typename Signature, typename Regs>
    requires(!detail::by_general_registers<detail::parameter_t<N, Signature>, Regs>)
[[nodiscard]] FTRACE_VECTOR_ACCESSOR decltype(auto) regs_get_argument(const Regs& regs) noexcept {
    if constexpr (detail::check_argument<N, Signature, Regs>()) {
        using bytes = detail::parameter_bytes<N, detail::signature_t<Signature>>;
        return detail::read_argument_vector<detail::parameter_t<N, Signature>>(regs, bytes{});
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
FTRACE_STUB_INLINE void regs_set_argument(
    Regs& regs, detail::assigned<detail::parameter_t<N, Signature>> value) noexcept {
    if constexpr (detail::check_argument<N, Signature, Regs>()) {
        using bytes = detail::parameter_bytes<N, detail::signature_t<Signature>>;
        detail::write_argument<detail::parameter_t<N, Signature>>(regs, bytes{}, value);
    }
}
template <std::size_t N, auto Function, typename Regs>
FTRACE_STUB_INLINE void regs_set_argument(
    Regs& regs, detail::assigned<detail::parameter_t<N, decltype(Function)>> value) noexcept {
    regs_set_argument<N, decltype(Function)>(regs, value);
}

}  // namespace ftrace::inline v0
