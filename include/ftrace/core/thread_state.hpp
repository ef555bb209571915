// The calling thread's slot, and the section in which a callback runs: recursion guard, grace
// period, errno.
#pragma once

#include <errno.h>

#include <ftrace/core/config.hpp>
#include <ftrace/core/process.hpp>

namespace ftrace::inline v0::detail {

/// This object's shortcut to the thread's slot. initial-exec: reading it is one load, never a call.
FTRACE_LOCAL inline constinit thread_local thread_state* current_thread
    __attribute__((tls_model("initial-exec"))) = nullptr;

/// The first callback of a thread in this object. Safe in a stub that saved no vector registers.
FTRACE_NO_INSTRUMENTATION FTRACE_GENERAL_REGS_ONLY __attribute__((noinline)) inline thread_state*
claim_thread() noexcept {
    const int saved = errno;
    // The state exists: a stub runs only where an ops was registered, and that made it.
    process_state* const shared = shared_state();
    thread_state* const mine = shared == nullptr ? nullptr : shared->threads.claim();
    current_thread = mine;
    errno = saved;
    return mine;
}

/// The calling thread's slot; nullptr if more than 65,536 threads live. Neither locks nor
/// allocates.
[[nodiscard]] FTRACE_NO_INSTRUMENTATION inline thread_state* this_thread() noexcept {
    thread_state* const mine = current_thread;
    return __builtin_expect(mine != nullptr, 1) ? mine : claim_thread();
}

}  // namespace ftrace::inline v0::detail
