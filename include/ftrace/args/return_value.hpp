// The result of a traced call: read and changed in exit callbacks, or set in an entry callback in
// place of the call.
#pragma once

#include <ftrace/arch/abi_registers.hpp>
#include <ftrace/args/arguments.hpp>
#include <ftrace/args/typed.hpp>

#include <new>

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

template <typename F>
using result_of_t = typename result_or_none<signature_t<F>>::type;

template <typename T, typename Regs>
FTRACE_NOTRACE consteval bool check_result() {
    static_assert(std::is_base_of_v<ftrace_regs, Regs>,
                  "ftrace: the registers of a traced call are an ftrace_regs");
    static_assert(!std::is_same_v<T, no_signature>,
                  "ftrace: name the traced function: &function or &class::member");
    static_assert(!std::is_void_v<T>,
                  "ftrace: this function returns void: there is no result to read or write");
    static_assert(is_complete<T>,
                  "ftrace: the class of the result is incomplete here: include its definition");
    if constexpr (std::is_void_v<T> || std::is_same_v<T, no_signature> || !is_complete<T>) {
        return false;
    } else {
        constexpr bool refused =
            !has_vectors<Regs> && arch::classify_result<T>().lo == arch::eightbyte::sse;
        static_assert(!refused,
                      "ftrace: this result is in a vector register, which ARGS_INTEGER does not "
                      "save: register the "
                      "ops with ARGS and take args_regs& or ftrace_regs&");
        return !refused;
    }
}

/// A result that is an address by declaration: a reference, or a class the caller made room for.
template <typename T>
FTRACE_STUB_INLINE accessed<T> refer_result(const ftrace_regs& regs) noexcept {
    return refer<T>(arch::result_word(regs));
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

/// Makes the traced function return `value` at once.
template <typename T, typename Value>
FTRACE_VECTOR_ACCESSOR void return_instead(ftrace_regs& regs, Value&& value) noexcept {
    if constexpr (std::is_reference_v<T>) {
        write_result<T>(regs, value);
        arch::skip_body(regs);
    } else if constexpr (arch::passed_by_address<T>()) {
        // The caller destroys it, as it would what the function returns.
        ::new (arch::hidden_result(regs)) T(static_cast<Value&&>(value));
        arch::skip_body(regs);
    } else {
        const T converted = static_cast<Value&&>(value);
        if constexpr (is_small_integer<T>) {
            write_result<T>(regs, converted);
            arch::skip_body(regs);
        } else {
            arch::skip_body_with<T>(regs, __builtin_addressof(converted));
        }
    }
}

template <typename T, typename Value>
FTRACE_NOTRACE consteval bool check_override() {
    static_assert(!std::is_same_v<T, no_signature>,
                  "ftrace: name the traced function: &function or &class::member");
    static_assert(
        !std::is_void_v<T>,
        "ftrace: this function returns void: write override_function_with_return<&function>(regs)");
    constexpr bool fits = std::is_void_v<T> || std::is_convertible_v<Value, T>;
    static_assert(fits, "ftrace: the value does not convert to the function's result type");
    return !std::is_same_v<T, no_signature> && !std::is_void_v<T> && fits;
}

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
    requires(arch::is_address<detail::result_meant_t<T>>)
[[nodiscard]] FTRACE_STUB_INLINE auto& regs_get_return_value(const Regs& regs) noexcept {
    static_assert(std::is_base_of_v<ftrace_regs, Regs>);
    return detail::refer_result<detail::result_meant_t<T>>(regs);
}
template <typename T, typename Regs>
    requires(!arch::is_address<detail::result_meant_t<T>> &&
             detail::by_general_registers<detail::result_meant_t<T>, Regs>)
[[nodiscard]] FTRACE_STUB_INLINE auto regs_get_return_value(const Regs& regs) noexcept {
    using result = detail::result_meant_t<T>;
    if constexpr (detail::check_result<result, Regs>()) {
        return detail::read_result_general<result>(regs);
    }
}
template <typename T, typename Regs>
    requires(!arch::is_address<detail::result_meant_t<T>> &&
             !detail::by_general_registers<detail::result_meant_t<T>, Regs>)
[[nodiscard]] FTRACE_VECTOR_ACCESSOR auto regs_get_return_value(const Regs& regs) noexcept {
    using result = detail::result_meant_t<T>;
    if constexpr (detail::check_result<result, Regs>()) {
        return detail::read_result_vector<result>(regs);
    }
}
/// The result of a call of `Function`.
template <auto Function, typename Regs>
[[nodiscard]] FTRACE_VECTOR_ACCESSOR decltype(auto) regs_get_return_value(
    const Regs& regs) noexcept {
    return regs_get_return_value<detail::result_of_t<decltype(Function)>>(regs);
}

/// Changes the result of a function that returns T. In exit callbacks; in entry callbacks use
/// override_function_with_return(regs, value). A class that is not trivially copyable is changed by
/// assigning to what regs_get_return_value gives. Has no effect on a register that the hook did not
/// save.
template <typename T, typename Regs>
FTRACE_STUB_INLINE void regs_set_return_value(
    Regs& regs, detail::assigned<detail::result_meant_t<T>> value) noexcept {
    using result = detail::result_meant_t<T>;
    if constexpr (detail::check_result<result, Regs>()) {
        static_assert(std::is_reference_v<result> || !arch::is_address<result>,
                      "ftrace: assign to regs_get_return_value<T>(regs): it is the object that is "
                      "being returned");
        detail::write_result<result>(regs, value);
    }
}
template <auto Function, typename Regs>
FTRACE_STUB_INLINE void regs_set_return_value(
    Regs& regs, detail::assigned<detail::result_of_t<decltype(Function)>> value) noexcept {
    regs_set_return_value<detail::result_of_t<decltype(Function)>>(regs, value);
}

/// Skips the body of the traced function: its caller goes on as if it had returned, with the result
/// register as it is or as regs_set_return_value left it. In entry callbacks, under every policy.
FTRACE_STUB_INLINE void override_function_with_return(ftrace_regs& regs) noexcept {
    arch::skip_body(regs);
}

/// Skips the body and returns `value`, whose type has to be the function's result type: an int
/// where the function returns double is not found out here; name the type,
/// override_function_with_return<double>(regs, 1), or better the function, as below. Classes that
/// the caller makes room for are constructed there.
template <typename T = detail::no_signature, typename Regs, typename Value>
FTRACE_VECTOR_ACCESSOR void override_function_with_return(Regs& regs, Value&& value) noexcept {
    using meant = std::conditional_t<std::is_same_v<T, detail::no_signature>, std::decay_t<Value>,
                                     detail::result_meant_t<T>>;
    if constexpr (detail::check_override<meant, Value>()) {
        detail::return_instead<meant>(regs, static_cast<Value&&>(value));
    }
}
/// Skips the body of `Function` and returns `value`, converted to its result type: a value that
/// does not convert does not compile.
template <auto Function, typename Regs, typename Value>
FTRACE_VECTOR_ACCESSOR void override_function_with_return(Regs& regs, Value&& value) noexcept {
    using result = detail::result_of_t<decltype(Function)>;
    if constexpr (detail::check_override<result, Value>()) {
        detail::return_instead<result>(regs, static_cast<Value&&>(value));
    }
}
/// Skips the body of a `Function` that returns void.
template <auto Function>
FTRACE_STUB_INLINE void override_function_with_return(ftrace_regs& regs) noexcept {
    static_assert(std::is_void_v<detail::result_of_t<decltype(Function)>>,
                  "ftrace: this function returns a value: write "
                  "override_function_with_return<&function>(regs, value)");
    arch::skip_body(regs);
}

}  // namespace ftrace::inline v0
