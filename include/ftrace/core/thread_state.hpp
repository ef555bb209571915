// The calling thread's slot, and the section in which a callback runs: recursion guard, grace
// period, errno.
#pragma once

#include <errno.h>

#include <cstdint>

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
[[nodiscard]] FTRACE_STUB_INLINE thread_state* this_thread() noexcept {
    thread_state* const mine = current_thread;
    return __builtin_expect(mine != nullptr, 1) ? mine : claim_thread();
}

/// Whether a callback is running on this thread.
[[nodiscard]] FTRACE_STUB_INLINE bool in_section(const thread_state& thread) noexcept {
    return __atomic_load_n(&thread.section, __ATOMIC_RELAXED) != 0;
}

/// Begins a thread's outermost section. Loads of the lists of ops stay behind it: for the compiler
/// by the fence, for the CPU by the barrier in synchronize_callbacks().
FTRACE_STUB_INLINE void enter_section(thread_state& thread) noexcept {
    const std::uint64_t now = __atomic_load_n(&shared_state()->grace_period, __ATOMIC_RELAXED);
    __atomic_store_n(&thread.section, now, __ATOMIC_RELAXED);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

/// release: pairs with the acquire in synchronize_callbacks(); what the callbacks did is done.
FTRACE_STUB_INLINE void leave_section(thread_state& thread) noexcept {
    __atomic_store_n(&thread.section, 0, __ATOMIC_RELEASE);
}

/// The library's own work on a thread: ops with the recursion guard, which is the default, are not
/// called for the functions it runs.
class internal_section {
public:
    FTRACE_NOTRACE internal_section() noexcept
        : thread_(process() == nullptr ? nullptr : this_thread()) {
        if (thread_ == nullptr || in_section(*thread_))
            thread_ = nullptr;
        else
            enter_section(*thread_);
    }
    FTRACE_NOTRACE ~internal_section() {
        if (thread_ != nullptr) leave_section(*thread_);
    }
    internal_section(const internal_section&) = delete;
    internal_section& operator=(const internal_section&) = delete;

private:
    thread_state* thread_;
};

}  // namespace ftrace::inline v0::detail
