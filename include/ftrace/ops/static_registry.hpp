// registry<OpsA, OpsB, ...>: a set of ops known while compiling.
#pragma once

#include <cstddef>
#include <cstdint>
#include <ftrace/core/config.hpp>
#include <ftrace/core/result.hpp>
#include <ftrace/ops/dispatch.hpp>
#include <ftrace/ops/ops.hpp>
#include <ftrace/ops/registry.hpp>
#include <ftrace/ops/static_set.hpp>
#include <ftrace/ops/stubs.hpp>
#include <utility>

namespace ftrace::inline v0 {
namespace detail {

/// What the stubs of a registry need to know of one of its ops, by type.
template <class Ops>
struct ops_traits;
template <auto Callback, save_policy Policy, unsigned Flags>
struct ops_traits<ops<Callback, Policy, Flags>> {
    static constexpr save_policy policy = policy_with(Policy, Flags);
    static constexpr unsigned flags = Flags;

    /// One step of run_set(): no loop, no pointer to the callback.
    template <bool Outermost>
    FTRACE_STUB_INLINE static void step(unsigned long ip, unsigned long parent_ip,
                                        ftrace_ops* const* entry, ftrace_regs& regs,
                                        thread_state& thread) noexcept {
        ftrace_ops* const op = load_entry(entry);
        if (op == nullptr) return;
        if ((Flags & FTRACE_OPS_FL_RECURSION) != 0 && !Outermost)
            ++thread.missed;
        else
            call<Callback, policy>(ip, parent_ip, *op, regs);
    }
};

/// As run_list(), written out by the compiler for one set of ops.
template <bool Outermost, class... Ops>
FTRACE_STUB_INLINE void run_set(unsigned long ip, unsigned long parent_ip,
                                ftrace_ops* const* entries, ftrace_regs& regs,
                                thread_state& thread) noexcept {
    const int saved = *thread.program_errno;
    (ops_traits<Ops>::template step<Outermost>(ip, parent_ip, entries++, regs, thread), ...);
    *thread.program_errno = saved;
}

template <class... Ops>
struct FTRACE_LOCAL set_stub {
    static inline ftrace_ops** context = nullptr;  // entered through veneers only

    FTRACE_NO_INSTRUMENTATION static void callee(unsigned long ip, unsigned long parent_ip,
                                                 ftrace_ops* const* entries,
                                                 ftrace_regs& regs) noexcept {
        thread_state* const thread = current_thread;
        const std::uint64_t section = section_or_none(thread);
        if (__builtin_expect(is_inside(section), 0))
            return claim_or_nest(ip, parent_ip, entries, regs, callee, nested);
        enter_stub_section(*thread, section, regs);
        run_set<true, Ops...>(ip, parent_ip, entries, regs, *thread);
        leave_section(*thread, section);
    }
    FTRACE_NO_INSTRUMENTATION static void nested(unsigned long ip, unsigned long parent_ip,
                                                 ftrace_ops* const* entries,
                                                 ftrace_regs& regs) noexcept {
        run_set<false, Ops...>(ip, parent_ip, entries, regs, *current_thread);
    }
};
template <class... Ops>
struct FTRACE_LOCAL integer_set_stub {
    static inline ftrace_ops** context = nullptr;

    FTRACE_NO_INSTRUMENTATION FTRACE_GENERAL_REGS_ONLY static void callee(
        unsigned long ip, unsigned long parent_ip, ftrace_ops* const* entries,
        ftrace_regs& regs) noexcept {
        thread_state* const thread = current_thread;
        const std::uint64_t section = section_or_none(thread);
        if (__builtin_expect(is_inside(section), 0))
            return claim_or_nest(ip, parent_ip, entries, regs, callee, nested);
        enter_stub_section(*thread, section, regs);
        run_set<true, Ops...>(ip, parent_ip, entries, regs, *thread);
        leave_section(*thread, section);
    }
    FTRACE_NO_INSTRUMENTATION FTRACE_GENERAL_REGS_ONLY static void nested(
        unsigned long ip, unsigned long parent_ip, ftrace_ops* const* entries,
        ftrace_regs& regs) noexcept {
        run_set<false, Ops...>(ip, parent_ip, entries, regs, *current_thread);
    }
};

/// The stubs for a site whose most demanding ops has `Policy`. A set without any integer ops has no
/// use for those that save no vectors; the stubs of ARGS take their place.
template <save_policy Policy, class... Ops>
[[nodiscard]] consteval const stub_table* set_stubs() {
    if constexpr (Policy == ARGS_INTEGER && ((ops_traits<Ops>::policy == ARGS_INTEGER) && ...))
        return &stubs_of<integer_set_stub<Ops...>, ARGS_INTEGER>;
    else if constexpr (Policy == SAVE_REGS && ((ops_traits<Ops>::policy == SAVE_REGS) || ...))
        return &stubs_of<set_stub<Ops...>, SAVE_REGS>;
    else
        return &stubs_of<set_stub<Ops...>, ARGS>;
}

template <class... Ops>
inline constexpr static_set static_set_of{
    sizeof...(Ops),
    {set_stubs<ARGS, Ops...>(), set_stubs<SAVE_REGS, Ops...>(), set_stubs<ARGS_INTEGER, Ops...>()},
    &process_slot};

/// A member, told apart from another of the same type by its place.
template <std::size_t Index, class Ops>
struct registry_member {
    FTRACE_NOTRACE registry_member() noexcept = default;
    FTRACE_NOTRACE ~registry_member() = default;

    Ops op;
};
template <class Indices, class... Ops>
struct registry_members;
template <std::size_t... Indices, class... Ops>
struct registry_members<std::index_sequence<Indices...>, Ops...>
    : registry_member<Indices, Ops>... {
    FTRACE_NOTRACE registry_members() noexcept = default;
    FTRACE_NOTRACE ~registry_members() = default;
};

template <std::size_t Index, class Ops>
constexpr FTRACE_NOTRACE Ops& member_at(registry_member<Index, Ops>& member) noexcept {
    return member.op;
}

}  // namespace detail

/// Owns one ops of each type, and knows all of them while compiling: where several are on one
/// function, the site's stub calls a function in which the compiler wrote their calls one after the
/// other, with no list to walk.
///
///     static ftrace::registry<ftrace::ops<count>, ftrace::ops<log, ftrace::SAVE_REGS>> hooks;
///     hooks.get<0>().set_filter("parse*");
///     auto on = hooks.register_all();
///
/// They are called in the order of the types. Members may also be registered one by one; if that is
/// not in the order of the types, or other ops share the function, the ordinary list does it.
template <class... Ops>
class registry {
    static_assert(sizeof...(Ops) > 0, "a registry holds at least one ops");

public:
    FTRACE_NOTRACE registry() noexcept { join(std::index_sequence_for<Ops...>{}); }
    FTRACE_NOTRACE ~registry() = default;
    registry(const registry&) = delete;
    registry& operator=(const registry&) = delete;

    template <std::size_t Index>
    [[nodiscard]] FTRACE_NOTRACE auto& get() noexcept {
        static_assert(Index < sizeof...(Ops), "the registry has no ops of this index");
        return detail::member_at<Index>(members_);
    }

    /// All members' registrations, in the order of the types.
    struct registrations {
        FTRACE_NOTRACE registrations() noexcept = default;
        FTRACE_NOTRACE registrations(registrations&&) noexcept = default;
        FTRACE_NOTRACE registrations& operator=(registrations&&) noexcept = default;
        FTRACE_NOTRACE ~registrations() = default;

        registration member[sizeof...(Ops)];
    };

    /// Registers all members, or none: with the errors of register_ftrace_function().
    FTRACE_NOTRACE result<registrations> register_all() {
        return register_in_order(std::index_sequence_for<Ops...>{});
    }

private:
    template <std::size_t... Indices>
    FTRACE_NOTRACE void join(std::index_sequence<Indices...>) noexcept {
        ((detail::ops_access::set(get<Indices>()) = &detail::static_set_of<Ops...>,
          detail::ops_access::set_index(get<Indices>()) = Indices),
         ...);
    }
    template <std::size_t... Indices>
    FTRACE_NOTRACE result<registrations> register_in_order(std::index_sequence<Indices...>) {
        registrations all;
        result<void> outcome;
        const auto add = [&](ftrace_ops& op, registration& handle) FTRACE_NOTRACE {
            if (!outcome) return;
            auto registered = register_ftrace_function(op);
            if (registered)
                handle = std::move(*registered);
            else
                outcome = std::move(registered).error();
        };
        (add(get<Indices>(), all.member[Indices]), ...);
        if (!outcome) return std::move(outcome).error();  // `all` unregisters what was registered
        return all;
    }

    detail::registry_members<std::index_sequence_for<Ops...>, Ops...> members_;
};

}  // namespace ftrace::inline v0
