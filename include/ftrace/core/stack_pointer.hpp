// Where another thread's stack pointer is.
#pragma once

#include <fcntl.h>
#include <sys/types.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ftrace/core/config.hpp>

namespace ftrace::inline v0::detail {

/// The stack pointer in a line of /proc/PID/task/TID/syscall (proc_pid_syscall(5)): "nr a b c d e f
/// SP PC" of a thread that waits in a system call, "-1 SP PC" of one that waits elsewhere,
/// "running". 0: there is none.
[[nodiscard]] FTRACE_NOTRACE inline std::uintptr_t stack_pointer_in(const char* line) noexcept {
    const char* last = nullptr;
    const char* before = nullptr;
    for (const char* at = line; *at != '\0'; ++at) {
        if (*at != ' ') continue;
        before = last;
        last = at + 1;
    }
    return before == nullptr ? 0 : std::strtoull(before, nullptr, 16);
}

/// The stack pointer of a thread of this process that waits in the kernel. 0: it runs, or /proc does
/// not tell.
[[nodiscard]] FTRACE_NOTRACE inline std::uintptr_t waiting_stack_pointer(pid_t tid) noexcept {
    char text[256];
    std::snprintf(text, sizeof text, "/proc/self/task/%d/syscall", static_cast<int>(tid));
    const int file = ::open(text, O_RDONLY | O_CLOEXEC);
    if (file < 0) return 0;
    const ssize_t length = ::read(file, text, sizeof text - 1);
    ::close(file);
    text[length > 0 ? length : 0] = '\0';
    return stack_pointer_in(text);
}

}  // namespace ftrace::inline v0::detail
