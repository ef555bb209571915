// The system calls that may be forbidden, and why they were.
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <linux/membarrier.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <ftrace/core/config.hpp>
#include <ftrace/core/result.hpp>
#include <string>

namespace ftrace::inline v0::detail {

inline constexpr std::uintptr_t page_size = 4096;

/// What of this process forbids making text writable; a sentence for an error.
FTRACE_NOTRACE inline std::string why_text_is_protected(int error_number) {
    if (error_number == ENOMEM)
        return "no memory for the copied pages, or too many mappings: raise the limit of data "
               "(ulimit -d), of address space (ulimit -v), or vm.max_map_count";
    constexpr int get_mdwe = 66;  // PR_GET_MDWE, Linux 6.3; the lowest bit is the refusal
    if (const int mdwe = ::prctl(get_mdwe, 0, 0, 0, 0); mdwe > 0 && (mdwe & 1) != 0)
        return "the process set PR_SET_MDWE (memory-deny-write-execute): start it without";
    if (::prctl(PR_GET_SECCOMP, 0, 0, 0, 0) == 2)
        return "a seccomp filter is active: let it pass mprotect with PROT_WRITE|PROT_EXEC";
    if (::access("/sys/fs/selinux/enforce", F_OK) == 0)
        return "SELinux is active: allow execmod for the program's domain";
    return "the sandbox of this process does not allow it";
}

/// mprotect, with the cause in the error: out_of_memory or permission_denied.
FTRACE_NOTRACE inline result<void> change_protection(std::uintptr_t begin, std::uintptr_t end,
                                                     int protection) {
    if (::mprotect(reinterpret_cast<void*>(begin), end - begin, protection) == 0) return {};
    const int number = errno;
    return error{number == ENOMEM ? errc::out_of_memory : errc::permission_denied,
                 "cannot make the text at " + hex(begin) + "-" + hex(end) +
                     ((protection & PROT_WRITE) != 0 ? " writable (" : " executable (") +
                     std::strerror(number) + "): " + why_text_is_protected(number) +
                     ". The program goes on untraced",
                 {},
                 begin};
}

/// Takes the place of membarrier() where that is forbidden; false: it could not. Throws nothing. Set
/// by patch/transaction.hpp.
using serializer = bool (*)();
FTRACE_LOCAL inline constinit serializer serialize_without_membarrier = nullptr;

/// Makes every thread of the process execute a full memory barrier and a core-serialising
/// instruction before it runs on in user mode. Where the kernel lacks the call (before 4.16) or
/// forbids it every running thread is interrupted by a signal; where that is impossible, too, a
/// change of protection has to do, which interrupts every CPU that runs this process if the CPU has
/// no broadcast invalidation. Call with the process locked.
FTRACE_NOTRACE inline void synchronize_cores() noexcept {
    const auto membarrier = [](int command) FTRACE_NOTRACE {
        return ::syscall(SYS_membarrier, command, 0, 0) == 0;
    };
    const int saved = errno;
    bool done = membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE);
    if (!done && membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE))
        done = membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE);
    if (!done && serialize_without_membarrier != nullptr) done = serialize_without_membarrier();
    if (!done) {
        void* page =
            ::mmap(nullptr, page_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (page != MAP_FAILED) {
            // Present, so that the change reaches the other CPUs' TLBs.
            *static_cast<volatile char*>(page) = 1;
            ::mprotect(page, page_size, PROT_READ);
            ::munmap(page, page_size);
        }
    }
    errno = saved;
}

}  // namespace ftrace::inline v0::detail
