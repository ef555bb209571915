// The shadow stack: one thread's replaced return addresses.
//
// A trampoline finds its frame by its own address, never by "the top of the stack"; so a function
// returns to its caller whatever the program did with its stacks in between. The order of frames
// serves two things only: where the next one goes, and how deep it is.
//
// Who writes: the thread itself and signal handlers on it, which nest. A fiber that moved to
// another thread frees its frames there, by one atomic store. So a frame is taken by an
// instruction that no handler can split, and `top_` is a hint where to look for a free one.
//
// A frame that is left by an exception or longjmp never comes back. Frames below the stack pointer
// of a later call, on the same stack, are taken for such ones. Should that be wrong (a fiber whose
// stack lies inside this one), the true return address is back in its slot: nothing is lost but
// the exit event.
#pragma once

#include <cstddef>
#include <cstdint>
#include <ftrace/arch/return_stub.hpp>
#include <ftrace/arch/return_unwind.hpp>
#include <ftrace/core/config.hpp>
#include <ftrace/core/stack_range.hpp>

namespace ftrace::inline v0::detail {

struct shadow_frame {
    std::uintptr_t ret;   ///< the true return address; first, since trampoline and unwinder read it
    std::uintptr_t slot;  ///< where it was, or `unused` or `claimed`
    std::uintptr_t func;  ///< the site
    std::uint32_t owner;  ///< who wants the return: graph_state.hpp
    std::uint16_t depth;  ///< calls around this one
    std::uint16_t behind;  ///< the next frame with this slot (tail call, second fgraph_ops), or 0

    static constexpr std::uintptr_t unused = 0;
    static constexpr std::uintptr_t claimed = 1;
};
static_assert(sizeof(shadow_frame) == arch::return_region::entry_size);
static_assert(offsetof(shadow_frame, ret) == 0);

class shadow_stack {
    using region = arch::return_region;

public:
    /// Frames with one slot. Beyond them, a tail call takes the place of the one before, so that
    /// a loop made of tail calls does not grow.
    static constexpr unsigned max_chain = 16;

    /// A call that may be hooked.
    struct arrival {
        std::uintptr_t* slot;
        std::uintptr_t ret;   ///< the true return address
        std::uint32_t frame;  ///< the frame it would use, or 0: no room
        std::uint16_t tail;   ///< the frame that has this slot already, or 0
        std::uint16_t depth;
    };

    [[nodiscard]] FTRACE_NO_INSTRUMENTATION static shadow_stack& of(std::uintptr_t code) noexcept {
        return *reinterpret_cast<shadow_stack*>(region::region_of(code) + region::code_size);
    }

    /// Passes the stack to another thread, whose slot and generation of it these are. The thread
    /// before is gone, and with it the frames on its own stack. Those on other stacks may belong to
    /// fibers that go on elsewhere: they stay until they return.
    FTRACE_NO_INSTRUMENTATION void hand_over(std::uintptr_t stub, const void* owner,
                                             std::uint64_t generation, stack_range stack) noexcept {
        std::uint32_t used = first;
        for (std::uint32_t i = first; i < header_.used; ++i) {
            const std::uintptr_t slot = frames_[i].slot;
            if (slot <= shadow_frame::claimed || header_.stack.contains(slot) || !is_hooked(i))
                release(i);
            else
                used = i + 1;
        }
        header_ = {stub, owner, generation, stack, first, used, header_.overruns, header_.lost};
    }
    [[nodiscard]] FTRACE_NO_INSTRUMENTATION bool belongs_to(
        const void* owner, std::uint64_t generation) const noexcept {
        return header_.owner == owner && header_.generation == generation;
    }

    /// Prepares the hook of a call whose return address lies at `slot` and is truly `ret`; forgets
    /// frames that were left behind. To be followed by push() or cancel(), unless there is no room.
    [[nodiscard]] FTRACE_NO_INSTRUMENTATION arrival arrive(std::uintptr_t* slot, std::uintptr_t ret,
                                                           std::uintptr_t func,
                                                           std::uint32_t owner) noexcept {
        arrival call{slot, ret, 0, 0, 0};
        if (region::region_of(*slot) == region_address()) {
            const auto i = static_cast<std::uint16_t>(region::index_of(*slot));
            if (i >= first && frames_[i].slot == address(slot)) call.tail = i;
        }
        forget_left_behind(address(slot), call.tail);
        if (call.tail != 0)
            join_chain(call, func, owner);
        else
            call.depth = depth_at(address(slot));
        if (call.frame == 0) call.frame = claim();
        if (call.frame == 0) ++header_.overruns;
        return call;
    }

    /// Hooks the call.
    FTRACE_NO_INSTRUMENTATION void push(const arrival& call, std::uintptr_t func,
                                        std::uint32_t owner) noexcept {
        shadow_frame& frame = frames_[call.frame];
        frame.func = func;
        frame.owner = owner;
        if (call.frame == call.tail) {
            ++header_.lost;
            return;
        }
        frame.ret = call.ret;
        frame.depth = call.depth;
        frame.behind = call.tail;
        // release, for the compiler: a signal handler that sees the slot sees the whole frame.
        __atomic_store_n(&frame.slot, address(call.slot), __ATOMIC_RELEASE);
        __atomic_store_n(call.slot, region::trampoline(region_address(), call.frame),
                         __ATOMIC_RELEASE);
    }
    FTRACE_NO_INSTRUMENTATION void cancel(const arrival& call) noexcept {
        if (call.frame != call.tail) release(call.frame);
    }

    [[nodiscard]] FTRACE_NO_INSTRUMENTATION shadow_frame frame(std::uintptr_t i) const noexcept {
        return frames_[i];
    }
    /// The frame may be used again. Its `ret` stays: a program that returns twice finds its way as
    /// long as nobody does.
    FTRACE_NO_INSTRUMENTATION void release(std::uintptr_t i) noexcept {
        __atomic_store_n(&frames_[i].slot, shadow_frame::unused, __ATOMIC_RELEASE);
    }

    /// Calls not hooked for want of room.
    [[nodiscard]] FTRACE_NO_INSTRUMENTATION std::uint64_t overruns() const noexcept {
        return __atomic_load_n(&header_.overruns, __ATOMIC_RELAXED);
    }
    /// Hooked calls whose return was not seen.
    [[nodiscard]] FTRACE_NO_INSTRUMENTATION std::uint64_t lost() const noexcept {
        return __atomic_load_n(&header_.lost, __ATOMIC_RELAXED);
    }

private:
    static constexpr std::uint32_t first = region::header_entries;
    static constexpr std::uint32_t last = region::entries;

    struct header {
        std::uintptr_t stub;  ///< first, since trampolines call it
        const void* owner;
        std::uint64_t generation;  ///< of the owner, which rises when another thread takes it
        stack_range stack;
        std::uint32_t top;   ///< above it, frames are free unless handlers switched stacks
        std::uint32_t used;  ///< above it, frames were never used
        std::uint64_t overruns;
        std::uint64_t lost;
    };
    static_assert(sizeof(header) <= region::header_entries * region::entry_size);

    [[nodiscard]] FTRACE_NO_INSTRUMENTATION static std::uintptr_t address(
        const void* pointer) noexcept {
        return reinterpret_cast<std::uintptr_t>(pointer);
    }
    [[nodiscard]] FTRACE_NO_INSTRUMENTATION std::uintptr_t region_address() const noexcept {
        return address(this) - region::code_size;
    }

    FTRACE_NO_INSTRUMENTATION void forget_left_behind(std::uintptr_t slot,
                                                      std::uint32_t tail) noexcept {
        const bool own_stack = header_.stack.contains(slot);
        std::uint32_t i = header_.top;
        bool may_lower = true;
        while (i > first) {
            const std::uintptr_t other = frames_[i - 1].slot;
            if (other == shadow_frame::claimed) break;  // by the code that this handler interrupts
            if (other != shadow_frame::unused) {
                const bool comparable = own_stack && header_.stack.contains(other);
                if (comparable && (other > slot || (other == slot && tail != 0))) break;
                if (!comparable && !own_stack) break;
                if (comparable)
                    forget(i - 1);
                else
                    may_lower = false;  // a fiber's frame: what lies under it may still be dead
            }
            --i;
            if (may_lower) header_.top = i;
        }
    }

    FTRACE_NO_INSTRUMENTATION void forget(std::uint32_t i) noexcept {
        const std::uintptr_t slot = frames_[i].slot;
        if (readable(slot)) {
            auto* const word = reinterpret_cast<std::uintptr_t*>(slot);
            if (*word == region::trampoline(region_address(), i)) *word = frames_[i].ret;
        }
        release(i);
        ++header_.lost;
    }

    FTRACE_NO_INSTRUMENTATION void join_chain(arrival& call, std::uintptr_t func,
                                              std::uint32_t owner) noexcept {
        const shadow_frame& before = frames_[call.tail];
        bool same_call = before.func == func;
        unsigned length = 0;
        for (std::uint32_t i = call.tail; i != 0 && length < max_chain; i = frames_[i].behind) {
            ++length;
            // One call that two fgraph_ops hook; or the same function again, by a tail call.
            if (frames_[i].depth == before.depth && frames_[i].owner == owner) same_call = false;
        }
        if (length == max_chain) call.frame = call.tail;
        call.depth = same_call || length == max_chain
                         ? before.depth
                         : static_cast<std::uint16_t>(before.depth + 1);
    }

    FTRACE_NO_INSTRUMENTATION std::uint16_t depth_at(std::uintptr_t slot) const noexcept {
        const bool own_stack = header_.stack.contains(slot);
        for (std::uint32_t i = header_.top; i > first; --i) {
            const shadow_frame& around = frames_[i - 1];
            if (around.slot <= shadow_frame::claimed) continue;
            if (own_stack && !header_.stack.contains(around.slot)) continue;
            return static_cast<std::uint16_t>(around.depth + 1);
        }
        return 0;
    }

    FTRACE_NO_INSTRUMENTATION std::uint32_t claim() noexcept {
        for (std::uint32_t i = header_.top; i < last; ++i) {
            if (!arch::swap_if_equal_locally(frames_[i].slot, shadow_frame::unused,
                                             shadow_frame::claimed))
                continue;
            header_.top = i + 1;
            if (header_.used < i + 1) header_.used = i + 1;
            return i;
        }
        return claim_hole();
    }

    // Fibers and foreign threads leave holes. Looking for them takes as long as the stack is deep,
    // so it is not done at every call of a recursion that is too deep.
    FTRACE_NO_INSTRUMENTATION __attribute__((noinline)) std::uint32_t claim_hole() noexcept {
        if (header_.overruns % holes_every != 0) return 0;
        for (std::uint32_t i = last; i > first; --i) {
            const std::uintptr_t slot = frames_[i - 1].slot;
            if (slot > shadow_frame::claimed && !is_hooked(i - 1)) forget(i - 1);
        }
        for (std::uint32_t i = first; i < last; ++i)
            if (arch::swap_if_equal_locally(frames_[i].slot, shadow_frame::unused,
                                            shadow_frame::claimed))
                return i;
        return 0;
    }

    // Whether the frame's slot still holds its trampoline, or that of a frame in front of it.
    FTRACE_NO_INSTRUMENTATION bool is_hooked(std::uint32_t i) const noexcept {
        const std::uintptr_t slot = frames_[i].slot;
        if (!readable(slot)) return false;
        const std::uintptr_t value = *reinterpret_cast<const std::uintptr_t*>(slot);
        if (region::region_of(value) != region_address()) return false;
        std::uint32_t at = static_cast<std::uint32_t>(region::index_of(value));
        for (unsigned n = 0; at >= first && n < max_chain; ++n, at = frames_[at].behind)
            if (at == i) return true;
        return false;
    }

    static constexpr std::uint64_t holes_every = 1024;

    union {
        header header_;
        shadow_frame frames_[region::entries];
    };
};
static_assert(sizeof(shadow_stack) == arch::return_region::code_size);

}  // namespace ftrace::inline v0::detail
