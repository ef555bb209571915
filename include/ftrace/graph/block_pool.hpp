// The blocks of trampolines and frames of all threads.
#pragma once

#include <errno.h>
#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <ftrace/arch/return_unwind.hpp>
#include <ftrace/arch/signal_return.hpp>
#include <ftrace/core/config.hpp>
#include <ftrace/core/os.hpp>
#include <ftrace/core/result.hpp>
#include <ftrace/graph/shadow_frame.hpp>
#include <ftrace/patch/unwound_space.hpp>
#include <new>
#include <string>
#include <utility>

namespace ftrace::inline v0::detail {

/// Address space for the blocks of many threads, made once and never unmapped: a hooked function
/// may return at any time. A block gets memory when a thread needs it: two system calls, no lock,
/// and no unwinder to tell, since one FDE describes them all. Blocks stay with their shadow stack.
class block_pool {
    using block = arch::return_block;

public:
    static constexpr std::size_t most = std::size_t{1} << 19, fewest = 64;  // blocks

    FTRACE_NOTRACE block_pool() noexcept {}
    block_pool(const block_pool&) = delete;
    block_pool& operator=(const block_pool&) = delete;
    FTRACE_NOTRACE ~block_pool() = default;

    /// `stub`, `resume`: what trampolines and their landing pads call; `personality`: what unwinders
    /// call for them. Not under the process's lock: asks the dynamic linker. Errors: out_of_memory,
    /// permission_denied.
    FTRACE_NOTRACE result<void> make(std::uintptr_t stub, std::uintptr_t resume,
                                     std::uintptr_t personality) {
        // Shared, because mremap duplicates shared mappings only: all blocks' code is one copy.
        void* const code = ::mmap(nullptr, block::code_size, PROT_READ | PROT_WRITE,
                                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (code == MAP_FAILED) return no_memory(errno);
        arch::write_return_trampolines(static_cast<std::byte*>(code));
        if (::mprotect(code, block::code_size, PROT_READ | PROT_EXEC) != 0) {
            const int number = errno;
            ::munmap(code, block::code_size);
            return error{errc::permission_denied, "cannot make return trampolines executable: " +
                                                      why_text_is_protected(number) +
                                                      ". Exit hooks are not available"};
        }
        // The space last, since it stays whatever happens.
        auto* const section = new (std::nothrow)
            arch::return_unwind_section(personality, arch::signal_return::find());
        if (section == nullptr) {
            ::munmap(code, block::code_size);
            return no_memory(ENOMEM);
        }
        auto space =
            make_unwound_space(*section, (most + 1) * block::size, (fewest + 1) * block::size);
        if (!space) {
            delete section;
            ::munmap(code, block::code_size);
            return std::move(space).error();
        }
        base_ = (space->begin + block::size - 1) & ~(block::size - 1);
        capacity_ = (space->begin + space->size - base_) / block::size;
        if (::mremap(code, block::code_size, block::code_size, MREMAP_MAYMOVE | MREMAP_FIXED,
                     reinterpret_cast<void*>(base_)) == MAP_FAILED) {
            const int number = errno;
            ::munmap(code, block::code_size);
            return no_memory(number);
        }
        stub_ = stub;
        resume_ = resume;
        return {};
    }

    [[nodiscard]] FTRACE_STUB_INLINE bool contains(std::uintptr_t address) const noexcept {
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
    FTRACE_NOTRACE static error no_memory(int number) {
        return {errc::out_of_memory, std::string("no memory for return trampolines (") +
                                         std::strerror(number) +
                                         "): free some, or trace entries only"};
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
};

}  // namespace ftrace::inline v0::detail
