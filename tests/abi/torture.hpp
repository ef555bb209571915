// One signature of the torture test: a call of its function, and what the callbacks do with the
// call's registers.
#pragma once

#include <ftrace/args/args.hpp>

#include "tests/abi/types.hpp"

#include <array>
#include <cstdarg>
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

inline constexpr unsigned most_parameters = 20;

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

#if defined(__clang__)
/// With one register left, clang's va_arg looks for an __int128 where no call of clang's puts it.
using int128_in_tail = s_i128;
#else
using int128_in_tail = int128;
#endif

/// What the call of a variadic function passes behind the named arguments: each way to pass a value, the two
/// kinds of registers together, and on the stack. To the test these are parameters like the others.
struct tail_values {
    int a;
    double b;
    long double c;
    const char* d;
    int128_in_tail e;
    s_dl f;
    m_l3 g;
};
inline constexpr unsigned tail_length = 7;

FTRACE_NOTRACE __attribute__((noinline)) inline tail_values read_tail(va_list list) {
    tail_values tail;
    tail.a = va_arg(list, int);
    tail.b = va_arg(list, double);
    tail.c = va_arg(list, long double);
    tail.d = va_arg(list, const char*);
    tail.e = va_arg(list, int128_in_tail);
    tail.f = va_arg(list, s_dl);
    tail.g = va_arg(list, m_l3);
    return tail;
}
#define TORTURE_TAIL(last)                         \
    va_list tail_list;                             \
    va_start(tail_list, last);                     \
    const tail_values tail = read_tail(tail_list); \
    va_end(tail_list)

/// Where a parameter is passed: known from the types, or to be read from the library's table.
struct place_of {
    ftrace::arch::location known;
    const ftrace::arch::location* probed;
};

/// One signature.
struct test {
    const char* name;
    unsigned parameters;           // a variadic tail's among them
    const type_ops* const* types;  // of the parameters, then of the result (nullptr: void)
    unsigned long by_reference;    // a bit for each parameter, then one for the result
    unsigned long (*function)();   // where it starts
    void (*call)(void (*entry)());
    void (*on_entry)(ftrace::ftrace_regs&);
    void (*on_exit)(ftrace::ftrace_regs&);
    const place_of* places;  // of the parameters
};

/// The state of the one call that is being made. No threads here.
struct call_state {
    const test* now = nullptr;
    mode what = mode::nothing;
    bool vectors_saved = true;      // by the stub
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

/// Which parts of parameter n are passed in vector registers.
inline constexpr unsigned first_eight_bytes = 1, other_bytes = 2;
FTRACE_NOTRACE __attribute__((noinline)) inline unsigned parts_in_vectors(unsigned n) {
    using ftrace::arch::place;
    const place_of& where = state.now->places[n];
    const ftrace::arch::location at =
        where.known.lo != place::unknown ? where.known : *where.probed;
    if (at.lo == place::vector && at.hi == place::nothing) return first_eight_bytes | other_bytes;
    return (at.lo == place::vector ? first_eight_bytes : 0) |
           (at.hi == place::vector ? other_bytes : 0);
}

/// `value` with what is passed in vector registers taken from elsewhere: from another value, or nullptr: zeros.
FTRACE_NOTRACE __attribute__((noinline)) inline slot in_vectors_from(unsigned n, const slot* other,
                                                                     const slot& value) {
    const unsigned parts = parts_in_vectors(n);
    slot mixed = value;
    for (unsigned i = 0; i < sizeof mixed.bytes; ++i)
        if ((parts & (i < 8 ? first_eight_bytes : other_bytes)) != 0)
            mixed.bytes[i] = other == nullptr ? 0 : other->bytes[i];
    return mixed;
}

/// What an accessor gave the callback: of a stub that saves no vector registers, zeros for what was in them.
FTRACE_NOTRACE __attribute__((noinline)) inline void compare_read(const char* what, unsigned n,
                                                                  const void* at) {
    const bool whole = state.vectors_saved || parts_in_vectors(n) == 0;
    compare(what, n, at, state.passed[n],
            whole ? state.wanted[n] : in_vectors_from(n, nullptr, state.wanted[n]));
}

/// The function's body: looks at its parameters.
FTRACE_NOTRACE __attribute__((noinline)) inline void body(const void* const* parameters) {
    ++state.body_runs;
    for (unsigned n = 0; n < state.now->parameters; ++n) {
        if (state.what == mode::write && !state.vectors_saved && parts_in_vectors(n) != 0)
            compare("function sees", n, parameters[n], state.written[n],
                    in_vectors_from(n, &state.wanted[n], state.written[n]));
        else if (state.what == mode::write)
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

/// A call of Function: named parameters P, and those of the tail.
template <auto Function, typename Signature, typename... Tail>
struct test_case;

template <auto Function, typename R, typename... P>
struct test_case<Function, ftrace::detail::call_signature<true, R, P...>>
    : test_case<Function, ftrace::detail::call_signature<true, R, P...>, int, double, long double,
                const char*, int128_in_tail, s_dl, m_l3> {};

template <auto Function, bool Variadic, typename R, typename... P, typename... Tail>
    requires(Variadic == (sizeof...(Tail) == tail_length))
struct test_case<Function, ftrace::detail::call_signature<Variadic, R, P...>, Tail...> {
    static constexpr unsigned named = sizeof...(P), count = named + sizeof...(Tail);
    using indices = std::index_sequence_for<P..., Tail...>;
    template <std::size_t I>
    using parameter =
        typename ftrace::detail::type_at<I, ftrace::detail::type_list<P..., Tail...>>::type;
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
        return (take<parameter<First>>(state.passed[First])->*f)(
            take<parameter<I>>(state.passed[I])...);
    }
    template <std::size_t... I>
    TORTURE_CALLER static R call_function(pointer f, std::index_sequence<I...>) {
        return f(take<parameter<I>>(state.passed[I])...);
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

    // The call as a whole: how to reach the classes in the tail.
    using whole_call = R(P..., Tail..., ...);

    template <std::size_t I>
    FTRACE_NOTRACE static void read(ftrace::ftrace_regs& regs) {
        if constexpr (I < named) {
            auto&& value = ftrace::regs_get_argument<I, Function>(regs);
            compare_read("accessor reads", I, __builtin_addressof(value));
        } else {
            auto&& value = ftrace::regs_get_argument<I, whole_call>(regs);
            compare_read("accessor reads", I, __builtin_addressof(value));
        }
    }
    template <std::size_t I>
    FTRACE_NOTRACE static void write(ftrace::ftrace_regs& regs) {
        if constexpr (I < named)
            ftrace::regs_set_argument<I, Function>(regs, object<parameter<I>>(state.written[I]));
        else
            ftrace::regs_set_argument<I, whole_call>(regs, object<parameter<I>>(state.written[I]));
    }
    template <typename Next>
    FTRACE_NOTRACE static void read_next(ftrace::variadic_arguments& tail, unsigned n) {
        const Next value = tail.next<Next>();
        compare_read("tail reads", n, __builtin_addressof(value));
    }
    /// The tail without more than the function's signature, where that says where it begins.
    FTRACE_NOTRACE static void read_scalars_in_tail(ftrace::ftrace_regs& regs) {
        using namespace ftrace::arch;
        if constexpr (classify_result<R>().known &&
                      ((classify<P>().known && !is_wide_vector(classify<P>())) && ...)) {
            auto tail = ftrace::regs_get_variadic<Function>(regs);
            read_next<int>(tail, named);
            read_next<double>(tail, named + 1);
            read_next<long double>(tail, named + 2);
            read_next<const char*>(tail, named + 3);
            if constexpr (std::is_same_v<int128_in_tail, int128>)
                read_next<int128>(tail, named + 4);
        }
    }
    template <std::size_t... I>
    FTRACE_NOTRACE static void on_entry(ftrace::ftrace_regs& regs, std::index_sequence<I...>) {
        (read<I>(regs), ...);
        if constexpr (Variadic) read_scalars_in_tail(regs);
        if (state.what == mode::write) (write<I>(regs), ...);
        if (state.what == mode::override_result) {
            if constexpr (std::is_void_v<R>)
                ftrace::override_function_with_return<Function>(regs);
            else if constexpr (std::is_reference_v<R>)
                ftrace::override_function_with_return<Function>(regs, object<R>(state.overridden));
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
        &typed_ops<std::remove_cvref_t<P>>::table..., &typed_ops<Tail>::table..., [] {
            if constexpr (std::is_void_v<R>)
                return static_cast<const type_ops*>(nullptr);
            else
                return &typed_ops<std::remove_cvref_t<R>>::table;
        }()};
    template <std::size_t... I>
    static constexpr unsigned long references(std::index_sequence<I...>) {
        return (0UL | ... | (std::is_reference_v<parameter<I>> ? 1UL << I : 0UL)) |
               (std::is_reference_v<R> ? 1UL << count : 0UL);
    }
    template <std::size_t... I>
    static constexpr auto list_places(std::index_sequence<I...>) {
        using namespace ftrace::arch;
        using table = probed_parameters<Variadic, R, probed_type<P>..., probed_type<Tail>...>;
        return std::array<place_of, sizeof...(I) + 1>{
            place_of{static_location<I, Variadic, R, P..., Tail...>(), &table::where[I]}...,
            place_of{}};
    }
    static constexpr auto places = list_places(indices{});
    FTRACE_NOTRACE static unsigned long address() {
        unsigned long at;
        pointer f = Function;
        std::memcpy(&at, &f, sizeof at);
        return at;
    }
    FTRACE_NOTRACE static constexpr test entry(const char* name) {
        return {name, count,    types,   references(indices{}), address,
                call, on_entry, on_exit, places.data()};
    }
};

template <auto Function>
FTRACE_NOTRACE constexpr test case_of(const char* name) {
    return test_case<Function, ftrace::detail::signature_t<decltype(Function)>>::entry(name);
}

}  // namespace torture
