// The calling thread's slot, and the section in which a callback runs: recursion guard, grace
// period, errno.
//
// A section ends where it began, in the same function, unless a signal handler that came between
// does not return (siglongjmp, an exception, a switch of contexts). Nobody tells of that. But stubs
// nest on a stack: one that runs where the section began, or above, proves that the section was
// left. So the thread's section word is
//
//     even    how many times the thread has begun and ended one
//     odd     inside: where on the stack it began << 16 | the count's lowest 16 bits
//
// Only places on the thread's own stack can be compared. What began or runs on a signal stack or a
// fiber's counts as inside, for the thread may go back there; and so does what goes on below the
// place where a section was left. (A fiber's stack must be no part of the thread's own.)
#pragma once

#include <errno.h>

#include <cstdint>

#include <ftrace/arch/registers.hpp>
#include <ftrace/core/config.hpp>
#include <ftrace/core/process.hpp>
#include <ftrace/core/stack_range.hpp>

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

/// The calling thread's slot; nullptr if more than 65,536 threads live. Neither locks
/// nor allocates.
[[nodiscard]] FTRACE_STUB_INLINE thread_state* this_thread() noexcept {
    thread_state* const mine = current_thread;
    return __builtin_expect(mine != nullptr, 1) ? mine : claim_thread();
}

/// A thread's section word. Read once, and handed to the functions below.
[[nodiscard]] FTRACE_STUB_INLINE std::uint64_t section_of(const thread_state& thread) noexcept {
    return __atomic_load_n(&thread.section, __ATOMIC_RELAXED);
}
[[nodiscard]] FTRACE_STUB_INLINE constexpr bool is_inside(std::uint64_t section) noexcept {
    return section % 2 != 0;
}
/// Where an odd section word's section began.
[[nodiscard]] FTRACE_STUB_INLINE constexpr std::uintptr_t begin_of(std::uint64_t section) noexcept {
    return section >> 16;
}

/// The word behind the odd `section`, stored, if that was left; else `section`. A signal handler
/// that comes between the comparison and the store may do the same, and run sections of its own:
/// they are over then, and the count's being set back does no more harm than in enter_section().
FTRACE_LOCAL FTRACE_NO_INSTRUMENTATION FTRACE_GENERAL_REGS_ONLY
    __attribute__((noinline, cold)) inline std::uint64_t
    end_if_left(thread_state& thread, std::uint64_t section, std::uintptr_t now) noexcept {
    if (!left_behind(thread.stack, begin_of(section), now) || on_signal_stack()) return section;
    const std::uint64_t ended = static_cast<std::uint16_t>(section) + std::uint64_t{1};
    __atomic_store_n(&thread.section, ended, __ATOMIC_RELEASE);
    return ended;
}

/// The calling thread's section word at `now`, an address that its stack has reached: above all
/// that is called from here, so that it is below the beginning of a section that goes on. A section
/// that was left is ended first.
[[nodiscard]] FTRACE_STUB_INLINE std::uint64_t section_at(thread_state& thread,
                                                          std::uintptr_t now) noexcept {
    const std::uint64_t section = section_of(thread);
    return __builtin_expect(is_inside(section), 0) ? end_if_left(thread, section, now) : section;
}

/// A thread that is about to begin a section, and its word; or nullptr, if it is inside one.
struct section_start {
    thread_state* thread;
    std::uint64_t outside;
};
/// What start_of_section() does where there is no slot yet, or a section.
FTRACE_LOCAL FTRACE_NO_INSTRUMENTATION FTRACE_GENERAL_REGS_ONLY
    __attribute__((noinline, cold)) inline section_start
    start_or_miss(std::uintptr_t now, unsigned missed) noexcept {
    thread_state* const thread = this_thread();
    if (thread == nullptr) return {};
    const std::uint64_t section = section_at(*thread, now);
    if (!is_inside(section)) return {thread, section};
    thread->missed += missed;
    return {};
}
/// For functions that may run inside a section, and do nothing then but to add to the thread's
/// `missed`. `now`: see section_at().
[[nodiscard]] FTRACE_STUB_INLINE section_start start_of_section(std::uintptr_t now,
                                                                unsigned missed) noexcept {
    thread_state* const thread = current_thread;
    if (__builtin_expect(thread != nullptr, 1)) {
        const std::uint64_t section = section_of(*thread);
        if (__builtin_expect(!is_inside(section), 1)) return {thread, section};
    }
    return start_or_miss(now, missed);
}

/// Whether a callback is running on the calling thread.
[[nodiscard]] FTRACE_NOTRACE inline bool in_section(thread_state& thread,
                                                    std::uintptr_t now) noexcept {
    return is_inside(section_at(thread, now));
}
/// Not inlined: the frame of a caller may be that in which a section began.
[[nodiscard]] FTRACE_NOTRACE __attribute__((noinline)) inline bool in_section(
    thread_state& thread) noexcept {
    return in_section(thread, this_frame());
}

/// In place of where a section begins: it never counts as left.
inline constexpr std::uintptr_t in_no_frame = 0;

/// Begins a thread's outermost section; `outside` is the word before. `here`: an address on the
/// stack above all that is called inside. Loads of the lists of ops stay behind it: for the compiler
/// by the fence, for the CPU by the barrier in synchronize_callbacks(). A signal handler of the
/// thread that counts meanwhile does no harm: it leaves the count even, or the section to be found
/// as left.
FTRACE_STUB_INLINE void enter_section(thread_state& thread, std::uint64_t outside,
                                      std::uintptr_t here) noexcept {
    __atomic_store_n(&thread.section, here << 16 | static_cast<std::uint16_t>(outside + 1),
                     __ATOMIC_RELAXED);
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
        if (in_section(*thread_)) {
            thread_ = nullptr;
            return;
        }
        outside_ = section_of(*thread_);
        enter_section(*thread_, outside_, in_no_frame);
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
