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

/// Where the frames of a shadow stack that were never used begin. One word: who changes it may be left at
/// any instruction, by siglongjmp(). All zero: there are none.
class fresh_frames {
    using block = arch::return_block;

public:
    // A block's first page is for the many threads that never nest deeper.
    static constexpr std::uintptr_t entries_at_first = page_size / block::entry_size;

    fresh_frames() = default;
    /// From `begin` to the end of the block's first page, or of the block.
    FTRACE_NO_INSTRUMENTATION fresh_frames(std::uintptr_t begin, bool whole_block) noexcept
        : at_(begin | (whole_block ? whole : 0)) {}

    [[nodiscard]] FTRACE_NO_INSTRUMENTATION std::uintptr_t begin() const noexcept {
        return at_ & ~whole;
    }
    [[nodiscard]] FTRACE_NO_INSTRUMENTATION bool empty() const noexcept {
        return is_at_block_end() || (at_ & (block::size - 1)) == first_page_end;
    }
    /// There is no more in this block.
    [[nodiscard]] FTRACE_NO_INSTRUMENTATION bool is_at_block_end() const noexcept {
        return begin() % block::size == 0;
    }
    /// Unless empty().
    [[nodiscard]] FTRACE_NO_INSTRUMENTATION shadow_frame* take() noexcept {
        auto* const frame = reinterpret_cast<shadow_frame*>(begin());
        __atomic_store_n(&at_, at_ + block::entry_size, __ATOMIC_RELEASE);
        return frame;
    }

private:
    static constexpr std::uintptr_t whole = 1,
                                    first_page_end =
                                        block::code_size + entries_at_first * block::entry_size;
    std::uintptr_t at_;
};

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
        size_ = capacity_ * block::size;
        if (!make_writable(base_, 0, entries_at_first) ||
            !make_trampolines(base_, 0, entries_at_first))
            return no_memory(errno);
        stub_ = stub;
        resume_ = resume;
        return {};
    }

    /// Under the process's lock.
    FTRACE_NOTRACE void tell_debuggers() const noexcept {
        tell_debugger("ftrace_return_trampoline", base_, size_,
                      arch::return_debug_section(base_, size_));
    }

    [[nodiscard]] FTRACE_STUB_INLINE bool contains(std::uintptr_t address) const noexcept {
        return address - base_ < size_;
    }

    /// How many blocks have memory.
    [[nodiscard]] FTRACE_NOTRACE std::size_t opened() const noexcept {
        return __atomic_load_n(&opened_, __ATOMIC_RELAXED);
    }

    /// More frames, which are zero, for `owner`, whose last ones are used up. False: no memory, and
    /// `frames` is as it was. Neither locks nor allocates.
    [[nodiscard]] FTRACE_NO_INSTRUMENTATION __attribute__((noinline)) bool open(
        shadow_stack* owner, fresh_frames& frames) noexcept {
        const int saved = errno;
        const bool done = frames.is_at_block_end() ? open_next(owner, frames) : open_rest(frames);
        errno = saved;
        return done;
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

    static constexpr std::uintptr_t entries_at_first = fresh_frames::entries_at_first;

    FTRACE_NO_INSTRUMENTATION bool open_next(shadow_stack* owner, fresh_frames& opened) noexcept {
        std::size_t i = __atomic_load_n(&opened_, __ATOMIC_RELAXED);
        while (i < capacity_ && !__atomic_compare_exchange_n(&opened_, &i, i + 1, true,
                                                             __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
        }
        if (i >= capacity_) return false;
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
            return false;
        }
        auto* const frames = reinterpret_cast<shadow_frame*>(at + block::code_size);
        header_of(frames) = {stub_, resume_, owner};
        opened = {reinterpret_cast<std::uintptr_t>(frames + 1), false};
        return true;
    }
    FTRACE_NO_INSTRUMENTATION static bool open_rest(fresh_frames& opened) noexcept {
        const std::uintptr_t at = block::block_of(opened.begin());
        if (!make_writable(at, entries_at_first, block::entries) ||
            !make_trampolines(at, entries_at_first, block::entries))
            return false;
        opened = {opened.begin(), true};
        return true;
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
    std::size_t capacity_ = 0;  // blocks
    std::size_t size_ = 0;      // bytes
    std::size_t opened_ = 0;
    std::uintptr_t stub_ = 0;
    std::uintptr_t resume_ = 0;
};

}  // namespace ftrace::inline v0::detail
