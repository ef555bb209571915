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
#include <ftrace/patch/debugger.hpp>
#include <ftrace/patch/unwound_space.hpp>
#include <new>
#include <string>
#include <utility>

namespace ftrace::inline v0::detail {

/// Address space for the blocks of many threads, made once and never unmapped: a hooked function
/// may return at any time. A block gets memory when a thread needs it: a few system calls, no lock,
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
        // The space stays whatever happens: first whether it would be of use.
        if (auto possible = code_can_be_made(); !possible) return possible;
        section_ = new (std::nothrow)
            arch::return_unwind_section(personality, arch::signal_return::find());
        if (section_ == nullptr) return no_memory(ENOMEM);
        auto space =
            make_unwound_space(*section_, (most + 1) * block::size, (fewest + 1) * block::size);
        if (!space) {
            delete section_;
            return std::move(space).error();
        }
        base_ = (space->begin + block::size - 1) & ~(block::size - 1);
        capacity_ = (space->begin + space->size - base_) / block::size;
        if (!make_writable(base_, 0, entries_at_first) ||
            !make_trampolines(base_, 0, entries_at_first))
            return no_memory(errno);
        stub_ = stub;
        resume_ = resume;
        return {};
    }

    /// Under the process's lock.
    FTRACE_NOTRACE void tell_debuggers() const noexcept {
        const std::size_t size = capacity_ * block::size;
        tell_debugger("ftrace_return_trampoline", base_, size,
                      arch::return_debug_section(base_, size));
    }

    [[nodiscard]] FTRACE_STUB_INLINE bool contains(std::uintptr_t address) const noexcept {
        return address - base_ < capacity_ * block::size;
    }

    /// How many blocks have memory.
    [[nodiscard]] FTRACE_NOTRACE std::size_t opened() const noexcept {
        return __atomic_load_n(&opened_, __ATOMIC_RELAXED);
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
    FTRACE_NOTRACE static result<void> code_can_be_made() {
        void* const page =
            ::mmap(nullptr, page_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (page == MAP_FAILED) return no_memory(errno);
        const int number = ::mprotect(page, page_size, PROT_READ | PROT_EXEC) == 0 ? 0 : errno;
        ::munmap(page, page_size);
        if (number == 0) return {};
        return error{errc::permission_denied,
                     "cannot make return trampolines executable: " + why_text_is_protected(number) +
                         ". Exit hooks are not available"};
    }
    FTRACE_NOTRACE static error no_memory(int number) {
        return {errc::out_of_memory, std::string("no memory for return trampolines (") +
                                         std::strerror(number) +
                                         "): free some, or trace entries only"};
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
                       PROT_READ | PROT_WRITE) != 0) {
            // The next try begins there, unless others have gone on meanwhile.
            std::size_t behind = i + 1;
            __atomic_compare_exchange_n(&opened_, &behind, i, false, __ATOMIC_RELAXED,
                                        __ATOMIC_RELAXED);
            return {nullptr, nullptr};
        }
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
    // Writes them. What follows becomes executable too, so that a block's code is one mapping to the
    // system.
    FTRACE_NO_INSTRUMENTATION static bool make_trampolines(std::uintptr_t at, std::uintptr_t first,
                                                           std::uintptr_t end) noexcept {
        arch::write_return_trampolines(reinterpret_cast<std::byte*>(at), first, end);
        const std::uintptr_t begin = first * block::entry_size;
        return ::mprotect(reinterpret_cast<void*>(at + begin), block::code_size - begin,
                          PROT_READ | PROT_EXEC) == 0;
    }

    arch::return_unwind_section* section_ = nullptr;  // unwinders may have been given it
    std::uintptr_t base_ = 0;
    std::size_t capacity_ = 0;
    std::size_t opened_ = 0;
    std::uintptr_t stub_ = 0;
    std::uintptr_t resume_ = 0;
};

}  // namespace ftrace::inline v0::detail
