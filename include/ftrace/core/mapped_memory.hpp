// Memory where malloc cannot be called.
#pragma once

#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstddef>
#include <ftrace/core/config.hpp>

namespace ftrace::inline v0::detail {

/// Anonymous zeroed memory; nullptr if there is none. Safe in a callback.
[[nodiscard]] FTRACE_NO_INSTRUMENTATION inline void* map_memory(std::size_t bytes) noexcept {
    const long at = ::syscall(SYS_mmap, nullptr, bytes, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return at == -1 ? nullptr : reinterpret_cast<void*>(at);
}

}  // namespace ftrace::inline v0::detail
