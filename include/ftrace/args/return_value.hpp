// The result of a traced call: read and changed in exit callbacks, or set in an entry callback in
// place of the call.
#pragma once

#include <ftrace/arch/abi_registers.hpp>
#include <ftrace/args/arguments.hpp>
#include <ftrace/args/typed.hpp>

#include <new>

#pragma GCC diagnostic push
#if !defined(__clang__)
// About attributes of the user's functions and vectors, which do not matter here.
#pragma GCC diagnostic ignored "-Wignored-attributes"
#endif
namespace ftrace::inline v0 {
namespace detail {

template <typename Signature>
struct result_or_none {
    using type = no_signature;
};
template <bool Variadic, typename Result, typename... P>
struct result_or_none<call_signature<Variadic, Result, P...>> {
    using type = Result;
};

/// The result type that the first template argument of an accessor means: a signature's, or the
/// type itself.
template <typename T>
struct result_meant {
    using type = T;
};
template <typename T>
    requires is_signature<T> && std::is_function_v<std::remove_reference_t<T>>
struct result_meant<T> : result_or_none<signature_t<T>> {};
template <typename T>
using result_meant_t = typename result_meant<T>::type;

/// The result of a function that is_called_otherwise.
struct foreign_result : no_signature {
    using no_signature::no_signature;
};
template <typename F>
using result_of_t = std::conditional_t<is_called_otherwise<F>, foreign_result,
                                       typename result_or_none<signature_t<F>>::type>;

template <typename T>
FTRACE_NOTRACE consteval bool check_named() {
    static_assert(!std::is_same_v<T, foreign_result>,
                  "ftrace: this function uses another calling convention (ms_abi, preserve_all, "
                  "regcall, ...): where its result is is not known");
    static_assert(!std::is_same_v<T, no_signature>,
                  "ftrace: name the traced function: &function or &class::member");
    return !arch::is_one_of<T, foreign_result, no_signature>;
}

template <typename T, typename Regs>
FTRACE_NOTRACE consteval bool check_result() {
    static_assert(std::is_base_of_v<ftrace_regs, Regs>,
                  "ftrace: the registers of a traced call are an ftrace_regs");
    constexpr bool named = check_named<T>();
    static_assert(!std::is_void_v<T>,
                  "ftrace: this function returns void: there is no result to read or write");
    static_assert(arch::is_complete<T>,
                  "ftrace: the class of the result is incomplete here: include its definition");
    if constexpr (!named || std::is_void_v<T> || !arch::is_complete<T>) {
        return false;
    } else {
        static_assert(!arch::too_wide<T>(),
                      "ftrace: this result is a vector wider than this file is compiled for (add "
                      "-mavx or -mavx512f)");
        constexpr bool destructible = !arch::is_class<T> || std::is_destructible_v<T>;
        static_assert(destructible,
                      "ftrace: the class of the result has an inaccessible destructor: where the "
                      "result is cannot be found out");
        constexpr bool refused = destructible && !has_vectors<Regs> &&
                                 arch::classify_result<T>().lo == arch::eightbyte::sse;
        static_assert(!refused,
                      "ftrace: this result is in a vector register, which ARGS_INTEGER does not "
                      "save: register the "
                      "ops with ARGS and take args_regs& or ftrace_regs&");
        return destructible && !refused && !arch::too_wide<T>();
    }
}

template <typename T>
FTRACE_STUB_INLINE void write_result(ftrace_regs& regs, assigned<T> value) noexcept {
    if constexpr (std::is_reference_v<T>) {
        arch::set_result_word(regs, reinterpret_cast<unsigned long>(__builtin_addressof(value)));
    } else if constexpr (is_small_integer<T>) {
        arch::set_result_word(regs, extended(value));
    } else {
        arch::store_result<T>(regs, __builtin_addressof(value));
    }
}

template <typename T, typename Value>
FTRACE_NOTRACE consteval bool check_override() {
    constexpr bool named = check_named<T>();
    static_assert(
        !std::is_void_v<T>,
        "ftrace: this function returns void: write override_function_with_return<&function>(regs)");
    static_assert(arch::is_complete<T>,
                  "ftrace: the class of the result is incomplete here: include its definition");
    if constexpr (!named || std::is_void_v<T> || !arch::is_complete<T>) {
        return false;
    } else if constexpr (std::is_reference_v<T>) {
        return check_value<T, Value>();
    } else {
        static_assert(!arch::too_wide<T>(),
                      "ftrace: this result is a vector wider than this file is compiled for (add "
                      "-mavx or -mavx512f)");
        constexpr bool fits = std::is_convertible_v<Value, T>;
        static_assert(fits, "ftrace: the value does not convert to the function's result type");
        constexpr bool rounds =
            std::is_integral_v<T> && std::is_floating_point_v<std::remove_cvref_t<Value>>;
        static_assert(!rounds,
                      "ftrace: a floating-point value for an integer: say how to round it, such as "
                      "static_cast<int>(value)");
        return fits && !rounds && !arch::too_wide<T>();
    }
}

// Of each function here there are two copies, which differ in the registers they may use.
#define FTRACE_RESULT_ACCESSORS(inlined, suffix)                                 \
    template <typename T, typename Regs>                                         \
    inlined decltype(auto) get_result_##suffix(const Regs& regs) noexcept {      \
        if constexpr (check_result<T, Regs>()) {                                 \
            if constexpr (arch::is_address<T>) {                                 \
                return refer<T>(arch::result_word(regs));                        \
            } else if constexpr (arch::is_immovable<T>) {                        \
                return arch::result_object<T>(regs);                             \
            } else if constexpr (check_copy<T, Regs>()) {                        \
                return read_result_##suffix<T>(regs);                            \
            }                                                                    \
        }                                                                        \
    }                                                                            \
    /* Makes the traced function return `value` at once. */                      \
    template <typename T, typename Regs, typename Value>                         \
    inlined void return_##suffix(Regs& regs, Value&& value) noexcept {           \
        if constexpr (!check_override<T, Value>()) {                             \
        } else if constexpr (std::is_reference_v<T>) {                           \
            write_result<T>(regs, value);                                        \
            arch::skip_body(regs);                                               \
        } else if constexpr (arch::passed_by_address<T>()) {                     \
            /* The caller destroys it, as it would what the function returns. */ \
            ::new (arch::hidden_result(regs)) T(static_cast<Value&&>(value));    \
            arch::skip_body(regs);                                               \
        } else if constexpr (is_small_integer<T>) {                              \
            write_result<T>(regs, static_cast<T>(value));                        \
            arch::skip_body(regs);                                               \
        } else if constexpr (std::is_same_v<std::remove_cvref_t<Value>, T>) {    \
            arch::skip_body_with<T>(regs, __builtin_addressof(value));           \
        } else {                                                                 \
            const T converted = static_cast<Value&&>(value);                     \
            arch::skip_body_with<T>(regs, __builtin_addressof(converted));       \
        }                                                                        \
    }
FTRACE_RESULT_ACCESSORS(FTRACE_STUB_INLINE, general)
FTRACE_RESULT_ACCESSORS(FTRACE_VECTOR_ACCESSOR, vector)
#undef FTRACE_RESULT_ACCESSORS

/// The result type that override_function_with_return(regs, value) means.
template <typename T, typename Value>
using overridden =
    std::conditional_t<std::is_same_v<T, no_signature>, std::decay_t<Value>, result_meant_t<T>>;

}  // namespace detail

/// The result as one integer word (rax on x86-64). In exit callbacks.
[[nodiscard]] FTRACE_STUB_INLINE unsigned long regs_get_return_value(
    const ftrace_regs& regs) noexcept {
    return arch::result_word(regs);
}
/// Sets that word. In an exit callback it is what the caller gets; in an entry callback it is, if
/// override_function_with_return(regs) follows.
FTRACE_STUB_INLINE void regs_set_return_value(ftrace_regs& regs, unsigned long value) noexcept {
    arch::set_result_word(regs, value);
}

/// The result of a function that returns T. In exit callbacks, by type: a value comes as a copy; a
/// reference, and a class that is not trivially copyable, as an lvalue: the object itself. A result
/// whose register the hook did not save is all zeros. T may also be a signature: int(const char*).
template <typename T, typename Regs>
    requires detail::by_general_registers<detail::result_meant_t<T>, Regs>
[[nodiscard]] FTRACE_STUB_INLINE decltype(auto) regs_get_return_value(const Regs& regs) noexcept {
    return detail::get_result_general<detail::result_meant_t<T>>(regs);
}
template <typename T, typename Regs>
    requires(!detail::by_general_registers<detail::result_meant_t<T>, Regs>)
[[nodiscard]] FTRACE_VECTOR_ACCESSOR decltype(auto) regs_get_return_value(
    const Regs& regs) noexcept {
    return detail::get_result_vector<detail::result_meant_t<T>>(regs);
}
/// The result of a call of `Function`.
template <auto Function, typename Regs>
    requires detail::by_general_registers<detail::result_of_t<decltype(Function)>, Regs>
[[nodiscard]] FTRACE_STUB_INLINE decltype(auto) regs_get_return_value(const Regs& regs) noexcept {
    return detail::get_result_general<detail::result_of_t<decltype(Function)>>(regs);
}
template <auto Function, typename Regs>
    requires(!detail::by_general_registers<detail::result_of_t<decltype(Function)>, Regs>)
[[nodiscard]] FTRACE_VECTOR_ACCESSOR decltype(auto) regs_get_return_value(
    const Regs& regs) noexcept {
    return detail::get_result_vector<detail::result_of_t<decltype(Function)>>(regs);
}

namespace detail {

/// Changes the result, declared as T.
template <typename T, typename Regs>
FTRACE_STUB_INLINE void set_result(Regs& regs, assigned<T> value) noexcept {
    if constexpr (check_result<T, Regs>()) {
        static_assert(std::is_reference_v<T> || !is_object<T>,
                      "ftrace: assign to regs_get_return_value<T>(regs): it is the object that is "
                      "being returned");
        if constexpr (std::is_reference_v<T> || !is_object<T>) write_result<T>(regs, value);
    }
}
template <typename T, typename Regs, typename Value>
FTRACE_STUB_INLINE void set_result_checked(Regs& regs, Value&& value) noexcept {
    if constexpr (std::is_void_v<T> || arch::is_one_of<T, foreign_result, no_signature>)
        (void)check_result<T, Regs>();
    else if constexpr (check_value<T, Value>())
        set_result<T>(regs, value);
}

}  // namespace detail

/// Changes the result of a function that returns T. In exit callbacks; in entry callbacks use
/// override_function_with_return(regs, value). A reference is made to refer to `value`: an lvalue
/// that outlives the call. A class that is not trivially copyable is changed by assigning to what
/// regs_get_return_value gives. Has no effect on a register that the hook did not save.
template <typename T, typename Regs>
    requires(!detail::is_object<detail::result_meant_t<T>>)
FTRACE_STUB_INLINE void regs_set_return_value(
    Regs& regs, detail::assigned<detail::result_meant_t<T>> value) noexcept {
    detail::set_result<detail::result_meant_t<T>>(regs, value);
}
template <typename T, typename Regs, typename Value>
    requires(!detail::is_settable<detail::result_meant_t<T>, Value>)
FTRACE_STUB_INLINE void regs_set_return_value(Regs& regs, Value&& value) noexcept {
    detail::set_result_checked<detail::result_meant_t<T>>(regs, static_cast<Value&&>(value));
}
/// The same for a call of `Function`.
template <auto Function, typename Regs>
    requires(!detail::is_object<detail::result_of_t<decltype(Function)>>)
FTRACE_STUB_INLINE void regs_set_return_value(
    Regs& regs, detail::assigned<detail::result_of_t<decltype(Function)>> value) noexcept {
    detail::set_result<detail::result_of_t<decltype(Function)>>(regs, value);
}
template <auto Function, typename Regs, typename Value>
    requires(!detail::is_settable<detail::result_of_t<decltype(Function)>, Value>)
FTRACE_STUB_INLINE void regs_set_return_value(Regs& regs, Value&& value) noexcept {
    detail::set_result_checked<detail::result_of_t<decltype(Function)>>(
        regs, static_cast<Value&&>(value));
}

/// Skips the body of the traced function: its caller goes on as if it had returned, with the result
/// register as it is or as regs_set_return_value left it. In entry callbacks, under every policy.
FTRACE_STUB_INLINE void override_function_with_return(ftrace_regs& regs) noexcept {
    arch::skip_body(regs);
}

/// Skips the body and returns `value`, whose type has to be the function's result type: an int
/// where the function returns double is not found out here; name the type,
/// override_function_with_return<double>(regs, 1), or better the function, as below. Classes
/// that the caller makes room for are constructed there; a reference needs an lvalue that
/// outlives the call.
template <typename T = detail::no_signature, typename Regs, typename Value>
    requires detail::by_general_registers<detail::overridden<T, Value>, Regs>
FTRACE_STUB_INLINE void override_function_with_return(Regs& regs, Value&& value) noexcept {
    detail::return_general<detail::overridden<T, Value>>(regs, static_cast<Value&&>(value));
}
template <typename T = detail::no_signature, typename Regs, typename Value>
    requires(!detail::by_general_registers<detail::overridden<T, Value>, Regs>)
FTRACE_VECTOR_ACCESSOR void override_function_with_return(Regs& regs, Value&& value) noexcept {
    detail::return_vector<detail::overridden<T, Value>>(regs, static_cast<Value&&>(value));
}
/// Skips the body of `Function` and returns `value`, converted to its result type: a value that
/// does not convert does not compile.
template <auto Function, typename Regs, typename Value>
    requires detail::by_general_registers<detail::result_of_t<decltype(Function)>, Regs>
FTRACE_STUB_INLINE void override_function_with_return(Regs& regs, Value&& value) noexcept {
    detail::return_general<detail::result_of_t<decltype(Function)>>(regs,
                                                                    static_cast<Value&&>(value));
}
template <auto Function, typename Regs, typename Value>
    requires(!detail::by_general_registers<detail::result_of_t<decltype(Function)>, Regs>)
FTRACE_VECTOR_ACCESSOR void override_function_with_return(Regs& regs, Value&& value) noexcept {
    detail::return_vector<detail::result_of_t<decltype(Function)>>(regs,
                                                                   static_cast<Value&&>(value));
}
/// Skips the body of a `Function` that returns void.
template <auto Function>
FTRACE_STUB_INLINE void override_function_with_return(ftrace_regs& regs) noexcept {
    using result = detail::result_of_t<decltype(Function)>;
    if constexpr (detail::check_named<result>())
        static_assert(std::is_void_v<result>,
                      "ftrace: this function returns a value: write "
                      "override_function_with_return<&function>(regs, value)");
    arch::skip_body(regs);
}

}  // namespace ftrace::inline v0
#pragma GCC diagnostic pop
