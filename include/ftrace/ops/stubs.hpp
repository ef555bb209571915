// The entry stubs of this program: one set for each ops<callback, policy>, one for lists.
#pragma once

#include <cstdint>
#include <ftrace/arch/object_veneers.hpp>
#include <ftrace/arch/stub_table.hpp>
#include <ftrace/core/config.hpp>
#include <ftrace/ops/dispatch.hpp>
#include <type_traits>

namespace ftrace::inline v0::detail {

using arch::stub_table;

template <class Owner, save_policy Policy>
[[nodiscard]] FTRACE_NOTRACE consteval stub_table make_stubs() noexcept {
    if constexpr (Policy == SAVE_REGS)
        return arch::make_stubs<Owner, arch::saved_set::all>();
    else if constexpr (Policy == ARGS)
        return arch::make_stubs<Owner, arch::saved_set::arguments>();
    else
        return arch::make_stubs_without_vectors<Owner, arch::saved_set::arguments>();
}

/// The stubs of an owner whose callbacks want what `Policy` saves.
template <class Owner, save_policy Policy>
inline constexpr stub_table stubs_of = make_stubs<Owner, Policy>();

/// The stubs that call one callback directly. A call at a site enters them with `slot` as their
/// list of ops; whoever registers a first ops of this type takes the slot, later ones of the same
/// type come through a veneer.
struct own_stubs {
    const stub_table* stubs;
    ftrace_ops** slot;
    process_state** home;  ///< the stubs' object looks here for the process's state
    /// The address of the callback, for messages; 0: a lambda.
    std::uintptr_t (*callback)() noexcept;
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
        thread_state* const thread = current_thread;
        const std::uint64_t section = section_or_none(thread);
        if (__builtin_expect(is_inside(section), 0))
            return claim_or_nest(ip, parent_ip, entry, regs, callee, nested);
        enter_stub_section(*thread, section, regs);
        run_one<Callback, Policy>(ip, parent_ip, entry, regs, *thread);
        leave_section(*thread, section);
    }
    FTRACE_NO_INSTRUMENTATION static void nested(unsigned long ip, unsigned long parent_ip,
                                                 ftrace_ops* const* entry,
                                                 ftrace_regs& regs) noexcept {
        run_one_nested<Callback, Policy, Flags>(ip, parent_ip, entry, regs);
    }
};
template <auto Callback, unsigned Flags>
struct FTRACE_LOCAL own_stub<Callback, ARGS_INTEGER, Flags> {
    static inline ftrace_ops* slot = nullptr;
    static inline ftrace_ops* const* context = &slot;

    FTRACE_NO_INSTRUMENTATION FTRACE_GENERAL_REGS_ONLY static void callee(
        unsigned long ip, unsigned long parent_ip, ftrace_ops* const* entry,
        ftrace_regs& regs) noexcept {
        thread_state* const thread = current_thread;
        const std::uint64_t section = section_or_none(thread);
        if (__builtin_expect(is_inside(section), 0))
            return claim_or_nest(ip, parent_ip, entry, regs, callee, nested);
        enter_stub_section(*thread, section, regs);
        run_one<Callback, ARGS_INTEGER>(ip, parent_ip, entry, regs, *thread);
        leave_section(*thread, section);
    }
    FTRACE_NO_INSTRUMENTATION FTRACE_GENERAL_REGS_ONLY static void nested(
        unsigned long ip, unsigned long parent_ip, ftrace_ops* const* entry,
        ftrace_regs& regs) noexcept {
        run_one_nested<Callback, ARGS_INTEGER, Flags>(ip, parent_ip, entry, regs);
    }
};

template <auto Callback, save_policy Policy, unsigned Flags>
inline constexpr own_stubs own_stubs_of{&stubs_of<own_stub<Callback, Policy, Flags>, Policy>,
                                        &own_stub<Callback, Policy, Flags>::slot, &process_slot,
                                        &callback_address<Callback>};

/// Lists have no context of their own: their stubs are entered through veneers only.
struct FTRACE_LOCAL list_stub {
    static inline ops_list* context = nullptr;

    FTRACE_NO_INSTRUMENTATION static void callee(unsigned long ip, unsigned long parent_ip,
                                                 ops_list* list, ftrace_regs& regs) noexcept {
        thread_state* const thread = current_thread;
        const std::uint64_t section = section_or_none(thread);
        if (__builtin_expect(is_inside(section), 0))
            return claim_or_nest(ip, parent_ip, list, regs, callee, nested);
        enter_stub_section(*thread, section, regs);
        run_list<true>(ip, parent_ip, *list, regs, *thread);
        leave_section(*thread, section);
        go_to_direct(*list, regs);
    }
    FTRACE_NO_INSTRUMENTATION static void nested(unsigned long ip, unsigned long parent_ip,
                                                 ops_list* list, ftrace_regs& regs) noexcept {
        run_list<false>(ip, parent_ip, *list, regs, *current_thread);
        go_to_direct(*list, regs);
    }
};
struct FTRACE_LOCAL integer_list_stub {
    static inline ops_list* context = nullptr;

    FTRACE_NO_INSTRUMENTATION FTRACE_GENERAL_REGS_ONLY static void callee(
        unsigned long ip, unsigned long parent_ip, ops_list* list, ftrace_regs& regs) noexcept {
        thread_state* const thread = current_thread;
        const std::uint64_t section = section_or_none(thread);
        if (__builtin_expect(is_inside(section), 0))
            return claim_or_nest(ip, parent_ip, list, regs, callee, nested);
        enter_stub_section(*thread, section, regs);
        run_list<true>(ip, parent_ip, *list, regs, *thread);
        leave_section(*thread, section);
        go_to_direct(*list, regs);
    }
    FTRACE_NO_INSTRUMENTATION FTRACE_GENERAL_REGS_ONLY static void nested(
        unsigned long ip, unsigned long parent_ip, ops_list* list, ftrace_regs& regs) noexcept {
        run_list<false>(ip, parent_ip, *list, regs, *current_thread);
        go_to_direct(*list, regs);
    }
};

/// The stubs for lists, of one object, and the veneers in its text.
struct list_stubs {
    const stub_table* by_policy[3];
    process_state** home;
    const arch::object_veneers* call_veneers;
    const arch::object_veneers* jump_veneers;
};
static_assert(ARGS == 0 && SAVE_REGS == 1 && ARGS_INTEGER == 2);

/// This object's.
FTRACE_LOCAL inline constexpr list_stubs own_list_stubs{
    {&stubs_of<list_stub, ARGS>, &stubs_of<list_stub, SAVE_REGS>,
     &stubs_of<integer_list_stub, ARGS_INTEGER>},
    &process_slot,
    &arch::own_call_veneers,
    &arch::own_jump_veneers};

/// What a list needs to save so that no callback gets less than it asked for.
[[nodiscard]] FTRACE_NOTRACE constexpr save_policy stronger(save_policy a, save_policy b) noexcept {
    if (a == SAVE_REGS || b == SAVE_REGS) return SAVE_REGS;
    return a == ARGS || b == ARGS ? ARGS : ARGS_INTEGER;
}

}  // namespace ftrace::inline v0::detail
