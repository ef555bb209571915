// Frames of calls that have ended, but whose return address may still be read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <ftrace/core/config.hpp>
#include <ftrace/graph/frame_pool.hpp>
#include <ftrace/graph/other_stacks.hpp>
#include <ftrace/graph/shadow_frame.hpp>

namespace ftrace::inline v0::detail {

/// An exception has passed them: the unwinder asks for the address after the personality routine has told
/// of the end. When the stack is in use at their slots or above, it is done. On the thread's own
/// stack the one that came last is looked at first: an exception passes slots upwards. Made in zeroed
/// memory.
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
    /// The stack is in use at `at`.
    FTRACE_NO_INSTRUMENTATION void give_below(std::uintptr_t at, frame_pool& pool) noexcept {
        while (waits_below(at)) {
            shadow_frame* const frame = first_;
            first_ = frame->behind;
            pool.give(frame);
        }
    }
    /// The same where frames of several stacks are mixed: those up to `reach` below.
    FTRACE_NO_INSTRUMENTATION void give_near(std::uintptr_t at, std::uintptr_t reach,
                                             frame_pool& pool) noexcept {
        for (shadow_frame** link = &first_; *link != nullptr;) {
            shadow_frame* const frame = *link;
            if (frame->func > at || at - frame->func > reach) {
                link = &frame->behind;
                continue;
            }
            *link = frame->behind;
            pool.give(frame);
        }
    }
    /// The stack is gone.
    FTRACE_NO_INSTRUMENTATION void give_all(frame_pool& pool) noexcept {
        give_below(~std::uintptr_t{0}, pool);
    }

private:
    shadow_frame* first_;
};

/// The same of fibers' stacks, as many as there may be: in lists by where they lie. Who goes down a
/// stack again gives back what lies there.
class passed_elsewhere {
public:
    FTRACE_NO_INSTRUMENTATION void add(shadow_frame* frame, std::uintptr_t slot) noexcept {
        list_of(slot / reach).add(frame, slot);
    }
    FTRACE_NO_INSTRUMENTATION void give_below(std::uintptr_t at, frame_pool& pool) noexcept {
        for (const std::uintptr_t key : {at / reach - 1, at / reach})
            list_of(key).give_near(at, reach, pool);
    }

private:
    static constexpr std::uintptr_t reach = other_stacks::reach, lists = 64;
    [[nodiscard]] FTRACE_NO_INSTRUMENTATION passed_frames& list_of(std::uintptr_t key) noexcept {
        return lists_[other_stacks::list_for(key, lists)];
    }
    passed_frames lists_[lists];
};

/// Frames of other threads' shadow stacks, which an exception has passed here. An unwinder goes on to
/// the next frame at once, so that only signal handlers come in between, whose exceptions pass others:
/// the last few are kept, more than handlers nest.
class passed_foreign {
public:
    FTRACE_NO_INSTRUMENTATION void add(shadow_frame* frame) noexcept {
        shadow_frame* const before = last_[next_];
        last_[next_] = frame;
        next_ = (next_ + 1) % size;
        if (before != nullptr) before->release();
    }
    FTRACE_NO_INSTRUMENTATION void release_all() noexcept {
        for (shadow_frame*& frame : last_) {
            if (frame != nullptr) frame->release();
            frame = nullptr;
        }
    }

private:
    static constexpr std::size_t size = 32;
    shadow_frame* last_[size];
    std::size_t next_;
};

/// All that one thread keeps.
struct passed_here {
    passed_frames own;           ///< of the thread's own stack
    passed_elsewhere elsewhere;  ///< of other stacks
    passed_foreign foreign;      ///< of other threads' shadow stacks

    FTRACE_NO_INSTRUMENTATION void add(shadow_frame* frame, std::uintptr_t slot) noexcept {
        if (frame->elsewhere)
            elsewhere.add(frame, slot);
        else
            own.add(frame, slot);
    }
};

}  // namespace ftrace::inline v0::detail
