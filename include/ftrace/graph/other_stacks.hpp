// Hooked calls on stacks that are not their thread's own: of fibers, and of signal handlers.
//
// Nobody tells where such a stack begins or ends, or when a thread goes from one to another. What is
// known of a call is the slot of its return address. The call around it is the one with the next
// higher slot, if it is not farther than `reach`: stacks are larger than that, and frames of single
// functions smaller. A function with a larger frame makes the calls inside it look like those of
// another stack: their depth begins at 0.
//
// Calls are found by their slots, in a table of lists; and the one that the thread entered last, or
// came back to, is remembered. If a call comes from above that one and the call around it is around
// that one as well, then all in between were left by longjmp. Calls of stacks that were given up are
// noticed when a slot is used again.
#pragma once

#include <errno.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <ftrace/core/config.hpp>
#include <ftrace/core/mapped_memory.hpp>
#include <ftrace/core/os.hpp>
#include <ftrace/core/stack_range.hpp>
#include <ftrace/graph/shadow_frame.hpp>

namespace ftrace::inline v0::detail {

class other_stacks {
public:
    static constexpr std::uintptr_t reach = std::uintptr_t{16} << 10;

    /// The call around one whose return address lies at `slot`, or the one that had this slot and
    /// now calls in its tail; null: none. What was left behind goes to `leave(frame, is_longjmp)`,
    /// innermost first, which has to remove() it.
    template <class Leave>
    FTRACE_NO_INSTRUMENTATION shadow_frame* around(std::uintptr_t slot, Leave leave) noexcept {
        if (shadow_frame* const near = from_last(slot, leave)) return near;
        while (shadow_frame* const found = nearest(slot)) {
            if (is_held(found, slot)) return found;
            const shadow_frame* const outer = around(*found, found->where());
            leave_inside(found, outer != nullptr && is_held(outer, slot), leave);
        }
        leave_below(slot, leave);
        return nullptr;
    }
    /// The same without a change.
    [[nodiscard]] FTRACE_NO_INSTRUMENTATION const shadow_frame* peek(
        std::uintptr_t slot) const noexcept {
        return lists_ == nullptr ? nullptr : nearest(slot);
    }

    /// The call around a frame at `slot`, unless the link is to one that has ended since.
    [[nodiscard]] FTRACE_NO_INSTRUMENTATION static shadow_frame* around(
        const shadow_frame& frame, std::uintptr_t slot) noexcept {
        shadow_frame* const outer = frame.around;
        if (outer == nullptr || outer->depth + 1u != frame.depth) return nullptr;
        return outer->where() - slot <= reach ? outer : nullptr;
    }

    /// Which of `count` lists keeps frames that lie at key_of() their slots. Stacks are often laid out at
    /// distances of powers of two.
    [[nodiscard]] FTRACE_NO_INSTRUMENTATION static std::uintptr_t list_for(
        std::uintptr_t key, std::uintptr_t count) noexcept {
        return (key ^ key / count ^ key / (count * count)) % count;
    }

    /// Another thread has the lists now.
    FTRACE_NO_INSTRUMENTATION void forget_last() noexcept {
        last_ = on_signal_stack_ = nullptr;
        no_signal_stack_ = 0;
    }

    /// Whether a call on the thread's signal stack has not ended.
    [[nodiscard]] FTRACE_STUB_INLINE bool signal_stack_is_in_use() const noexcept {
        return on_signal_stack_ != nullptr;
    }

    /// false: no memory.
    [[nodiscard]] FTRACE_NO_INSTRUMENTATION bool ready() noexcept {
        if (lists_ == nullptr)
            lists_ = static_cast<shadow_frame**>(map_memory(lists * sizeof(shadow_frame*)));
        return lists_ != nullptr;
    }

    /// Whether `slot` is on the thread's signal stack, and that is in use.
    [[nodiscard]] FTRACE_NO_INSTRUMENTATION static bool is_on_signal_stack(
        std::uintptr_t slot) noexcept {
        const int saved = errno;
        stack_t now{};
        const bool found = ::syscall(SYS_sigaltstack, nullptr, &now) == 0 &&
                           (now.ss_flags & SS_ONSTACK) != 0 &&
                           slot - reinterpret_cast<std::uintptr_t>(now.ss_sp) < now.ss_size;
        errno = saved;
        return found;
    }
    /// The same for a call that has none around it. Fibers' first hooked calls come and go: asked
    /// once for one place.
    [[nodiscard]] FTRACE_NO_INSTRUMENTATION bool begins_signal_stack(std::uintptr_t slot) noexcept {
        if (slot == no_signal_stack_) return false;
        if (is_on_signal_stack(slot)) return true;
        no_signal_stack_ = slot;
        return false;
    }

    FTRACE_NO_INSTRUMENTATION void add(shadow_frame* frame, bool begins_signal_stack) noexcept {
        shadow_frame*& list = list_of(key_of(frame->slot));
        frame->behind = list;
        list = frame;
        last_ = frame;
        if (__builtin_expect(begins_signal_stack, 0)) on_signal_stack_ = frame;
    }
    FTRACE_NO_INSTRUMENTATION void remove(shadow_frame* frame, std::uintptr_t slot) noexcept {
        for (shadow_frame** link = &list_of(key_of(slot)); *link != nullptr;
             link = &(*link)->behind) {
            if (*link != frame) continue;
            *link = frame->behind;
            break;
        }
        if (last_ == frame) last_ = around(*frame, slot);
        if (on_signal_stack_ == frame) on_signal_stack_ = nullptr;
    }

    /// Before a call ends: what is still inside it was left by longjmp.
    template <class Leave>
    FTRACE_NO_INSTRUMENTATION void close_inside(shadow_frame* frame, Leave leave) noexcept {
        if (last_ == frame) return;
        const std::uintptr_t slot = frame->where();
        if (last_ != nullptr && is_inside(last_, slot)) {
            while (last_ != nullptr && last_ != frame && is_inside(last_, slot)) leave(last_, true);
        } else {
            each_inside(frame, true, leave);
        }
        last_ = frame;
    }

    /// The thread goes on on its own stack: a signal handler on the alternate one did not return.
    template <class Leave>
    FTRACE_NO_INSTRUMENTATION void leave_signal_stack(Leave leave) noexcept {
        if (__builtin_expect(on_signal_stack_ != nullptr, 0))
            leave_inside(on_signal_stack_, true, leave);
    }

    /// Frames whose calls ended on other threads, of the list that `slot` belongs to.
    template <class Free>
    FTRACE_NO_INSTRUMENTATION void collect(std::uintptr_t slot, Free free) noexcept {
        for (shadow_frame** link = &list_of(key_of(slot)); *link != nullptr;) {
            shadow_frame* const frame = *link;
            if (!frame->is_unused()) {
                link = &frame->behind;
                continue;
            }
            *link = frame->behind;
            if (last_ == frame) last_ = nullptr;
            if (on_signal_stack_ == frame) on_signal_stack_ = nullptr;
            free(frame);
        }
    }

private:
    static constexpr std::size_t lists = 512;

    [[nodiscard]] FTRACE_NO_INSTRUMENTATION static std::uintptr_t key_of(
        std::uintptr_t slot) noexcept {
        return slot / reach;
    }
    [[nodiscard]] FTRACE_NO_INSTRUMENTATION shadow_frame*& list_of(
        std::uintptr_t key) const noexcept {
        return lists_[list_for(key, lists)];
    }
    [[nodiscard]] FTRACE_NO_INSTRUMENTATION static bool holds(const shadow_frame* frame,
                                                              std::uintptr_t slot) noexcept {
        return frame->is_in(reinterpret_cast<const std::uintptr_t*>(slot));
    }

    [[nodiscard]] FTRACE_NO_INSTRUMENTATION static bool is_inside(const shadow_frame* frame,
                                                                  std::uintptr_t slot) noexcept {
        while (frame != nullptr && frame->where() < slot) frame = around(*frame, frame->where());
        return frame != nullptr && frame->where() == slot;
    }

    template <class Leave>
    FTRACE_NO_INSTRUMENTATION shadow_frame* from_last(std::uintptr_t slot, Leave leave) noexcept {
        if (last_ == nullptr) return nullptr;
        shadow_frame* outer = last_;
        while (outer != nullptr && outer->where() < slot) outer = around(*outer, outer->where());
        if (outer == nullptr || outer->where() - slot > reach) return nullptr;
        // Where the outermost call was, another one begins: the fiber was dropped.
        const bool dropped = outer->where() == slot && !holds(outer, slot) && is_outermost(outer);
        while (last_ != nullptr && last_ != outer) leave(last_, !dropped);
        while (last_ != nullptr && last_->where() == slot && !holds(last_, slot))
            leave(last_, !dropped);
        return last_ != nullptr && last_->where() - slot <= reach ? last_ : nullptr;
    }

    // Whether nothing is around a call but others with its return address.
    [[nodiscard]] FTRACE_NO_INSTRUMENTATION static bool is_outermost(
        const shadow_frame* frame) noexcept {
        const std::uintptr_t slot = frame->where();
        while (frame != nullptr && frame->where() == slot) frame = around(*frame, slot);
        return frame == nullptr;
    }

    // Whether a frame's trampoline is still in its slot, which is above `now`, where the thread is.
    [[nodiscard]] FTRACE_NO_INSTRUMENTATION static bool is_held(const shadow_frame* frame,
                                                                std::uintptr_t now) noexcept {
        const std::uintptr_t slot = frame->where();
        if (slot == shadow_frame::unused) return false;
        // The stack may be gone. The page in use is not.
        if ((slot ^ now) >= page_size && !readable(slot)) return false;
        return holds(frame, slot);
    }

    // A call that has none around it begins a stack, near its end: what is just below it was there
    // before.
    template <class Leave>
    FTRACE_NO_INSTRUMENTATION void leave_below(std::uintptr_t slot, Leave leave) noexcept {
        constexpr std::uintptr_t just_below = 4096;
        for (std::uintptr_t key = key_of(slot - just_below); key <= key_of(slot); ++key)
            while (shadow_frame* const found = highest_in(key, slot - just_below, slot))
                leave_inside(found, false, leave);
    }
    // Of a list, the outermost frame in [begin, end).
    [[nodiscard]] FTRACE_NO_INSTRUMENTATION shadow_frame* highest_in(
        std::uintptr_t key, std::uintptr_t begin, std::uintptr_t end) const noexcept {
        shadow_frame* found = nullptr;
        for (shadow_frame* frame = list_of(key); frame != nullptr; frame = frame->behind) {
            const std::uintptr_t at = frame->where();
            if (at - begin < end - begin && (found == nullptr || at >= found->where()))
                found = frame;
        }
        return found;
    }

    // Of those with one slot the innermost: it came last, and lists begin with those.
    [[nodiscard]] FTRACE_NO_INSTRUMENTATION shadow_frame* nearest(
        std::uintptr_t slot) const noexcept {
        shadow_frame* found = nullptr;
        for (std::uintptr_t key = key_of(slot); key <= key_of(slot) + 1 && found == nullptr; ++key)
            for (shadow_frame* frame = list_of(key); frame != nullptr; frame = frame->behind) {
                const std::uintptr_t at = frame->where();
                if (at != shadow_frame::unused && at - slot <= reach &&
                    (found == nullptr || at < found->where()))
                    found = frame;
            }
        return found;
    }

    template <class Leave>
    FTRACE_NO_INSTRUMENTATION void leave_inside(shadow_frame* outer, bool is_longjmp,
                                                Leave leave) noexcept {
        each_inside(outer, is_longjmp, leave);
        leave(outer, is_longjmp);
    }
    // Each is in the same list as one around it, or in the next lower one.
    template <class Leave>
    FTRACE_NO_INSTRUMENTATION void each_inside(const shadow_frame* outer, bool is_longjmp,
                                               Leave leave) noexcept {
        const std::uintptr_t slot = outer->where();
        std::uintptr_t lowest = key_of(slot);
        while (has_inside(lowest - 1, outer, slot)) --lowest;
        for (std::uintptr_t key = lowest; key <= key_of(slot); ++key)
            while (shadow_frame* const inner = deepest_inside(key, outer, slot))
                leave(inner, is_longjmp);
    }
    FTRACE_NO_INSTRUMENTATION bool has_inside(std::uintptr_t key, const shadow_frame* outer,
                                              std::uintptr_t slot) const noexcept {
        return deepest_inside(key, outer, slot) != nullptr;
    }
    FTRACE_NO_INSTRUMENTATION shadow_frame* deepest_inside(std::uintptr_t key,
                                                           const shadow_frame* outer,
                                                           std::uintptr_t slot) const noexcept {
        shadow_frame* found = nullptr;
        for (shadow_frame* frame = list_of(key); frame != nullptr; frame = frame->behind)
            if (frame != outer && key_of(frame->where()) == key && frame->where() <= slot &&
                (found == nullptr || frame->depth > found->depth) && leads_to(frame, outer))
                found = frame;
        return found;
    }
    FTRACE_NO_INSTRUMENTATION static bool leads_to(const shadow_frame* frame,
                                                   const shadow_frame* outer) noexcept {
        while (frame != nullptr && frame != outer) frame = around(*frame, frame->where());
        return frame == outer;
    }

    shadow_frame* last_;
    shadow_frame* on_signal_stack_;  // the outermost call there
    std::uintptr_t no_signal_stack_;
    shadow_frame** lists_;
};

}  // namespace ftrace::inline v0::detail
