// The frames of one shadow stack that no call uses.
#pragma once

#include <ftrace/core/config.hpp>
#include <ftrace/graph/block_pool.hpp>
#include <ftrace/graph/shadow_frame.hpp>

namespace ftrace::inline v0::detail {

/// Made in zeroed memory. Used by one thread, inside a section.
class frame_pool {
public:
    FTRACE_NO_INSTRUMENTATION void take_from(block_pool& blocks) noexcept { blocks_ = &blocks; }

    [[nodiscard]] FTRACE_STUB_INLINE bool has_free() const noexcept { return free_ != nullptr; }
    /// One that was used before: has_free().
    [[nodiscard]] FTRACE_STUB_INLINE shadow_frame* take_free() noexcept {
        shadow_frame* const frame = free_;
        free_ = frame->behind;
        return frame;
    }
    /// Any; nullptr: no memory.
    [[nodiscard]] FTRACE_NO_INSTRUMENTATION shadow_frame* take(shadow_stack* owner) noexcept {
        if (has_free()) return take_free();
        if (fresh_ == fresh_end_) {
            const block_pool::new_frames more = blocks_->open(owner, fresh_end_);
            if (more.begin == nullptr) return nullptr;
            fresh_ = more.begin;
            fresh_end_ = more.end;
        }
        return fresh_++;
    }
    FTRACE_STUB_INLINE void give(shadow_frame* frame) noexcept {
        __atomic_store_n(&frame->slot, shadow_frame::unused, __ATOMIC_RELAXED);
        frame->behind = free_;
        free_ = frame;
    }

private:
    shadow_frame* free_;
    shadow_frame* fresh_;  // never used, up to fresh_end_
    shadow_frame* fresh_end_;
    block_pool* blocks_;
};

}  // namespace ftrace::inline v0::detail
