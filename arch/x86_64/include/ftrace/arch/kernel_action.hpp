// The kernel's sigaction: what the C library shows is not all of it, and sanitizers show another.
#pragma once

#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>
#include <ftrace/core/config.hpp>

namespace ftrace::inline v0::arch {

/// As the system call has it (arch/x86/include/uapi/asm/signal.h).
struct kernel_action {
    void (*handler)(int);
    unsigned long flags;
    void (*restorer)();  ///< where handlers return to, with `has_restorer`
    std::uint64_t mask;

    static constexpr unsigned long has_restorer = 0x04000000;  ///< SA_RESTORER
    static constexpr int signals = 64;

    /// False: there is no such signal, or a sandbox forbids to ask.
    [[nodiscard]] FTRACE_NOTRACE static bool read(int signal, kernel_action& action) noexcept {
        return ::syscall(SYS_rt_sigaction, signal, nullptr, &action, sizeof action.mask) == 0;
    }
    /// Sets it; `before` gets what it was.
    [[nodiscard]] FTRACE_NOTRACE static bool set(int signal, const kernel_action& action,
                                                 kernel_action& before) noexcept {
        return ::syscall(SYS_rt_sigaction, signal, &action, &before, sizeof action.mask) == 0;
    }
    FTRACE_NOTRACE friend bool operator==(const kernel_action& a, const kernel_action& b) noexcept {
        return a.handler == b.handler && a.flags == b.flags && a.restorer == b.restorer &&
               a.mask == b.mask;
    }
};

}  // namespace ftrace::inline v0::arch
