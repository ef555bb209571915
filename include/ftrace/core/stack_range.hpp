// Where a thread's own stack is, as far as that can be said without a lock, memory or /proc; and
// which of two places on it is out of use.
#pragma once

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <ftrace/core/config.hpp>

namespace ftrace::inline v0::detail {

/// Addresses that are parts of one stack. What runs outside of a thread's own one runs on a signal
/// stack or a fiber's.
struct stack_range {
    std::uintptr_t begin, end;
    [[nodiscard]] FTRACE_STUB_INLINE bool contains(std::uintptr_t address) const noexcept {
        return address - begin < end - begin;
    }
};

/// The frame of the function that this is inlined into: an address of the stack in use.
FTRACE_STUB_INLINE std::uintptr_t this_frame() noexcept {
    return reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
}

/// Whether an address can be read: the kernel copies the mask before it looks at the operation,
/// which is none.
[[nodiscard]] FTRACE_NO_INSTRUMENTATION FTRACE_GENERAL_REGS_ONLY inline bool readable(
    std::uintptr_t address) noexcept {
    const int saved = errno;
    constexpr int no_operation = -1;
    constexpr std::size_t mask_size = 8;
    const bool fault =
        ::syscall(SYS_rt_sigprocmask, no_operation, address, nullptr, mask_size) < 0 &&
        errno == EFAULT;
    errno = saved;
    return !fault;
}

/// Whether what ran at `frame` has been left for good, since its thread, whose stack this is, has
/// come to run at `now`, on the same stack and not below. Stacks grow downwards.
///
/// Of two addresses on different stacks nothing is said: false. The range of a thread may be too
/// large (see known_stacks), so there must be no hole in between, as the guard page of a stack is.
[[nodiscard]] FTRACE_NO_INSTRUMENTATION FTRACE_GENERAL_REGS_ONLY inline bool left_behind(
    const stack_range& stack, std::uintptr_t frame, std::uintptr_t now) noexcept {
    if (!stack.contains(frame) || !stack.contains(now) || now < frame) return false;
    constexpr std::uintptr_t page = 4096;
    for (std::uintptr_t at = (frame | (page - 1)) + 1; at < now; at += page)
        if (!readable(at)) return false;
    return true;
}

/// Whether the calling thread is in a handler on its signal stack, which may be a part of its own
/// stack: an array of main()'s.
[[nodiscard]] FTRACE_NO_INSTRUMENTATION FTRACE_GENERAL_REGS_ONLY inline bool
on_signal_stack() noexcept {
    stack_t now;
    return ::syscall(SYS_sigaltstack, nullptr, &now) == 0 && (now.ss_flags & SS_ONSTACK) != 0;
}

/// What the process's memory tells of its threads' stacks.
class known_stacks {
public:
    /// Reads what of_this_thread() needs; before other threads know of the object.
    FTRACE_NOTRACE known_stacks() noexcept {
        const std::uintptr_t end = ::getauxval(AT_RANDOM);
        if (end > first_size) first_ = {end - first_size, end};
        if (first_.contains(this_frame())) first_pointer_ = thread_pointer();
        pthread_attr_t attributes;
        if (::pthread_attr_init(&attributes) != 0) return;
        ::pthread_attr_getstacksize(&attributes, &size_);
        ::pthread_attr_destroy(&attributes);
    }

    /// The calling thread's own stack, whatever stack it runs on; empty if that cannot be told. Two
    /// comparisons and two system calls: safe in a signal handler.
    ///
    /// The first thread's stack ends below its arguments and environment, which take 6 MiB at most
    /// and begin with the bytes of AT_RANDOM. The kernel leaves 128 MiB free for it, or as much as
    /// the limit allowed at the start; the limit may have changed since, so what lies deeper than
    /// the 128 MiB is not counted as part of the stack.
    ///
    /// Other threads' stacks end at the thread pointer, and are taken to have the default size.
    /// Of a larger one that is the upper part; for a smaller one it is too much. The child of a
    /// thread's fork() runs on that thread's stack, although it is the first of its process.
    [[nodiscard]] FTRACE_NO_INSTRUMENTATION FTRACE_GENERAL_REGS_ONLY stack_range
    of_this_thread() const noexcept {
        const std::uintptr_t pointer = thread_pointer();
        if (first_.contains(this_frame()) || pointer == first_pointer_) return first_;
        // On a stack of another kind, and perhaps the first thread, whose thread pointer says
        // nothing of its stack.
        if (first_pointer_ == 0 && ::getpid() == static_cast<pid_t>(::syscall(SYS_gettid)))
            return {};
        if (size_ <= ends || pointer <= size_) return {};
        return {pointer - size_ + ends, pointer};
    }

private:
    FTRACE_STUB_INLINE static std::uintptr_t thread_pointer() noexcept {
        return reinterpret_cast<std::uintptr_t>(__builtin_thread_pointer());
    }

    static constexpr std::uintptr_t first_size = std::uintptr_t{128 - 6} << 20;
    // The size counts what lies above the thread pointer, and the guard page.
    static constexpr std::size_t ends = 16384;

    stack_range first_{};
    std::uintptr_t first_pointer_ = 0;  // 0: the first thread has not been here
    std::size_t size_ = std::size_t{8} << 20;
};

}  // namespace ftrace::inline v0::detail
