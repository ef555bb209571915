// Whose stack an address is on, and whether there is anything at it.
#pragma once

#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <ftrace/core/config.hpp>

namespace ftrace::inline v0::detail {

/// The addresses a thread's own stack may have. Calls outside run on a signal stack or a fiber's.
struct stack_range {
    std::uintptr_t begin, end;
    [[nodiscard]] FTRACE_STUB_INLINE bool contains(std::uintptr_t address) const noexcept {
        return address - begin < end - begin;
    }
};

/// Whether an address can be read: the kernel copies the mask before it looks at the operation,
/// which is none.
[[nodiscard]] FTRACE_NO_INSTRUMENTATION inline bool readable(std::uintptr_t address) noexcept {
    const int saved = errno;
    constexpr int no_operation = -1;
    constexpr std::size_t mask_size = 8;
    const bool fault =
        ::syscall(SYS_rt_sigprocmask, no_operation, address, nullptr, mask_size) < 0 &&
        errno == EFAULT;
    errno = saved;
    return !fault;
}

}  // namespace ftrace::inline v0::detail
