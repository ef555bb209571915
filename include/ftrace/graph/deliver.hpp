// Tells fgraph_ops of the ends of calls. Runs inside traced programs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <ftrace/arch/return_stub.hpp>
#include <ftrace/core/config.hpp>
#include <ftrace/graph/fgraph_ops.hpp>
#include <ftrace/graph/graph_state.hpp>

namespace ftrace::inline v0::detail {

struct graph_access {
    FTRACE_NO_INSTRUMENTATION static std::uint32_t& ticket(fgraph_ops& ops) noexcept {
        return ops.ticket_;
    }
    FTRACE_NO_INSTRUMENTATION static auto entry(const fgraph_ops& ops) noexcept {
        return ops.entry_;
    }
    FTRACE_NO_INSTRUMENTATION static auto ret(const fgraph_ops& ops) noexcept {
        return ops.return_;
    }
    FTRACE_NO_INSTRUMENTATION static const fgraph_options& options(const fgraph_ops& ops) noexcept {
        return ops.options_;
    }
    FTRACE_NO_INSTRUMENTATION static void miss(fgraph_ops& ops) noexcept {
        __atomic_fetch_add(&ops.missed_, 1, __ATOMIC_RELAXED);
    }
};

/// What is told of an end besides what the frame knows.
struct call_end {
    graph_end how;
    unsigned long retval = 0;
    const std::type_info* exception = nullptr;
    unsigned long handler = 0;
};

FTRACE_NO_INSTRUMENTATION inline void* thread_data_of(shadow_stack& stack, const fgraph_ops& ops,
                                                      std::uint32_t ticket) noexcept {
    const std::size_t size = graph_access::options(ops).thread_data;
    return __builtin_expect(size == 0, 1) ? nullptr : stack.thread_data(ticket, size);
}

/// Inside a section of the calling thread, whose shadow stack is `mine`.
FTRACE_NO_INSTRUMENTATION inline void tell_one(const graph_state& state, shadow_stack& mine,
                                               const shadow_frame& frame, std::uint32_t ticket,
                                               void* data, const call_end& end,
                                               ftrace_regs& regs) noexcept {
    fgraph_ops* const ops = state.table.find(ticket);
    if (__builtin_expect(ops == nullptr, 0)) return;
    const ftrace_graph_ret event{frame.func,      end.retval, static_cast<int>(frame.depth),
                                 mine.overruns(), end.how,    end.exception,
                                 end.handler,     data,       thread_data_of(mine, *ops, ticket)};
    graph_access::ret (*ops)(event, *ops, regs);
}

/// Tells all that want the end of a call: who hooked it last comes first.
FTRACE_NO_INSTRUMENTATION inline void tell_all(const graph_state& state, shadow_stack& mine,
                                               const shadow_frame& frame, const call_end& end,
                                               ftrace_regs& regs) noexcept {
    for (const call_note* note = frame.more; __builtin_expect(note != nullptr, 0);
         note = note->next)
        tell_one(state, mine, frame, note->ticket, note->data, end, regs);
    tell_one(state, mine, frame, frame.ticket, frame.data, end, regs);
}

/// Registers of a call that did not return.
struct no_registers {
    alignas(16) std::byte bytes[sizeof(ftrace_regs)] = {};
    [[nodiscard]] FTRACE_NO_INSTRUMENTATION ftrace_regs& regs() noexcept {
        return *reinterpret_cast<ftrace_regs*>(bytes);
    }
};

/// Tells of calls that were left, while another one begins or ends.
struct tells_of_left {
    const graph_state& state;
    shadow_stack& mine;

    FTRACE_NO_INSTRUMENTATION __attribute__((noinline)) void operator()(
        const shadow_frame& frame, graph_end how) const noexcept {
        no_registers nothing;
        tell_all(state, mine, frame, {how}, nothing.regs());
    }
};

/// The calling thread's shadow stack, for an event on it.
[[nodiscard]] FTRACE_NO_INSTRUMENTATION inline shadow_stack* stack_of_thread(
    graph_state& state, thread_state& thread, std::uintptr_t slot) noexcept {
    return state.stack_of(
        thread, slot,
        [&state](shadow_stack& mine, const shadow_frame& frame, graph_end how)
            FTRACE_NO_INSTRUMENTATION { tells_of_left{state, mine}(frame, how); });
}

/// A hooked call ends, by a return or an exception: tells of it, and of those inside it that were
/// left before. Its frame is free afterwards.
FTRACE_NO_INSTRUMENTATION inline void end_call(graph_state& state, shadow_frame* frame,
                                               const call_end& end, ftrace_regs& regs) noexcept {
    thread_state* const thread = this_thread();
    if (__builtin_expect(thread == nullptr, 0)) {
        shadow_stack::end_elsewhere(frame);
        return;
    }
    const std::uint64_t section = section_of(*thread);
    if (__builtin_expect(is_inside(section), 0)) {
        // Between any two instructions of who works on the lists.
        if (shadow_stack::end_elsewhere(frame)) ++thread->missed;
        return;
    }
    enter_section(*thread, section);
    const int saved = *thread->program_errno;
    shadow_stack* const owner = header_of(frame).owner;
    if (__builtin_expect(owner->belongs_to(thread, thread->generation), 1)) {
        if (__builtin_expect(frame->where() != shadow_frame::unused, 1)) {
            owner->close_inside(frame, tells_of_left{state, *owner});
            owner->take_out(frame);
            if (__builtin_expect(end.how != graph_end::returned, 0)) owner->count_unreturned();
            tell_all(state, *owner, *frame, end, regs);
            owner->give_back(frame);
        }
    } else if (shadow_stack* const mine = stack_of_thread(state, *thread, frame->where())) {
        // A fiber's call, which began on another thread.
        const shadow_frame copy = *frame;
        if (copy.slot != shadow_frame::unused) {
            tell_all(state, *mine, copy, end, regs);
            shadow_stack::end_elsewhere(frame);
        }
    }
    *thread->program_errno = saved;
    leave_section(*thread, section);
}

}  // namespace ftrace::inline v0::detail
