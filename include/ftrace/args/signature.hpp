// What a function is declared as: its result and its parameters, from a function type, a pointer or
// a member pointer.
#pragma once

#include <ftrace/core/config.hpp>

#include <cstddef>
#include <type_traits>
#include <utility>

namespace ftrace::inline v0::detail {

template <typename... T>
struct type_list {
    static constexpr std::size_t size = sizeof...(T);
};

template <std::size_t I, typename T>
struct indexed_type {
    using type = T;
};

template <typename Indices, typename... T>
struct indexed_types;

template <std::size_t... I, typename... T>
struct indexed_types<std::index_sequence<I...>, T...> : indexed_type<I, T>... {};

template <std::size_t I, typename T>
indexed_type<I, T> pick(const indexed_type<I, T>&);  // unevaluated only

template <std::size_t I, typename List>
struct type_at;

template <std::size_t I, typename... T>
struct type_at<I, type_list<T...>>
    : decltype(pick<I>(std::declval<const indexed_types<std::index_sequence_for<T...>, T...>&>())) {
};

/// The parameters of a call as the caller passes them: of a member function, argument 0 is `this`,
/// a pointer. `variadic`: more arguments may follow the named ones.
template <bool Variadic, typename Result, typename... P>
struct call_signature {
    using result = Result;
    using parameters = type_list<P...>;
    static constexpr bool variadic = Variadic;
};

/// Accepts any value, so that a static_assert complains and not overload resolution.
struct no_signature {
    template <typename T>
    no_signature(const T&) noexcept;
};

/// A call_signature for everything that names a function; no_signature for the rest.
template <typename F>
struct signature_of {
    using type = no_signature;
};

template <typename F>
struct signature_of<F*> : signature_of<F> {};
template <typename F>
struct signature_of<F&> : signature_of<F> {};

template <typename R, typename... P, bool NoExcept>
struct signature_of<R(P...) noexcept(NoExcept)> {
    using type = call_signature<false, R, P...>;
};
template <typename R, typename... P, bool NoExcept>
struct signature_of<R(P..., ...) noexcept(NoExcept)> {
    using type = call_signature<true, R, P...>;
};

#if defined(__clang__)  // there __attribute__((noreturn)) is part of the type
template <typename R, typename... P, bool NoExcept>
struct signature_of<__attribute__((noreturn)) R(P...) noexcept(NoExcept)> {
    using type = call_signature<false, R, P...>;
};
template <typename R, typename... P, bool NoExcept>
struct signature_of<__attribute__((noreturn)) R(P..., ...) noexcept(NoExcept)> {
    using type = call_signature<true, R, P...>;
};
#define FTRACE_NORETURN_MEMBER_SIGNATURE(cv, ref)                                                  \
    template <typename R, typename C, typename... P, bool NoExcept>                                \
    struct signature_of<__attribute__((noreturn)) R (C::*)(P...) cv ref noexcept(NoExcept)> {      \
        using type = call_signature<false, R, cv C*, P...>;                                        \
    };                                                                                             \
    template <typename R, typename C, typename... P, bool NoExcept>                                \
    struct signature_of<__attribute__((noreturn)) R (C::*)(P..., ...) cv ref noexcept(NoExcept)> { \
        using type = call_signature<true, R, cv C*, P...>;                                         \
    };
#else
#define FTRACE_NORETURN_MEMBER_SIGNATURE(cv, ref)
#endif

// Every qualifier is part of a member function's type; `this` points to the class with its
// cv-qualifiers.
#define FTRACE_MEMBER_SIGNATURE(cv, ref)                                 \
    template <typename R, typename C, typename... P, bool NoExcept>      \
    struct signature_of<R (C::*)(P...) cv ref noexcept(NoExcept)> {      \
        using type = call_signature<false, R, cv C*, P...>;              \
    };                                                                   \
    template <typename R, typename C, typename... P, bool NoExcept>      \
    struct signature_of<R (C::*)(P..., ...) cv ref noexcept(NoExcept)> { \
        using type = call_signature<true, R, cv C*, P...>;               \
    };                                                                   \
    FTRACE_NORETURN_MEMBER_SIGNATURE(cv, ref)
#define FTRACE_MEMBER_SIGNATURES(cv) \
    FTRACE_MEMBER_SIGNATURE(cv, )    \
    FTRACE_MEMBER_SIGNATURE(cv, &)   \
    FTRACE_MEMBER_SIGNATURE(cv, &&)
FTRACE_MEMBER_SIGNATURES()
FTRACE_MEMBER_SIGNATURES(const)
FTRACE_MEMBER_SIGNATURES(volatile)
FTRACE_MEMBER_SIGNATURES(const volatile)
#undef FTRACE_MEMBER_SIGNATURES
#undef FTRACE_MEMBER_SIGNATURE
#undef FTRACE_NORETURN_MEMBER_SIGNATURE

template <typename F>
using signature_t = typename signature_of<std::remove_cv_t<F>>::type;

template <typename F>
using reference_to = F&;

/// F names a function that is called by another convention than this file's (ms_abi, preserve_all,
/// regcall): the attribute is part of the type, so that no signature_of is for it.
template <typename F>
inline constexpr bool is_called_otherwise =
    std::is_same_v<signature_t<F>, no_signature> &&
    (std::is_member_function_pointer_v<std::remove_cvref_t<F>> ||
     (std::is_function_v<std::remove_pointer_t<std::remove_cvref_t<F>>> &&
      requires { typename reference_to<std::remove_pointer_t<std::remove_cvref_t<F>>>; }));

/// F names a function: a function type, a pointer or reference to one, or a pointer to a
/// member function.
template <typename F>
inline constexpr bool is_signature = !std::is_same_v<signature_t<F>, no_signature>;

}  // namespace ftrace::inline v0::detail
