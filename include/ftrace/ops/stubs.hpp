// The entry stubs of this program: one set for each ops<callback, policy>, one for lists.
#pragma once

#include <cstdint>
#include <ftrace/arch/entry_stub.hpp>
#include <ftrace/core/config.hpp>
#include <ftrace/ops/dispatch.hpp>
#include <type_traits>

namespace ftrace::inline v0::detail {

using stub_entry = arch::stub_function;

/// The stubs of one owner, by the width of the vector registers they save: xmm, ymm, zmm.
struct stub_table {
    stub_entry entry[3];
};

/// The index of a width in a stub_table.
[[nodiscard]] FTRACE_NOTRACE constexpr unsigned width_index(arch::vector_width width) noexcept {
    return width == arch::vector_width::zmm ? 2 : width == arch::vector_width::ymm ? 1 : 0;
}

template <class Owner, save_policy Policy>
inline constexpr stub_table stubs_of = [] {
    using enum arch::vector_width;
    constexpr auto set = Policy == SAVE_REGS ? arch::saved_set::all : arch::saved_set::arguments;
    if constexpr (Policy == ARGS_INTEGER)
        return stub_table{{arch::entry_stub<Owner, set, none>::entry,
                           arch::entry_stub<Owner, set, none>::entry,
                           arch::entry_stub<Owner, set, none>::entry}};
    else
        return stub_table{{arch::entry_stub<Owner, set, xmm>::entry,
                           arch::entry_stub<Owner, set, ymm>::entry,
                           arch::entry_stub<Owner, set, zmm>::entry}};
}();

/// The stubs that call one callback directly. A call at a site enters them with `slot` as their
/// list of ops; whoever registers a first ops of this type takes the slot, later ones of the same
/// type come through a veneer.
struct own_stubs {
    const stub_table* stubs;
    ftrace_ops** slot;
    std::uintptr_t (
        *callback)() noexcept;  ///< the address of the callback, for messages; 0: a lambda
};

template <auto Callback>
FTRACE_NOTRACE std::uintptr_t callback_address() noexcept {
    if constexpr (std::is_pointer_v<decltype(Callback)>)
        return reinterpret_cast<std::uintptr_t>(Callback);
    else
        return 0;
}

template <auto Callback, save_policy Policy, unsigned Flags>
struct FTRACE_LOCAL own_stub {
    static inline ftrace_ops* slot = nullptr;
    static inline ftrace_ops* const* context = &slot;

    FTRACE_NO_INSTRUMENTATION static void callee(unsigned long ip, unsigned long parent_ip,
                                                 ftrace_ops* const* entry,
                                                 ftrace_regs& regs) noexcept {
        run_one<Callback, Policy, Flags>(ip, parent_ip, entry, regs);
    }
};
template <auto Callback, unsigned Flags>
struct FTRACE_LOCAL own_stub<Callback, ARGS_INTEGER, Flags> {
    static inline ftrace_ops* slot = nullptr;
    static inline ftrace_ops* const* context = &slot;

    FTRACE_NO_INSTRUMENTATION FTRACE_GENERAL_REGS_ONLY static void callee(
        unsigned long ip, unsigned long parent_ip, ftrace_ops* const* entry,
        ftrace_regs& regs) noexcept {
        run_one<Callback, ARGS_INTEGER, Flags>(ip, parent_ip, entry, regs);
    }
};

template <auto Callback, save_policy Policy, unsigned Flags>
inline constexpr own_stubs own_stubs_of{&stubs_of<own_stub<Callback, Policy, Flags>, Policy>,
                                        &own_stub<Callback, Policy, Flags>::slot,
                                        &callback_address<Callback>};

/// Lists have no context of their own: their stubs are entered through veneers only.
struct FTRACE_LOCAL list_stub {
    static inline ops_list* context = nullptr;

    FTRACE_NO_INSTRUMENTATION static void callee(unsigned long ip, unsigned long parent_ip,
                                                 ops_list& list, ftrace_regs& regs) noexcept {
        run_list(ip, parent_ip, list, regs);
    }
};
struct FTRACE_LOCAL integer_list_stub {
    static inline ops_list* context = nullptr;

    FTRACE_NO_INSTRUMENTATION FTRACE_GENERAL_REGS_ONLY static void callee(
        unsigned long ip, unsigned long parent_ip, ops_list& list, ftrace_regs& regs) noexcept {
        run_list(ip, parent_ip, list, regs);
    }
};

/// The stubs for lists whose most demanding ops has this policy.
[[nodiscard]] FTRACE_NOTRACE inline const stub_table& list_stubs(save_policy policy) noexcept {
    return policy == SAVE_REGS      ? stubs_of<list_stub, SAVE_REGS>
           : policy == ARGS_INTEGER ? stubs_of<integer_list_stub, ARGS_INTEGER>
                                    : stubs_of<list_stub, ARGS>;
}

/// What a list needs to save so that no callback gets less than it asked for.
[[nodiscard]] FTRACE_NOTRACE constexpr save_policy stronger(save_policy a, save_policy b) noexcept {
    if (a == SAVE_REGS || b == SAVE_REGS) return SAVE_REGS;
    return a == ARGS || b == ARGS ? ARGS : ARGS_INTEGER;
}

}  // namespace ftrace::inline v0::detail
