// The calling thread's slot, and the section in which a callback runs: recursion guard, grace
// period, errno.
#pragma once

#include <errno.h>

#include <cstdint>

#include <ftrace/arch/registers.hpp>
#include <ftrace/core/config.hpp>
#include <ftrace/core/process.hpp>

namespace ftrace::inline v0::detail {

/// This object's shortcut to the thread's slot. initial-exec: reading it is one load, never a call.
FTRACE_LOCAL inline constinit thread_local thread_state* current_thread
    __attribute__((tls_model("initial-exec"))) = nullptr;

/// The first callback of a thread in this object. Safe in a stub that saved no vector registers.
/// Each object's own, as all that stubs call: another's copy would look at its own variables.
FTRACE_LOCAL FTRACE_NO_INSTRUMENTATION FTRACE_GENERAL_REGS_ONLY
    __attribute__((noinline)) inline thread_state*
    claim_thread() noexcept {
    const int saved = errno;
    // The state exists: a stub runs only where an ops was registered, and that made it.
    process_state* const shared = shared_state();
    thread_state* const mine = shared == nullptr ? nullptr : shared->threads.claim();
    current_thread = mine;
    errno = saved;
    return mine;
}

/// What a stub calls on a thread that has no slot yet: claims one, then runs the stub's own C++
/// side. A function of its own, so that the others need no frame. Without a slot nothing is called.
template <class Context>
FTRACE_LOCAL FTRACE_NO_INSTRUMENTATION FTRACE_GENERAL_REGS_ONLY __attribute__((noinline)) void
claim_and_call(unsigned long ip, unsigned long parent_ip, Context context, ftrace_regs& regs,
               void (*callee)(unsigned long, unsigned long, Context,
                              ftrace_regs&) noexcept) noexcept {
    if (claim_thread() != nullptr) callee(ip, parent_ip, context, regs);
}

/// The calling thread's slot; nullptr if more than 65,536 threads live. Neither locks
/// nor allocates.
[[nodiscard]] FTRACE_STUB_INLINE thread_state* this_thread() noexcept {
    thread_state* const mine = current_thread;
    return __builtin_expect(mine != nullptr, 1) ? mine : claim_thread();
}

/// A thread's count of sections begun and ended. Read once, and handed to the functions below.
[[nodiscard]] FTRACE_STUB_INLINE std::uint64_t section_of(const thread_state& thread) noexcept {
    return __atomic_load_n(&thread.section, __ATOMIC_RELAXED);
}
[[nodiscard]] FTRACE_STUB_INLINE constexpr bool is_inside(std::uint64_t section) noexcept {
    return section % 2 != 0;
}
/// Whether a callback is running on this thread.
[[nodiscard]] FTRACE_STUB_INLINE bool in_section(const thread_state& thread) noexcept {
    return is_inside(section_of(thread));
}

/// Begins a thread's outermost section; `outside` is the count before. Loads of the lists of ops
/// stay behind it: for the compiler by the fence, for the CPU by the barrier in
/// synchronize_callbacks(). A signal handler of the thread that counts meanwhile does no harm: it
/// leaves the count even.
FTRACE_STUB_INLINE void enter_section(thread_state& thread, std::uint64_t outside) noexcept {
    __atomic_store_n(&thread.section, outside + 1, __ATOMIC_RELAXED);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

/// release: pairs with the acquire in synchronize_callbacks(); what the callbacks did is done.
FTRACE_STUB_INLINE void leave_section(thread_state& thread, std::uint64_t outside) noexcept {
    __atomic_store_n(&thread.section, outside + 2, __ATOMIC_RELEASE);
}

/// The library's own work on a thread: ops with the recursion guard, which is the default, are not
/// called for the functions it runs.
class internal_section {
public:
    FTRACE_NOTRACE internal_section() noexcept
        : thread_(process() == nullptr ? nullptr : this_thread()) {
        if (thread_ == nullptr) return;
        outside_ = section_of(*thread_);
        if (is_inside(outside_))
            thread_ = nullptr;
        else
            enter_section(*thread_, outside_);
    }
    FTRACE_NOTRACE ~internal_section() {
        if (thread_ != nullptr) leave_section(*thread_, outside_);
    }
    internal_section(const internal_section&) = delete;
    internal_section& operator=(const internal_section&) = delete;

private:
    thread_state* thread_;
    std::uint64_t outside_ = 0;
};

}  // namespace ftrace::inline v0::detail
