// The blocks of trampolines and frames of all threads.
#pragma once

#include <errno.h>
#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <ftrace/arch/return_unwind.hpp>
#include <ftrace/core/config.hpp>
#include <ftrace/core/os.hpp>
#include <ftrace/core/result.hpp>
#include <ftrace/graph/shadow_frame.hpp>
#include <ftrace/patch/unwinders.hpp>
#include <string>

namespace ftrace::inline v0::detail {

/// Address space for the blocks of many threads, made once and never unmapped: a hooked function
/// may return at any time. A block gets memory when a thread needs it: two system calls, no lock,
/// and no unwinder to tell, since one FDE describes them all. Blocks stay with their shadow stack.
class block_pool {
    using block = arch::return_block;

public:
    static constexpr std::size_t most = std::size_t{1} << 19, fewest = 64;  // blocks

    FTRACE_NOTRACE explicit block_pool(std::uintptr_t personality) noexcept
        : section_(personality) {}
    block_pool(const block_pool&) = delete;
    block_pool& operator=(const block_pool&) = delete;
    FTRACE_NOTRACE ~block_pool() = default;

    /// `stub`, `resume`: what trampolines and their landing pads call. Not under the process's lock, since it asks the dynamic
    /// linker. Errors: out_of_memory, permission_denied.
    FTRACE_NOTRACE result<void> make(std::uintptr_t stub, std::uintptr_t resume) {
        for (capacity_ = most; capacity_ >= fewest; capacity_ /= 2)
            if (reserve()) break;
        if (base_ == 0)
            return error{errc::out_of_memory,
                         "no address space for return trampolines: raise the limit of address "
                         "space (ulimit -v) by " +
                             std::to_string(fewest * block::size >> 20) + " MiB"};
        // Shared, because mremap duplicates shared mappings only: all blocks' code is one copy.
        void* const code =
            ::mmap(reinterpret_cast<void*>(base_), block::code_size, PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
        if (code == MAP_FAILED) {
            const int number = errno;
            give_back();
            return error{errc::out_of_memory, std::string("no memory for return trampolines (") +
                                                  std::strerror(number) +
                                                  "): free some, or trace entries only"};
        }
        arch::write_return_trampolines(static_cast<std::byte*>(code));
        if (::mprotect(code, block::code_size, PROT_READ | PROT_EXEC) != 0) {
            const int number = errno;
            give_back();
            return error{errc::permission_denied, "cannot make return trampolines executable: " +
                                                      why_text_is_protected(number) +
                                                      ". Exit hooks are not available"};
        }
        stub_ = stub;
        resume_ = resume;
        section_.describe(base_, capacity_ * block::size);
        register_unwind_section(section_);
        return {};
    }

    [[nodiscard]] FTRACE_NO_INSTRUMENTATION bool contains(std::uintptr_t address) const noexcept {
        return address - base_ < capacity_ * block::size;
    }

    /// A block whose frames are zero, for `owner`: the first of its frames, `frames_in_block` of
    /// them. nullptr: no memory. Neither locks nor allocates.
    [[nodiscard]] FTRACE_NO_INSTRUMENTATION __attribute__((noinline)) shadow_frame* open(
        shadow_stack* owner) noexcept {
        const int saved = errno;
        shadow_frame* const frames = open_next(owner);
        errno = saved;
        return frames;
    }
    static constexpr std::size_t frames_in_block = block::entries - 1;

private:
    // Aligned address space without memory behind it.
    FTRACE_NOTRACE bool reserve() noexcept {
        const std::size_t size = (capacity_ + 1) * block::size;
        void* const memory =
            ::mmap(nullptr, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED) return false;
        const auto begin = reinterpret_cast<std::uintptr_t>(memory);
        base_ = (begin + block::size - 1) & ~(block::size - 1);
        const std::uintptr_t end = base_ + capacity_ * block::size;
        if (base_ != begin) ::munmap(memory, base_ - begin);
        if (end != begin + size) ::munmap(reinterpret_cast<void*>(end), begin + size - end);
        return true;
    }

    FTRACE_NOTRACE void give_back() noexcept {
        ::munmap(reinterpret_cast<void*>(base_), capacity_ * block::size);
    }

    FTRACE_NO_INSTRUMENTATION shadow_frame* open_next(shadow_stack* owner) noexcept {
        std::size_t i = __atomic_load_n(&opened_, __ATOMIC_RELAXED);
        while (i < capacity_ && !__atomic_compare_exchange_n(&opened_, &i, i + 1, true,
                                                             __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
        }
        if (i >= capacity_) return nullptr;
        const std::uintptr_t at = base_ + i * block::size;
        // An old size of 0 duplicates a shared mapping (mremap(2)). The first block has the code.
        const bool made = (i == 0 || ::mremap(reinterpret_cast<void*>(base_), 0, block::code_size,
                                              MREMAP_MAYMOVE | MREMAP_FIXED,
                                              reinterpret_cast<void*>(at)) != MAP_FAILED) &&
                          ::mmap(reinterpret_cast<void*>(at + block::code_size), block::code_size,
                                 PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
                                 -1, 0) != MAP_FAILED;
        if (!made) return nullptr;
        auto* const frames = reinterpret_cast<shadow_frame*>(at + block::code_size);
        header_of(frames) = {stub_, resume_, owner};
        return frames + 1;
    }

    std::uintptr_t base_ = 0;
    std::size_t capacity_ = 0;
    std::size_t opened_ = 0;
    std::uintptr_t stub_ = 0;
    std::uintptr_t resume_ = 0;
    arch::return_unwind_section section_;
};

}  // namespace ftrace::inline v0::detail
