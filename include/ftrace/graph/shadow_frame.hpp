// One hooked call: its true return address, and who wants to know of its end.
#pragma once

#include <cstddef>
#include <cstdint>
#include <ftrace/arch/return_trampoline.hpp>
#include <ftrace/core/config.hpp>

namespace ftrace::inline v0::detail {

/// One more fgraph_ops that wants the end of a call.
struct call_note {
    call_note* next;  ///< of those that came before it
    void* data;       ///< of this call and this ops, or null
    std::uint32_t ticket;
};

/// The trampoline that belongs to a frame is in its slot: see return_trampoline.hpp.
struct shadow_frame {
    std::uintptr_t ret;   ///< the true return address; first, since trampoline and unwinder read it
    std::uintptr_t slot;  ///< where it was, or `unused`
    std::uintptr_t func;  ///< the site
    shadow_frame* around;         ///< the hooked call around this one on the same stack, or null
    shadow_frame* behind;         ///< the next one in a list: of free frames, or of other_stacks
    std::uint32_t depth : 31;     ///< calls around this one
    std::uint32_t elsewhere : 1;  ///< not in the list of the thread's own stack
    std::uint32_t ticket;         ///< of the fgraph_ops that hooked the call: graph_table.hpp
    void* data;                   ///< of this call and that ops, or null
    call_note* more;              ///< other fgraph_ops, the last one first

    static constexpr std::uintptr_t unused = 0;
    /// The call has ended, but another thread still looks at the frame.
    static constexpr std::uintptr_t claimed = 1;

    /// The slot of a call that has not ended, else `unused`. Another thread may end a call: a fiber's,
    /// that moved there.
    [[nodiscard]] FTRACE_STUB_INLINE std::uintptr_t where() const noexcept {
        const std::uintptr_t at = __atomic_load_n(&slot, __ATOMIC_ACQUIRE);
        return at == claimed ? unused : at;
    }
    /// Nobody else looks at the frame of a call that has ended.
    [[nodiscard]] FTRACE_STUB_INLINE bool is_unused() const noexcept {
        return __atomic_load_n(&slot, __ATOMIC_ACQUIRE) == unused;
    }
    /// The slot, for the one who may tell of the end; `unused`: somebody else does, or did.
    [[nodiscard]] FTRACE_NO_INSTRUMENTATION std::uintptr_t claim() noexcept {
        std::uintptr_t at = where();
        while (at != unused && !__atomic_compare_exchange_n(&slot, &at, claimed, false,
                                                            __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
            if (at == claimed) return unused;
        return at;
    }
    FTRACE_NO_INSTRUMENTATION void release() noexcept {
        __atomic_store_n(&slot, unused, __ATOMIC_RELEASE);
    }
    [[nodiscard]] FTRACE_STUB_INLINE std::uintptr_t trampoline() const noexcept {
        return arch::return_block::trampoline(reinterpret_cast<std::uintptr_t>(this));
    }
    /// Whether the word at `slot` is this frame's trampoline.
    [[nodiscard]] FTRACE_STUB_INLINE bool is_in(const std::uintptr_t* word) const noexcept {
        return *word == trampoline();
    }
};
static_assert(sizeof(shadow_frame) == arch::return_block::entry_size);
static_assert(offsetof(shadow_frame, ret) == 0);

class shadow_stack;

/// What stands in the place of a block's first frame.
struct block_header {
    std::uintptr_t stub;    ///< first, since trampolines call it
    std::uintptr_t resume;  ///< second, since landing pads call it
    shadow_stack* owner;    ///< whose frames these are
};
static_assert(sizeof(block_header) <= sizeof(shadow_frame));
static_assert(offsetof(block_header, stub) == 0);
static_assert(offsetof(block_header, resume) == sizeof(std::uint64_t));

[[nodiscard]] FTRACE_STUB_INLINE shadow_frame* frame_of(std::uintptr_t code) noexcept {
    return reinterpret_cast<shadow_frame*>(arch::return_block::frame(code));
}
[[nodiscard]] FTRACE_STUB_INLINE block_header& header_of(const shadow_frame* frame) noexcept {
    using block = arch::return_block;
    return *reinterpret_cast<block_header*>(
        block::block_of(reinterpret_cast<std::uintptr_t>(frame)) + block::code_size);
}

}  // namespace ftrace::inline v0::detail
