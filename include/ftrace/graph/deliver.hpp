// Tells fgraph_ops of the ends of calls. Runs inside traced programs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <ftrace/arch/return_stub.hpp>
#include <ftrace/arch/x87_results.hpp>
#include <ftrace/core/config.hpp>
#include <ftrace/core/sanitizer.hpp>
#include <ftrace/graph/fgraph_ops.hpp>
#include <ftrace/graph/graph_state.hpp>

namespace ftrace::inline v0::detail {

struct graph_access {
    FTRACE_STUB_INLINE static std::uint32_t& ticket(fgraph_ops& ops) noexcept {
        return ops.ticket_;
    }
    FTRACE_STUB_INLINE static auto entry(const fgraph_ops& ops) noexcept { return ops.entry_; }
    FTRACE_STUB_INLINE static auto ret(const fgraph_ops& ops) noexcept { return ops.return_; }
    FTRACE_STUB_INLINE static bool is_plain(const fgraph_ops& ops) noexcept { return ops.plain_; }
    FTRACE_STUB_INLINE static const fgraph_options& options(const fgraph_ops& ops) noexcept {
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
    arch::x87_results* x87 = nullptr;  ///< of a return
};

FTRACE_NO_INSTRUMENTATION __attribute__((noinline)) inline void* find_thread_data(
    const graph_state& state, shadow_stack& stack, std::size_t size,
    std::uint32_t ticket) noexcept {
    if (void* const kept = stack.kept().find(ticket)) return kept;
    stack.kept().forget(stack.data(), [&state](std::uint32_t other) FTRACE_NO_INSTRUMENTATION {
        return state.table.find(other) == nullptr;
    });
    return stack.kept().make(stack.data(), ticket, size);
}
FTRACE_STUB_INLINE void* thread_data_of(const graph_state& state, shadow_stack& stack,
                                        const fgraph_ops& ops, std::uint32_t ticket) noexcept {
    const std::size_t size = graph_access::options(ops).thread_data;
    return __builtin_expect(size == 0, 1) ? nullptr : find_thread_data(state, stack, size, ticket);
}

/// Inside a section of the calling thread, whose shadow stack is `mine`.
FTRACE_NO_INSTRUMENTATION __attribute__((always_inline)) inline void tell_one(
    const graph_state& state, shadow_stack& mine, const shadow_frame& frame, std::uint32_t ticket,
    void* data, const call_end& end, ftrace_regs& regs) noexcept {
    fgraph_ops* const ops = state.table.find(ticket);
    if (__builtin_expect(ops == nullptr, 0)) return;
    if (end.x87 != nullptr && !graph_access::options(*ops).no_x87) end.x87->take_off();
    const ftrace_graph_ret event{frame.func,
                                 state.true_return(frame.ret),
                                 end.retval,
                                 static_cast<int>(frame.depth),
                                 mine.overruns(),
                                 end.how,
                                 end.exception,
                                 end.handler,
                                 data,
                                 thread_data_of(state, mine, *ops, ticket)};
    sanitizer_acquire(static_cast<ftrace_ops*>(&ops->ops));  // as of an entry: dispatch.hpp
    graph_access::ret (*ops)(event, *ops, regs);
    sanitizer_release(&current_thread->section);
}

FTRACE_NO_INSTRUMENTATION __attribute__((noinline)) inline void tell_more(
    const graph_state& state, shadow_stack& mine, const shadow_frame& frame, const call_end& end,
    ftrace_regs& regs) noexcept {
    for (const call_note* note = frame.more; note != nullptr; note = note->next)
        tell_one(state, mine, frame, note->ticket, note->data, end, regs);
}

/// Tells all that want the end of a call: who hooked it last comes first.
FTRACE_NO_INSTRUMENTATION __attribute__((always_inline)) inline void tell_all(
    const graph_state& state, shadow_stack& mine, const shadow_frame& frame, const call_end& end,
    ftrace_regs& regs) noexcept {
    if (__builtin_expect(frame.more != nullptr, 0)) tell_more(state, mine, frame, end, regs);
    tell_one(state, mine, frame, frame.ticket, frame.data, end, regs);
}

/// Counts an end that cannot be told.
FTRACE_NO_INSTRUMENTATION inline void miss_all(const graph_state& state,
                                               const shadow_frame& frame) noexcept {
    for (const call_note* note = frame.more; note != nullptr; note = note->next)
        if (fgraph_ops* const ops = state.table.find(note->ticket)) graph_access::miss(*ops);
    if (fgraph_ops* const ops = state.table.find(frame.ticket)) graph_access::miss(*ops);
}

/// Registers of a call that did not return.
struct no_registers {
    alignas(16) std::byte bytes[sizeof(ftrace_regs)];

    FTRACE_NO_INSTRUMENTATION no_registers() noexcept { __builtin_memset(bytes, 0, sizeof bytes); }
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
    graph_state& state, thread_state& thread) noexcept {
    return state.stack_of(
        thread, [&state](shadow_stack& mine, const shadow_frame& frame, graph_end how)
                    FTRACE_NO_INSTRUMENTATION { tells_of_left{state, mine}(frame, how); });
}

/// end_call() inside a section of the calling thread.
FTRACE_NO_INSTRUMENTATION __attribute__((noinline)) inline void end_told_call(
    graph_state& state, thread_state& thread, shadow_frame* frame, const call_end& end,
    ftrace_regs& regs) noexcept {
    shadow_stack* const owner = header_of(frame).owner;
    const bool returns = end.how == graph_end::returned;
    if (owner == graph_state::existing(thread)) {
        if (frame->where() == shadow_frame::unused) return;
        owner->close_inside(frame, tells_of_left{state, *owner});
        const std::uintptr_t slot = frame->claim();
        if (slot == shadow_frame::unused) return;
        if (!returns) owner->count_unreturned();
        // A callback may be left by siglongjmp(): the next event finds the frame in its list, told of.
        frame->release();
        tell_all(state, *owner, *frame, end, regs);
        owner->take_out(frame, slot);
        if (returns)
            owner->give_back(frame);
        else
            owner->give_back_later(frame, slot);
    } else if (shadow_stack* const mine = stack_of_thread(state, thread)) {
        // A fiber's call, which began on another thread. That one collects the frame.
        if (frame->claim() == shadow_frame::unused) return;
        tell_all(state, *mine, *frame, end, regs);
        if (returns)
            frame->release();
        else
            mine->release_later(frame);
    }
}

/// end_call() where nothing can be told: no place for this thread, or a callback that did not end,
/// perhaps between any two instructions of who works on the lists.
FTRACE_NO_INSTRUMENTATION __attribute__((noinline)) inline void end_untold(
    const graph_state& state, shadow_frame* frame, const call_end& end) noexcept {
    if (frame->claim() == shadow_frame::unused) return;
    miss_all(state, *frame);
    if (end.how == graph_end::returned) frame->release();
}

/// A hooked call ends, by a return or an exception: tells of it, and of those inside it that were
/// left before. Its frame is free afterwards.
FTRACE_NO_INSTRUMENTATION __attribute__((noinline)) inline void end_call(
    graph_state& state, shadow_frame* frame, const call_end& end, ftrace_regs& regs) noexcept {
    const auto here = reinterpret_cast<std::uintptr_t>(&regs);
    const auto [thread, section] = start_of_section(here, 0);
    if (__builtin_expect(thread == nullptr, 0)) return end_untold(state, frame, end);
    enter_section(*thread, section, here);
    const int saved = *thread->program_errno;
    end_told_call(state, *thread, frame, end, regs);
    *thread->program_errno = saved;
    leave_section(*thread, section);
}

/// What thread_end calls.
struct graph_thread {
    FTRACE_LOCAL FTRACE_NO_INSTRUMENTATION static void ended(void* value) noexcept {
        auto& stack = *static_cast<shadow_stack*>(value);
        graph_state* const state = shared_graph();
        if (state == nullptr || !state->ends.is_last_round(stack)) return;
        const std::uintptr_t here = this_frame();
        const auto [thread, section] = start_of_section(here, 0);
        if (thread == nullptr || graph_state::existing(*thread) != &stack) return;
        enter_section(*thread, section, here);
        stack.end_thread(tells_of_left{*state, stack});
        leave_section(*thread, section);
    }
};

}  // namespace ftrace::inline v0::detail
