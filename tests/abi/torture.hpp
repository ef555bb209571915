// One signature of the torture test: a call of its function, and what the callbacks do with the
// call's registers.
#pragma once

#include <ftrace/args/args.hpp>

#include "tests/abi/types.hpp"

#include <new>

#if defined(FTRACE_TORTURE_ATTRIBUTE_ONLY)
#define TORTURE_FUNCTION FTRACE_TRACEABLE
#else
#define TORTURE_FUNCTION __attribute__((noinline))
#endif

// Calls a stub in place of the function whose type it has not.
#if defined(__clang__)
#define TORTURE_CALLER FTRACE_NOTRACE __attribute__((no_sanitize("function")))
#else
#define TORTURE_CALLER FTRACE_NOTRACE
#endif

namespace torture {

inline constexpr unsigned most_parameters = 16;

/// A type, erased: one copy of the code that makes and compares its values.
struct type_ops {
    void (*construct)(void*, unsigned long seed);
    void (*destroy)(void*);
    bool (*equal)(const void*, const void*);
};

template <typename T>
struct typed_ops {
    FTRACE_NOTRACE static void construct(void* at, unsigned long seed) {
        ::new (at) T(make<T>(seed));
    }
    FTRACE_NOTRACE static void destroy(void* at) { static_cast<T*>(at)->~T(); }
    FTRACE_NOTRACE static bool same(const void* a, const void* b) {
        return equal(*static_cast<const T*>(a), *static_cast<const T*>(b));
    }
    static constexpr type_ops table{construct, destroy, same};
};

/// Room for a value of any of the types.
struct alignas(64) slot {
    unsigned char bytes[192];
};

enum class mode { nothing, read, write, override_result, read_result, write_result };

/// One signature.
struct test {
    const char* name;
    unsigned parameters;
    const type_ops* const* types;  // of the parameters, then of the result (nullptr: void)
    unsigned long by_reference;    // a bit for each parameter, then one for the result
    unsigned long (*function)();   // where it starts
    void (*call)(void (*entry)());
    void (*on_entry)(ftrace::ftrace_regs&);
    void (*on_exit)(ftrace::ftrace_regs&);
};

/// The state of the one call that is being made. No threads here.
struct call_state {
    const test* now = nullptr;
    mode what = mode::nothing;
    slot passed[most_parameters];   // what the caller passes
    slot wanted[most_parameters];   // the same values: what was passed by value may have been moved
                                    // from
    slot written[most_parameters];  // what the callback writes instead
    slot returned;                  // what the function returns
    slot wanted_result;             // the same value
    slot overridden;                // what the callback returns instead
    slot result;                    // what the caller got
    const void* result_address = nullptr;
    unsigned body_runs = 0;
    unsigned callbacks = 0;
    unsigned mismatches = 0;
    char first_mismatch[64] = "";
};
inline call_state state;

FTRACE_NOTRACE __attribute__((noinline)) inline void mismatch(const char* what, unsigned n) {
    if (state.mismatches++ == 0) {
        std::size_t i = 0;
        for (; what[i] != 0; ++i) state.first_mismatch[i] = what[i];
        state.first_mismatch[i++] = ' ';
        if (n >= 10) state.first_mismatch[i++] = static_cast<char>('0' + n / 10);
        state.first_mismatch[i++] = static_cast<char>('0' + n % 10);
        state.first_mismatch[i] = 0;
    }
}

/// Compares value n, which is at `at`: a reference has to be the very object, a value equal.
FTRACE_NOTRACE __attribute__((noinline)) inline void compare(const char* what, unsigned n,
                                                             const void* at, const slot& object,
                                                             const slot& value) {
    const bool reference = (state.now->by_reference >> n & 1) != 0;
    if (reference ? at != &object : !state.now->types[n]->equal(at, &value)) mismatch(what, n);
}

/// The function's body: looks at its parameters.
FTRACE_NOTRACE __attribute__((noinline)) inline void body(const void* const* parameters) {
    ++state.body_runs;
    for (unsigned n = 0; n < state.now->parameters; ++n) {
        if (state.what == mode::write)
            compare("function sees", n, parameters[n], state.written[n], state.written[n]);
        else
            compare("function sees", n, parameters[n], state.passed[n], state.wanted[n]);
    }
}

/// The function's result.
template <typename R>
FTRACE_NOTRACE R result() {
    if constexpr (!std::is_void_v<R>)
        return static_cast<R&&>(*reinterpret_cast<std::remove_reference_t<R>*>(&state.returned));
}

template <auto Function, typename Signature>
struct test_case;

template <auto Function, bool Variadic, typename R, typename... P>
struct test_case<Function, ftrace::detail::call_signature<Variadic, R, P...>> {
    static constexpr unsigned count = sizeof...(P);
    using indices = std::index_sequence_for<P...>;
    using pointer = decltype(Function);
    static constexpr bool member = std::is_member_function_pointer_v<pointer>;

    template <typename T>
    FTRACE_NOTRACE static T&& take(slot& at) {
        return static_cast<T&&>(*reinterpret_cast<std::remove_reference_t<T>*>(&at));
    }
    template <typename T>
    FTRACE_NOTRACE static std::remove_reference_t<T>& object(slot& at) {
        return *reinterpret_cast<std::remove_reference_t<T>*>(&at);
    }

    template <std::size_t First, std::size_t... I>
    TORTURE_CALLER static R call_member(pointer f, std::index_sequence<First, I...>) {
        using this_type =
            typename ftrace::detail::type_at<0, ftrace::detail::type_list<P...>>::type;
        return (take<this_type>(state.passed[First])->*f)(
            take<typename ftrace::detail::type_at<I, ftrace::detail::type_list<P...>>::type>(
                state.passed[I])...);
    }
    template <std::size_t... I>
    TORTURE_CALLER static R call_function(pointer f, std::index_sequence<I...>) {
        if constexpr (Variadic)
            return f(take<P>(state.passed[I])..., 7, 2.5, "tail");
        else
            return f(take<P>(state.passed[I])...);
    }
    FTRACE_NOTRACE static R call_it(void (*entry)()) {
        if constexpr (member) {
            pointer f = Function;
            if (entry != nullptr) std::memcpy(&f, &entry, sizeof entry);
            return call_member(f, indices{});
        } else {
            if (entry == nullptr) return call_function(Function, indices{});
            return call_function(reinterpret_cast<pointer>(entry), indices{});
        }
    }
    FTRACE_NOTRACE static void call(void (*entry)()) {
        if constexpr (std::is_void_v<R>)
            call_it(entry);
        else if constexpr (std::is_reference_v<R>) {
            auto&& reference = call_it(entry);
            state.result_address = __builtin_addressof(reference);
        } else
            ::new (static_cast<void*>(&state.result)) R(call_it(entry));
    }

    template <std::size_t I>
    FTRACE_NOTRACE static void read(ftrace::ftrace_regs& regs) {
        auto&& value = ftrace::regs_get_argument<I, Function>(regs);
        compare("accessor reads", I, __builtin_addressof(value), state.passed[I], state.wanted[I]);
    }
    template <std::size_t... I>
    FTRACE_NOTRACE static void on_entry(ftrace::ftrace_regs& regs, std::index_sequence<I...>) {
        (read<I>(regs), ...);
        if (state.what == mode::write)
            (ftrace::regs_set_argument<I, Function>(regs, object<P>(state.written[I])), ...);
        if (state.what == mode::override_result) {
            if constexpr (std::is_void_v<R>)
                ftrace::override_function_with_return<Function>(regs);
            else
                ftrace::override_function_with_return<Function>(regs, take<R>(state.overridden));
        }
    }
    FTRACE_NOTRACE static void on_entry(ftrace::ftrace_regs& regs) { on_entry(regs, indices{}); }

    FTRACE_NOTRACE static void on_exit(ftrace::ftrace_regs& regs) {
        if constexpr (!std::is_void_v<R>) {
            auto&& value = ftrace::regs_get_return_value<Function>(regs);
            compare("accessor reads result", count, __builtin_addressof(value), state.returned,
                    state.wanted_result);
            if (state.what == mode::write_result) {
                if constexpr (!std::is_reference_v<R> && ftrace::arch::is_address<R>) {
                    using object_type = std::remove_reference_t<decltype(value)>;
                    value.~object_type();
                    ::new (static_cast<void*>(__builtin_addressof(value)))
                        R(take<R>(state.overridden));
                } else {
                    ftrace::regs_set_return_value<Function>(regs, object<R>(state.overridden));
                }
            }
        }
    }

    static constexpr const type_ops* types[] = {
        &typed_ops<std::remove_cvref_t<P>>::table..., [] {
            if constexpr (std::is_void_v<R>)
                return static_cast<const type_ops*>(nullptr);
            else
                return &typed_ops<std::remove_cvref_t<R>>::table;
        }()};
    template <std::size_t... I>
    static constexpr unsigned long references(std::index_sequence<I...>) {
        return (0UL | ... | (std::is_reference_v<P> ? 1UL << I : 0UL)) |
               (std::is_reference_v<R> ? 1UL << count : 0UL);
    }
    FTRACE_NOTRACE static unsigned long address() {
        unsigned long at;
        pointer f = Function;
        std::memcpy(&at, &f, sizeof at);
        return at;
    }
    FTRACE_NOTRACE static constexpr test entry(const char* name) {
        return {name, count, types, references(indices{}), address, call, on_entry, on_exit};
    }
};

template <auto Function>
FTRACE_NOTRACE constexpr test case_of(const char* name) {
    return test_case<Function, ftrace::detail::signature_t<decltype(Function)>>::entry(name);
}

}  // namespace torture
