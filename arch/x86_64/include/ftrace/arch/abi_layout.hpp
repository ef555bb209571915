// Where the parameters and the result of a signature are: constants where the types tell, else one
// relaxed load from a table that was filled before main.
#pragma once

#include <ftrace/arch/abi_probe_result.hpp>

namespace ftrace::inline v0::arch {

// FTRACE_STUB_INLINE may be used in a callback that is compiled without vector registers. This is
// for values of a class or a floating-point type, which pass through vector registers; the
// compilers refuse to inline it into such a callback.
#define FTRACE_VECTOR_ACCESSOR FTRACE_NO_INSTRUMENTATION __attribute__((always_inline)) inline

#pragma GCC diagnostic push
#if !defined(__clang__)
#pragma GCC diagnostic ignored "-Wignored-attributes"
#endif

FTRACE_STUB_INLINE location load_location(const location& from) noexcept {
    location at;
    __atomic_load(&from, &at, __ATOMIC_RELAXED);
    return at;
}
FTRACE_NO_INSTRUMENTATION inline void store_location(location& to, location at) noexcept {
    __atomic_store(&to, &at, __ATOMIC_RELAXED);
}

/// The table of one result class.
template <typename T>
struct probed_result {
    static constinit inline location where{};

    FTRACE_PROBE_FUNCTION static location fill() noexcept {
        const location at = probe_result_location<T>();
        store_location(where, at);
        return at;
    }
    FTRACE_PROBE_FUNCTION static location get() noexcept {
        const location at = load_location(where);
        return at.lo != place::unknown ? at : fill();
    }
};

/// The table of one list of parameters. A slot is written once, or again with the same value.
template <typename Result, typename... P>
struct probed_parameters {
    static constinit inline location where[sizeof...(P) + 1]{};

    FTRACE_PROBE_FUNCTION static bool fill() noexcept {
        location found[sizeof...(P) + 1]{};
        constexpr type_class result = classify_result<Result>();
        if constexpr (result.known && result.memory) {
            probe_locations<void*, P...>(found);
            publish(found + 1);
        } else if constexpr (result.known) {
            probe_locations<P...>(found);
            publish(found);
        } else if (probed_result<Result>::get().lo == place::memory) {
            probe_locations<void*, P...>(found);
            publish(found + 1);
        } else {
            probe_locations<P...>(found);
            publish(found);
        }
        return true;
    }

private:
    FTRACE_NO_INSTRUMENTATION static void publish(const location* found) noexcept {
        for (std::size_t i = 0; i < sizeof...(P); ++i) store_location(where[i], found[i]);
    }
};

/// Fills the tables before main, so that not even the first access runs the compiler's functions.
template <typename Table>
struct primed {
    static inline const bool done = (Table::fill(), true);
};

template <typename T>
inline constexpr bool result_is_known = classify_result<T>().known;

/// The place of parameter N of Result(P...), where P... are as declared. `may_probe`: the vector
/// registers were saved, so an empty table (only before main) may be filled; else the answer is
/// then `nothing`.
template <std::size_t N, typename Result, typename... P>
FTRACE_STUB_INLINE location parameter_location(bool may_probe) noexcept {
    constexpr location at = static_location<N, Result, P...>();
    if constexpr (at.lo != place::unknown) {
        return at;
    } else {
        static_assert((can_probe<P>() && ...),
                      "ftrace: beside a class by value, this signature has a vector parameter "
                      "wider than this file is "
                      "compiled for (add -mavx or -mavx512f), or a [[clang::trivial_abi]] class "
                      "(not supported)");
        using table =
            probed_parameters<Result, std::conditional_t<is_address<P>, const void*, P>...>;
        (void)&primed<table>::done;
        location found = load_location(table::where[N]);
        if (__builtin_expect(found.lo == place::unknown, false)) {
            if (!may_probe) return {.lo = place::nothing, .hi = place::nothing};
            table::fill();
            found = load_location(table::where[N]);
        }
        return found;
    }
}

/// The place of a result of type T; `may_probe` as above.
template <typename T>
FTRACE_STUB_INLINE location result_place(bool may_probe) noexcept {
    if constexpr (result_is_known<T>) {
        constexpr location at = result_location(classify_result<T>());
        return at;
    } else {
        using table = probed_result<T>;
        (void)&primed<table>::done;
        const location found = load_location(table::where);
        if (__builtin_expect(found.lo == place::unknown, false)) {
            if (!may_probe) return {.lo = place::nothing, .hi = place::nothing};
            return table::fill();
        }
        return found;
    }
}
#pragma GCC diagnostic pop

}  // namespace ftrace::inline v0::arch
