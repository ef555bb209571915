// Frames of calls that have ended, but whose return address may still be read.
#pragma once

#include <cstdint>
#include <ftrace/core/config.hpp>
#include <ftrace/graph/frame_pool.hpp>
#include <ftrace/graph/shadow_frame.hpp>

namespace ftrace::inline v0::detail {

/// An exception has passed them: the unwinder asks for the address after the personality routine has told
/// of the end. When the stack is in use at their slots or above, it is done. The one that came last
/// is looked at first: an exception passes slots upwards. Made in zeroed memory.
class passed_frames {
public:
    FTRACE_NO_INSTRUMENTATION void add(shadow_frame* frame, std::uintptr_t slot) noexcept {
        frame->func = slot;  // nobody asks for the function any more
        frame->behind = first_;
        first_ = frame;
    }
    /// Whether give_below() would give back some.
    [[nodiscard]] FTRACE_STUB_INLINE bool waits_below(std::uintptr_t at) const noexcept {
        return first_ != nullptr && first_->func <= at;
    }
    /// The stack is in use at `at`: gives back frames up to `reach` below.
    FTRACE_NO_INSTRUMENTATION void give_below(std::uintptr_t at, std::uintptr_t reach,
                                              frame_pool& pool) noexcept {
        while (first_ != nullptr && first_->func <= at && at - first_->func <= reach) {
            shadow_frame* const frame = first_;
            first_ = frame->behind;
            pool.give(frame);
        }
    }
    /// The stack is gone.
    FTRACE_NO_INSTRUMENTATION void give_all(frame_pool& pool) noexcept {
        give_below(~std::uintptr_t{0}, ~std::uintptr_t{0}, pool);
    }

private:
    shadow_frame* first_;
};

}  // namespace ftrace::inline v0::detail
