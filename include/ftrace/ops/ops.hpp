// ops<callback, policy, flags>: an ftrace_ops whose callback is known while compiling.
#pragma once

#include <ftrace/core/config.hpp>
#include <ftrace/ops/dispatch.hpp>
#include <ftrace/ops/flags.hpp>
#include <ftrace/ops/ftrace_ops.hpp>
#include <ftrace/ops/stubs.hpp>
#include <type_traits>

namespace ftrace::inline v0 {

namespace detail {

/// F is the kernel's type of a callback, with any view of the registers.
template <typename F>
inline constexpr bool is_callback_type = false;
template <typename Op, typename Regs, bool NoExcept>
inline constexpr bool
    is_callback_type<void (*)(unsigned long, unsigned long, Op&, Regs&) noexcept(NoExcept)> = true;

/// The callback takes what it is given, and not what that converts to. Of a generic lambda nothing
/// but its result is known.
template <auto Callback, class Regs>
inline constexpr bool takes_as_given = std::is_void_v<
    std::invoke_result_t<decltype(Callback), unsigned long, unsigned long, ftrace_ops&, Regs&>>;
template <auto Callback, class Regs>
    requires requires { +Callback; }
inline constexpr bool takes_as_given<Callback, Regs> = is_callback_type<decltype(+Callback)>;

template <auto Callback, class Regs>
FTRACE_NOTRACE consteval bool accepts_as_given() {
    if constexpr (accepts<Callback, Regs>)
        return takes_as_given<Callback, Regs>;
    else
        return true;
}

inline constexpr unsigned all_ops_flags = FTRACE_OPS_FL_SAVE_REGS_IF_SUPPORTED |
                                          FTRACE_OPS_FL_RECURSION | FTRACE_OPS_FL_IPMODIFY |
                                          FTRACE_OPS_FL_PERMANENT;

}  // namespace detail

/// An ops with entry stubs of its own: alone on a site, the site calls such a stub, and the stub
/// calls `Callback` directly, or contains it.
///
///     static ftrace::ops<on_parse> by_args;                      // ARGS
///     static ftrace::ops<on_parse, ftrace::SAVE_REGS> by_regs;   // full pt_regs
///
/// `Callback`: a function, or a lambda without captures, of type ftrace_func_t; its fourth
/// parameter may be args_regs&, full_regs& or integer_regs& instead of ftrace_regs&, and then what
/// the policy does not save is refused while compiling. `Flags`: ops_flags.
template <auto Callback, save_policy Policy = ARGS, unsigned Flags = FTRACE_OPS_FL_RECURSION>
class ops : public ftrace_ops {
    static constexpr save_policy saved = detail::policy_with(Policy, Flags);
    static constexpr bool invocable = detail::accepts<Callback, detail::regs_of<saved>> ||
                                      (saved == SAVE_REGS && detail::accepts<Callback, args_regs>);
    static_assert(Policy == ARGS || Policy == SAVE_REGS || Policy == ARGS_INTEGER,
                  "ftrace: this is no save policy: ARGS, SAVE_REGS or ARGS_INTEGER");
    static_assert((Flags & ~detail::all_ops_flags) == 0,
                  "ftrace: flags that ops_flags does not define (ops/flags.hpp)");
    static_assert(
        invocable || saved == SAVE_REGS || !detail::accepts<Callback, full_regs>,
        "this callback takes full_regs&: only an ops with SAVE_REGS saves them. Write "
        "ops<callback, ftrace::SAVE_REGS>, or let the callback take ftrace_regs& or args_regs&");
    static_assert(invocable || saved == ARGS_INTEGER || !detail::accepts<Callback, integer_regs>,
                  "this callback takes integer_regs&, which is what ops<callback, "
                  "ftrace::ARGS_INTEGER> gives");
    static_assert(invocable || detail::accepts<Callback, full_regs> ||
                      detail::accepts<Callback, integer_regs> ||
                      detail::accepts<Callback, args_regs>,
                  "an ftrace callback is `void f(unsigned long ip, unsigned long parent_ip, "
                  "ftrace::ftrace_ops&, "
                  "ftrace::ftrace_regs&) noexcept`: this one has another signature");
    static_assert(!invocable ||
                      std::is_nothrow_invocable_v<decltype(Callback), unsigned long, unsigned long,
                                                  ftrace_ops&, detail::regs_of<saved>&> ||
                      std::is_nothrow_invocable_v<decltype(Callback), unsigned long, unsigned long,
                                                  ftrace_ops&, args_regs&>,
                  "an ftrace callback must be noexcept: there is nobody to catch between a "
                  "function and its caller");
    static_assert(detail::accepts_as_given<Callback, detail::regs_of<saved>>() &&
                      detail::accepts_as_given<Callback, args_regs>(),
                  "an ftrace callback returns void and takes `unsigned long, unsigned long, "
                  "ftrace::ftrace_ops&, ftrace::ftrace_regs&` as they are, not something they "
                  "convert to");
    static_assert(saved != ARGS_INTEGER || !detail::accepts<Callback, ftrace_regs>,
                  "an ARGS_INTEGER callback declares that it uses no vector registers: let it take "
                  "ftrace::integer_regs&, and mark it FTRACE_GENERAL_REGS_ONLY");

public:
    constexpr FTRACE_NOTRACE ops() noexcept
        : ftrace_ops(detail::erased<Callback, saved>, saved, Flags,
                     detail::own_stubs_of<Callback, saved, Flags>) {}
    FTRACE_NOTRACE ~ops() = default;
};

}  // namespace ftrace::inline v0
