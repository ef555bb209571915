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
#include <ftrace/patch/debugger.hpp>
#include <ftrace/patch/unwinders.hpp>
#include <string>

namespace ftrace::inline v0::detail {

/// Address space for the blocks of many threads, made once and never unmapped: a hooked function
/// may return at any time. A block gets memory when a thread needs it: a few system calls, no lock,
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
        if (!make_writable(base_, 0, entries_at_first)) {
            const int number = errno;
            give_back();
            return error{errc::out_of_memory, std::string("no memory for return trampolines (") +
                                                  std::strerror(number) +
                                                  "): free some, or trace entries only"};
        }
        if (!make_trampolines(base_, 0, entries_at_first)) {
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

    /// Under the process's lock.
    FTRACE_NOTRACE void tell_debuggers() const noexcept {
        const std::size_t size = capacity_ * block::size;
        tell_debugger("ftrace_return_trampoline", base_, size,
                      arch::return_debug_section(base_, size));
    }

    [[nodiscard]] FTRACE_NO_INSTRUMENTATION bool contains(std::uintptr_t address) const noexcept {
        return address - base_ < capacity_ * block::size;
    }

    struct new_frames {
        shadow_frame *begin, *end;
    };
    /// Frames that are zero, for `owner`: those that follow `end`, where the last ones for this owner
    /// ended, in the same block, or a new block's (also if null). Nothing: no memory. Neither locks nor
    /// allocates.
    [[nodiscard]] FTRACE_NO_INSTRUMENTATION __attribute__((noinline)) new_frames
    open(shadow_stack* owner, const shadow_frame* end) noexcept {
        const int saved = errno;
        const auto in_block = reinterpret_cast<std::uintptr_t>(end) % block::size;
        const new_frames frames = in_block == 0 ? open_next(owner) : open_rest(end, in_block);
        errno = saved;
        return frames;
    }

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

    // A block's first page is for the many threads that never nest deeper.
    static constexpr std::uintptr_t entries_at_first = page_size / block::entry_size;

    FTRACE_NO_INSTRUMENTATION new_frames open_next(shadow_stack* owner) noexcept {
        std::size_t i = __atomic_load_n(&opened_, __ATOMIC_RELAXED);
        while (i < capacity_ && !__atomic_compare_exchange_n(&opened_, &i, i + 1, true,
                                                             __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
        }
        if (i >= capacity_) return {nullptr, nullptr};
        const std::uintptr_t at = base_ + i * block::size;
        // The first block has its code.
        if ((i != 0 && !(make_writable(at, 0, entries_at_first) &&
                         make_trampolines(at, 0, entries_at_first))) ||
            ::mprotect(reinterpret_cast<void*>(at + block::code_size), block::code_size,
                       PROT_READ | PROT_WRITE) != 0)
            return {nullptr, nullptr};
        auto* const frames = reinterpret_cast<shadow_frame*>(at + block::code_size);
        header_of(frames) = {stub_, resume_, owner};
        return {frames + 1, frames + entries_at_first};
    }
    FTRACE_NO_INSTRUMENTATION static new_frames open_rest(const shadow_frame* end,
                                                          std::uintptr_t in_block) noexcept {
        const auto address = reinterpret_cast<std::uintptr_t>(end);
        const std::uintptr_t at = address - in_block;
        const std::uintptr_t first = (in_block - block::code_size) / block::entry_size;
        if (!make_writable(at, first, block::entries) ||
            !make_trampolines(at, first, block::entries))
            return {nullptr, nullptr};
        return {reinterpret_cast<shadow_frame*>(address),
                reinterpret_cast<shadow_frame*>(at + block::size)};
    }

    // Trampolines [first, end) of the block at `at`. Each block has code of its own, although it is the
    // same in all: a debugger can set a breakpoint in private memory only (to finish a hooked function it
    // needs one), and in memory that blocks share others would run into it.
    FTRACE_NO_INSTRUMENTATION static bool make_writable(std::uintptr_t at, std::uintptr_t first,
                                                        std::uintptr_t end) noexcept {
        return ::mprotect(reinterpret_cast<void*>(at + first * block::entry_size),
                          (end - first) * block::entry_size, PROT_READ | PROT_WRITE) == 0;
    }
    // Writes them. What follows becomes executable too, so that a block's code is one mapping to the system.
    FTRACE_NO_INSTRUMENTATION static bool make_trampolines(std::uintptr_t at, std::uintptr_t first,
                                                           std::uintptr_t end) noexcept {
        arch::write_return_trampolines(reinterpret_cast<std::byte*>(at), first, end);
        const std::uintptr_t begin = first * block::entry_size;
        return ::mprotect(reinterpret_cast<void*>(at + begin), block::code_size - begin,
                          PROT_READ | PROT_EXEC) == 0;
    }

    std::uintptr_t base_ = 0;
    std::size_t capacity_ = 0;
    std::size_t opened_ = 0;
    std::uintptr_t stub_ = 0;
    std::uintptr_t resume_ = 0;
    arch::return_unwind_section section_;
};

}  // namespace ftrace::inline v0::detail
