// The frames of one shadow stack that no call uses.
#pragma once

#include <cstddef>
#include <ftrace/core/config.hpp>
#include <ftrace/graph/block_pool.hpp>
#include <ftrace/graph/shadow_frame.hpp>

namespace ftrace::inline v0::detail {

/// Made in zeroed memory. Used by one thread, inside a section.
class frame_pool {
public:
    FTRACE_NO_INSTRUMENTATION void take_from(block_pool& blocks) noexcept { blocks_ = &blocks; }

    /// The frame that was given back last, which stays free; or null.
    [[nodiscard]] FTRACE_STUB_INLINE shadow_frame* first_free() const noexcept { return free_; }
    /// The same; one that was never used, if there is none. nullptr: no memory.
    [[nodiscard]] FTRACE_NO_INSTRUMENTATION shadow_frame* first_free_or_new(
        shadow_stack* owner) noexcept {
        if (free_ == nullptr && !(fresh_.empty() && !blocks_->open(owner, fresh_)))
            give(fresh_.take());
        return free_;
    }
    /// Takes first_free().
    FTRACE_STUB_INLINE void take_first() noexcept { free_ = free_->behind; }
    FTRACE_STUB_INLINE void give(shadow_frame* frame) noexcept {
        __atomic_store_n(&frame->slot, shadow_frame::unused, __ATOMIC_RELAXED);
        frame->behind = free_;
        __atomic_store_n(&free_, frame, __ATOMIC_RELEASE);
    }

private:
    shadow_frame* free_;
    fresh_frames fresh_;
    block_pool* blocks_;
};

}  // namespace ftrace::inline v0::detail
