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
    location at{};
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

/// How to fill the table of one list of parameters.
struct probe_table {
    probe_request plain;   // the function takes the parameters
    probe_request hidden;  // and a hidden pointer to its result before them
    location (*result)();  // tells which; nullptr: the one that has a target
    location* where;
};

/// A slot is written once, or again with the same value.
FTRACE_PROBE_FUNCTION inline void fill_table(const probe_table& table) noexcept {
    const bool hidden = table.result != nullptr ? table.result().lo == place::memory
                                                : table.plain.target == nullptr;
    const probe_request& request = hidden ? table.hidden : table.plain;
    auto* const found =
        static_cast<location*>(__builtin_alloca((request.count + 1) * sizeof(location)));
    probe_parameters(request, found);
    for (unsigned i = hidden; i < request.count; ++i)
        store_location(table.where[i - hidden], found[i]);
}

/// The table of one list of parameters, each as it is passed: no reference, no class that is passed
/// by address.
template <bool Variadic, typename Result, typename... P>
struct probed_parameters {
    static constinit inline location where[sizeof...(P)]{};
    static constexpr type_class result = classify_result<Result>();
    static constexpr unsigned words = probe_words<P...>;
    static_assert(probe_first_stack_word + words + 1 < 0x10000,
                  "ftrace: this function takes half a megabyte of classes by value: no accessor "
                  "finds its arguments");

    template <bool Possible, unsigned Words, typename... Q>
    FTRACE_NOTRACE static constexpr probe_request request() {
        if constexpr (Possible)
            return {.target = reinterpret_cast<void (*)()>(
                        &probe_target<Variadic, Words, Q...>::function),
                    .sizes = probe_sizes<P...> + (sizeof...(P) + 1 - sizeof...(Q)),
                    .count = sizeof...(Q),
                    .words = Words};
        else
            return {};
    }
    FTRACE_NO_INSTRUMENTATION static void fill() noexcept {
        // Not static: compilers that do not optimise would guard it, and a stub can come here.
        const probe_table table{
            .plain = request<!result.known || !result.memory, words, P...>(),
            .hidden = request<!result.known || result.memory, words + 1, void*, P...>(),
            .result = result_source(),
            .where = where};
        fill_table(table);
    }

private:
    FTRACE_NOTRACE static constexpr auto result_source() -> location (*)() {
        if constexpr (result.known)
            return nullptr;
        else
            return &probed_result<Result>::get;
    }
};

/// Fills the tables before main, so that not even the first access runs the compiler's functions.
template <typename Table>
struct primed {
    static inline const bool done = (Table::fill(), true);
};

/// The place of parameter N of Result(P...), where P... are as declared, and the types do not tell
/// it. `may_probe`: the vector registers were saved, so an empty table (before main) may be filled;
/// else the answer is then `nothing`.
template <std::size_t N, bool Variadic, typename Result, typename... P>
FTRACE_STUB_INLINE location table_location(bool may_probe) noexcept {
    static_assert(
        (can_probe<P>() && ...),
        "ftrace: a class by value in this signature has an inaccessible destructor, or is "
        "[[clang::trivial_abi]]: where the arguments are cannot be found out");
    using table = probed_parameters<Variadic, Result, probed_type<P>...>;
    (void)&primed<table>::done;
    location found = load_location(table::where[N]);
    if (__builtin_expect(found.lo == place::unknown, false)) {
        if (!may_probe) return {.lo = place::nothing, .hi = place::nothing};
        table::fill();
        found = load_location(table::where[N]);
    }
    return found;
}

/// The place of a result of type T, where the type does not tell it; `may_probe` as above.
template <typename T>
FTRACE_STUB_INLINE location table_result_location(bool may_probe) noexcept {
    using table = probed_result<T>;
    (void)&primed<table>::done;
    const location found = load_location(table::where);
    if (__builtin_expect(found.lo == place::unknown, false)) {
        if (!may_probe) return {.lo = place::nothing, .hi = place::nothing};
        return table::fill();
    }
    return found;
}
#pragma GCC diagnostic pop

}  // namespace ftrace::inline v0::arch
