// What an ops asks for: the registers its callback sees, and the kernel's flags.
#pragma once

#include <cstdint>
#include <ftrace/core/config.hpp>

namespace ftrace::inline v0 {

/// Which registers the entry stub saves for a callback. Chosen when the ops is written, since it
/// chooses the stub.
enum save_policy : std::uint8_t {
    /// Everything that can carry an argument, the stack pointer and the instruction pointer;
    /// no more.
    ARGS,
    /// A full pt_regs, as a breakpoint would: get_regs() is not null.
    SAVE_REGS,
    /// The general registers of ARGS, and no vector registers. The callback must be
    /// FTRACE_GENERAL_REGS_ONLY: one that is not would destroy the floating-point arguments of the
    /// traced function.
    ARGS_INTEGER,
};

/// Flags of an ops; names and values are the kernel's (include/linux/ftrace.h).
enum ops_flags : unsigned {
    /// Here every architecture saves registers if asked, so it is the same as the policy SAVE_REGS.
    FTRACE_OPS_FL_SAVE_REGS_IF_SUPPORTED = 1u << 3,
    /// Protect the callback: it is not called for functions that it (or another callback of this
    /// thread) calls. The default. An ops without it protects itself.
    FTRACE_OPS_FL_RECURSION = 1u << 4,
    /// The callback may change the instruction pointer. Needs a filter; only one such ops can be on
    /// a function.
    FTRACE_OPS_FL_IPMODIFY = 1u << 12,
    /// ftrace::set_enabled(false) is refused while this ops is registered.
    FTRACE_OPS_FL_PERMANENT = 1u << 16,
};

namespace detail {

/// What is saved for an ops of this policy and these flags.
[[nodiscard]] FTRACE_NOTRACE constexpr save_policy policy_with(save_policy policy,
                                                               unsigned flags) noexcept {
    return (flags & FTRACE_OPS_FL_SAVE_REGS_IF_SUPPORTED) != 0 ? SAVE_REGS : policy;
}

}  // namespace detail

}  // namespace ftrace::inline v0
