// The shadow stack: one thread's hooked calls.
//
// A trampoline finds its frame by its own address, never by "the top of the stack"; so a function
// returns to its caller whatever the program did with its stacks in between. The order of frames
// serves three things: how deep a call is, which calls were left without a return, and where the
// next frame comes from.
//
// On the thread's own stack calls nest: the frames are a list, innermost first. A call whose slot is
// below that of a later one was left. Calls on other stacks: other_stacks.hpp.
//
// Who writes: the thread, inside a section (thread_state.hpp), so that no signal handler of its own
// comes in between. A call of a fiber that moved to another thread ends there: who claims its frame, by
// one atomic exchange, tells of the end; the frame is collected later.
#pragma once

#include <cstddef>
#include <cstdint>
#include <ftrace/arch/return_trampoline.hpp>
#include <ftrace/core/config.hpp>
#include <ftrace/core/stack_range.hpp>
#include <ftrace/graph/call_data.hpp>
#include <ftrace/graph/frame_pool.hpp>
#include <ftrace/graph/graph_end.hpp>
#include <ftrace/graph/other_stacks.hpp>
#include <ftrace/graph/passed_frames.hpp>
#include <ftrace/graph/shadow_frame.hpp>

namespace ftrace::inline v0::detail {

/// Made in zeroed memory, and never freed: threads that come later take it over.
class shadow_stack {
public:
    /// Calls with one return address. Beyond them, a tail call takes the place of the one before, so
    /// that a loop made of tail calls does not grow.
    static constexpr unsigned max_chain = 16;

    /// A call that may be hooked.
    struct arrival {
        std::uintptr_t* slot;
        std::uintptr_t ret;  ///< what lies there: the caller, or the trampoline of a call around it
        shadow_frame* frame;  ///< the one it would use, still free; or null: no room
        shadow_frame* around;
        std::uint32_t depth;
        bool elsewhere;            ///< not on the thread's own stack
        bool begins_signal_stack;  ///< the outermost one there
    };

    /// Passes the stack to a thread. That before is gone, and with it the calls on its own stack,
    /// which are told by `tell(frame, how)`. Those on other stacks may belong to fibers that go on
    /// elsewhere: they stay until they return, or their slots are used anew.
    template <class Tell>
    FTRACE_NO_INSTRUMENTATION void hand_over(block_pool& blocks, stack_range stack,
                                             Tell tell) noexcept {
        end_thread(tell);
        end_rounds = 0;
        others_.forget_last();
        passed_.own.give_all(frames_);
        passed_.foreign.release_all();
        frames_.take_from(blocks);
        stack_ = {stack.end, stack.end};
        may_be_own_ = stack;
        hole_ = 0;
    }
    /// Of the thread's own stack nothing will return any more. It may be gone: nothing there is read.
    template <class Tell>
    FTRACE_NO_INSTRUMENTATION void end_thread(Tell tell) noexcept {
        while (shadow_frame* const frame = own_) {
            own_ = frame->around;
            if (frame->claim() != shadow_frame::unused) {
                tell(*frame, graph_end::thread_exit);
                ++unreturned_;
            }
            give_back(frame);
        }
    }

    /// Whether a call at `slot` is one on the thread's own stack, inside all that is hooked there, and
    /// nothing is to be done before it: the case that has to be fast.
    [[nodiscard]] FTRACE_STUB_INLINE bool is_nested(const std::uintptr_t* slot) const noexcept {
        const std::uintptr_t at = address(slot);
        // Of an ended call the slot is no address.
        return (own_ == nullptr || own_->slot > at) && on_own_stack(at) &&
               !passed_.own.waits_below(at) && !others_.signal_stack_is_in_use();
    }
    /// A free frame, if one is at hand; or null.
    [[nodiscard]] FTRACE_STUB_INLINE shadow_frame* free_frame() const noexcept {
        return frames_.first_free();
    }
    /// The innermost call on the thread's own stack, or null.
    [[nodiscard]] FTRACE_STUB_INLINE const shadow_frame* innermost() const noexcept { return own_; }
    FTRACE_STUB_INLINE void push_nested(shadow_frame* frame, std::uintptr_t* slot,
                                        std::uintptr_t ret, std::uint32_t depth,
                                        std::uintptr_t func, std::uint32_t ticket,
                                        void* data) noexcept {
        frames_.take_first();
        fill({slot, ret, frame, own_, depth, false, false}, func, ticket, data);
        own_ = frame;
        __atomic_store_n(slot, frame->trampoline(), __ATOMIC_RELEASE);
    }

    /// Prepares the hook of a call whose return address lies at `slot`; tells of calls that were
    /// left. To be followed by push() or cancel(), unless there is no room.
    template <class Tell>
    [[nodiscard]] FTRACE_NO_INSTRUMENTATION arrival arrive(std::uintptr_t* slot,
                                                           Tell tell) noexcept {
        const std::uintptr_t at = address(slot);
        arrival call{slot, *slot, nullptr, nullptr, 0, false, false};
        call.elsewhere = (!on_own_stack(at) && !goes_on_below(at)) || is_beside_own(at, slot);
        if (__builtin_expect(call.elsewhere, 0)) {
            if (!others_.ready()) return no_room(call);
            collect(at);
            passed_.elsewhere.give_below(at, frames_);
            call.around = others_.around(at, leaving(tell));
            if (call.around == nullptr && others_.begins_signal_stack(at)) {
                call.begins_signal_stack = true;
                call.depth = own_ == nullptr ? 0 : own_->depth + 1u;
            }
        } else {
            others_.leave_signal_stack(leaving(tell));
            close_own(at, slot, tell);
            passed_.own.give_below(at, frames_);
            call.around = own_;
        }
        if (call.around == nullptr) {
            call.frame = frames_.first_free_or_new(this);
        } else if (call.around->where() != at) {
            call.depth = call.around->depth + 1u;
            call.frame = frames_.first_free_or_new(this);
        } else {
            join_chain(call, tell);
        }
        return call.frame == nullptr ? no_room(call) : call;
    }

    /// Hooks the call. `data`: of the ops with this ticket.
    FTRACE_NO_INSTRUMENTATION void push(const arrival& call, std::uintptr_t func,
                                        std::uint32_t ticket, void* data) noexcept {
        frames_.take_first();
        fill(call, func, ticket, data);
        if (call.elsewhere)
            others_.add(call.frame, call.begins_signal_stack);
        else
            own_ = call.frame;
        __atomic_store_n(call.slot, call.frame->trampoline(), __ATOMIC_RELEASE);
    }
    FTRACE_NO_INSTRUMENTATION void cancel(const arrival& call) noexcept {
        if (*call.slot != call.ret) *call.slot = call.ret;  // it had taken another call's place
    }

    /// One more fgraph_ops for a call that is hooked. false: no room.
    [[nodiscard]] FTRACE_NO_INSTRUMENTATION bool add_note(shadow_frame& frame, std::uint32_t ticket,
                                                          void* data) noexcept {
        auto* const note = static_cast<call_note*>(data_.take(sizeof(call_note)));
        if (note == nullptr) {
            ++overruns_;
            return false;
        }
        *note = {frame.more, data, ticket};
        frame.more = note;
        return true;
    }

    /// innermost() ends by a return, and is told of once: by who calls this, which may be left before
    /// give_back_innermost(). Then the next event finds the frame.
    FTRACE_STUB_INLINE void close_innermost() noexcept {
        __atomic_store_n(&own_->slot, shadow_frame::unused, __ATOMIC_RELAXED);
    }
    FTRACE_STUB_INLINE void give_back_innermost() noexcept {
        shadow_frame* const frame = own_;
        __atomic_store_n(&own_, frame->around, __ATOMIC_RELEASE);
        give_back(frame);
    }
    /// A hooked call ends, on its own thread: those inside it were left before. Then take_out() and
    /// give_back() it.
    template <class Tell>
    FTRACE_NO_INSTRUMENTATION void close_inside(shadow_frame* frame, Tell tell) noexcept {
        if (own_ == frame) return;
        if (!frame->elsewhere) {
            others_.leave_signal_stack(leaving(tell));
            while (own_ != nullptr && own_ != frame && own_->where() <= frame->where())
                leave(own_, graph_end::longjmp, tell);
        } else {
            others_.close_inside(frame, leaving(tell));
        }
    }
    /// Takes the frame, whose slot it is or was, out of its list.
    FTRACE_NO_INSTRUMENTATION void take_out(shadow_frame* frame, std::uintptr_t slot) noexcept {
        if (own_ == frame)
            own_ = frame->around;
        else if (frame->elsewhere)
            others_.remove(frame, slot);
    }
    /// The frame and its data. Its `ret` stays: a program that returns twice finds its way as long
    /// as nobody uses it.
    FTRACE_STUB_INLINE void give_back(shadow_frame* frame) noexcept {
        if (__builtin_expect(frame->data != nullptr || frame->more != nullptr, 0))
            give_back_data(frame);
        frames_.give(frame);
    }
    /// The frame of a call at `slot`, which somebody may still read for its `ret`: an unwinder that goes
    /// on, a thread that has come to the trampoline. It is given back when the stack is seen in use
    /// above.
    FTRACE_NO_INSTRUMENTATION void give_back_later(shadow_frame* frame,
                                                   std::uintptr_t slot) noexcept {
        give_back_data(frame);
        passed_.add(frame, slot);
    }

    /// Another thread's frame, whose call an exception ended here: that thread collects it when no
    /// unwinder reads it any more.
    FTRACE_NO_INSTRUMENTATION void release_later(shadow_frame* frame) noexcept {
        passed_.foreign.add(frame);
    }

    /// The call around one at `slot` for which nothing is hooked.
    [[nodiscard]] FTRACE_NO_INSTRUMENTATION const shadow_frame* around(
        std::uintptr_t slot) noexcept {
        if (!on_own_stack(slot) && !goes_on_below(slot)) return others_.peek(slot);
        const shadow_frame* outer = own_;
        while (outer != nullptr && outer->where() < slot) outer = outer->around;
        return outer;
    }
    /// The call around a hooked one.
    [[nodiscard]] FTRACE_NO_INSTRUMENTATION const shadow_frame* around(
        const shadow_frame& frame) const noexcept {
        const std::uintptr_t slot = frame.where();
        return frame.elsewhere ? other_stacks::around(frame, slot) : frame.around;
    }

    /// Calls not hooked for want of room.
    [[nodiscard]] FTRACE_NO_INSTRUMENTATION std::uint64_t overruns() const noexcept {
        return __atomic_load_n(&overruns_, __ATOMIC_RELAXED);
    }
    /// Hooked calls that ended otherwise than by a return.
    [[nodiscard]] FTRACE_NO_INSTRUMENTATION std::uint64_t unreturned() const noexcept {
        return __atomic_load_n(&unreturned_, __ATOMIC_RELAXED);
    }
    FTRACE_NO_INSTRUMENTATION void count_unreturned() noexcept { ++unreturned_; }
    [[nodiscard]] FTRACE_NO_INSTRUMENTATION data_pool& data() noexcept { return data_; }
    [[nodiscard]] FTRACE_NO_INSTRUMENTATION thread_data& kept() noexcept { return kept_; }

    shadow_stack* next = nullptr;  ///< of all in the process
    pid_t process = 0;             ///< a child of fork() has other threads
    int end_rounds = 0;            ///< thread_end.hpp

private:
    [[nodiscard]] FTRACE_STUB_INLINE static std::uintptr_t address(const void* pointer) noexcept {
        return reinterpret_cast<std::uintptr_t>(pointer);
    }
    [[nodiscard]] FTRACE_STUB_INLINE bool on_own_stack(std::uintptr_t slot) const noexcept {
        return stack_.contains(slot);
    }
    FTRACE_STUB_INLINE static void fill(const arrival& call, std::uintptr_t func,
                                        std::uint32_t ticket, void* data) noexcept {
        shadow_frame& frame = *call.frame;
        frame.ret = call.ret;
        frame.func = func;
        frame.around = call.around;
        frame.depth = call.depth & 0x7fffffff;
        frame.elsewhere = call.elsewhere;
        frame.ticket = ticket;
        frame.data = data;
        frame.more = nullptr;
        // release, for the compiler: a handler that sees the slot sees the whole frame.
        __atomic_store_n(&frame.slot, address(call.slot), __ATOMIC_RELEASE);
    }

    // The own stack is known as far as calls have been seen on it, page by page without a hole: what is
    // said of it is a guess, and a fiber's stack may lie next to it.
    [[nodiscard]] FTRACE_NO_INSTRUMENTATION __attribute__((noinline)) bool goes_on_below(
        std::uintptr_t slot) noexcept {
        if (slot >= stack_.begin || slot < hole_) return false;
        if (!may_be_own_.contains(slot) &&
            (own_ == nullptr || own_->where() - slot > other_stacks::reach))
            return false;
        const std::uintptr_t begin = slot & ~(page_size - 1);
        for (std::uintptr_t at = begin + page_size; at < stack_.begin; at += page_size)
            if (!readable(at)) {
                hole_ = at;
                return false;
            }
        stack_.begin = begin;
        return true;
    }
    // A signal stack may be an array in the own stack.
    [[nodiscard]] FTRACE_NO_INSTRUMENTATION bool is_beside_own(
        std::uintptr_t at, const std::uintptr_t* slot) noexcept {
        if (own_ == nullptr || own_->where() > at) return false;
        if (own_->where() == at && own_->is_in(slot)) return false;
        return other_stacks::is_on_signal_stack(at);
    }

    FTRACE_NO_INSTRUMENTATION arrival no_room(arrival& call) noexcept {
        call.frame = nullptr;
        ++overruns_;
        return call;
    }

    // Leaves own_ as the call around one at `slot`, or as the one that had the slot and calls in its
    // tail.
    template <class Tell>
    FTRACE_NO_INSTRUMENTATION void close_own(std::uintptr_t at, const std::uintptr_t* slot,
                                             Tell tell) noexcept {
        while (own_ != nullptr) {
            const std::uintptr_t innermost = own_->where();
            if (__builtin_expect(innermost > at, 1)) return;
            if (innermost == at && own_->is_in(slot)) return;
            leave(own_, graph_end::longjmp, tell);
        }
    }

    template <class Tell>
    FTRACE_NO_INSTRUMENTATION __attribute__((noinline)) void join_chain(arrival& call,
                                                                        Tell tell) noexcept {
        unsigned length = 0;
        const std::uintptr_t at = address(call.slot);
        for (const shadow_frame* each = call.around; each != nullptr && each->where() == at;
             each = each->around)
            ++length;
        call.depth = call.around->depth + 1u;
        if (length >= max_chain) {
            shadow_frame* const before = call.around;
            call.ret = before->ret;
            call.depth = before->depth;
            call.around = before->around;
            leave(before, graph_end::tail_call, tell);
        }
        call.frame = frames_.first_free_or_new(this);
    }

    template <class Tell>
    FTRACE_NO_INSTRUMENTATION auto leaving(Tell tell) noexcept {
        return [this, tell](shadow_frame* frame, bool is_longjmp) FTRACE_NO_INSTRUMENTATION {
            leave(frame, is_longjmp ? graph_end::longjmp : graph_end::abandoned, tell);
        };
    }

    // Should it be wrong (a fiber whose stack lies inside this one), the true return address is back
    // in its slot: nothing is lost but the event.
    template <class Tell>
    FTRACE_NO_INSTRUMENTATION __attribute__((noinline)) void leave(shadow_frame* frame,
                                                                   graph_end how,
                                                                   Tell tell) noexcept {
        const std::uintptr_t seen = __atomic_load_n(&frame->slot, __ATOMIC_ACQUIRE);
        const std::uintptr_t slot = frame->claim();
        take_out(frame, seen);
        // Another thread is telling of it, and the frame is lost; or has told.
        if (slot == shadow_frame::unused) {
            if (frame->is_unused()) give_back(frame);
            return;
        }
        bool held = false;
        if (is_mapped(slot)) {
            auto* const word = reinterpret_cast<std::uintptr_t*>(slot);
            held = frame->is_in(word);
            if (held) *word = frame->ret;
        }
        tell(*frame, how);
        ++unreturned_;
        if (held && frame->elsewhere)
            give_back_later(frame, slot);
        else
            give_back(frame);
    }

    // A stack in use is, from here up.
    [[nodiscard]] FTRACE_NO_INSTRUMENTATION bool is_mapped(std::uintptr_t slot) const noexcept {
        const std::uintptr_t here = this_frame();
        return (slot >= here && on_own_stack(here) && on_own_stack(slot)) || readable(slot);
    }

    FTRACE_NO_INSTRUMENTATION __attribute__((noinline)) void collect(std::uintptr_t slot) noexcept {
        others_.collect(
            slot, [this](shadow_frame* frame) FTRACE_NO_INSTRUMENTATION { give_back(frame); });
    }

    FTRACE_NO_INSTRUMENTATION __attribute__((noinline)) void give_back_data(
        const shadow_frame* frame) noexcept {
        data_.give(frame->data);
        for (call_note *note = frame->more, *behind; note != nullptr; note = behind) {
            behind = note->next;
            data_.give(note->data);
            data_.give(note);
        }
    }

    stack_range stack_;
    stack_range may_be_own_;
    std::uintptr_t hole_;  // no part of the own stack is below
    shadow_frame* own_;    // the innermost call on the thread's own stack
    frame_pool frames_;
    passed_here passed_;
    std::uint64_t overruns_;
    std::uint64_t unreturned_;
    other_stacks others_;
    data_pool data_;
    thread_data kept_;
};

}  // namespace ftrace::inline v0::detail
