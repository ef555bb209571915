// What happens at the entry and at the return of a hooked call. Runs inside traced programs.
#pragma once

#include <errno.h>

#include <cstdint>
#include <ftrace/arch/return_stub.hpp>
#include <ftrace/core/config.hpp>
#include <ftrace/core/thread_state.hpp>
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
};

/// Hooks one call, whose return address lies at `slot`, if its entry callback wants that.
FTRACE_NO_INSTRUMENTATION inline void hook_call(fgraph_ops& ops, unsigned long func,
                                                std::uintptr_t* slot, ftrace_regs& regs) noexcept {
    graph_state* const state = shared_graph();
    thread_state* const thread = this_thread();
    if (state == nullptr || thread == nullptr) return;
    shadow_stack* const stack = state->regions.of(*thread, reinterpret_cast<std::uintptr_t>(slot));
    if (stack == nullptr) {
        __atomic_fetch_add(&state->unhooked, 1, __ATOMIC_RELAXED);
        return;
    }
    const std::uint32_t ticket = graph_access::ticket(ops);
    const auto call = stack->arrive(slot, state->true_return(*slot), func, ticket);
    if (call.frame == 0) return;
    const auto entry = graph_access::entry(ops);
    const ftrace_graph_ent event{func, call.ret, call.depth};
    const bool wanted = entry == nullptr || entry(event, ops, regs);
    if (wanted && graph_access::ret(ops) != nullptr)
        stack->push(call, func, ticket);
    else
        stack->cancel(call);
}

FTRACE_NO_INSTRUMENTATION inline void graph_entered(unsigned long ip, unsigned long, ftrace_ops& op,
                                                    ftrace_regs& regs) noexcept {
    hook_call(*static_cast<fgraph_ops*>(op.private_data), ip, arch::return_slot(regs), regs);
}

/// Tells the fgraph_ops that hooked a call of its return, if it is still registered.
FTRACE_NO_INSTRUMENTATION inline void deliver_return(const graph_state& state,
                                                     const shadow_frame& frame,
                                                     unsigned long overruns,
                                                     ftrace_regs& regs) noexcept {
    thread_state* const thread = this_thread();
    if (thread == nullptr) return;
    const auto here = reinterpret_cast<std::uintptr_t>(&regs);
    const std::uint64_t section = section_at(*thread, here);
    if (is_inside(section)) {
        ++thread->missed;
        return;
    }
    enter_section(*thread, section, here);
    if (fgraph_ops* const ops = state.table.find(frame.owner)) {
        const ftrace_graph_ret event{frame.func, arch::integer_result(regs), frame.depth, overruns};
        graph_access::ret (*ops)(event, *ops, regs);
    }
    leave_section(*thread, section);
}

/// What trampolines call, through the return stub.
struct graph_return {
    FTRACE_LOCAL FTRACE_NO_INSTRUMENTATION static arch::vector_width returned(
        std::uintptr_t trampoline, ftrace_regs& regs) noexcept {
        const int saved = errno;
        const graph_state* const state = shared_graph();
        shadow_stack& stack = shadow_stack::of(trampoline);
        std::uintptr_t i = arch::return_region::index_of(trampoline);
        while (i != 0) {
            const shadow_frame frame = stack.frame(i);
            if (frame.slot <= shadow_frame::claimed) break;  // it returned before
            stack.release(i);
            if (state != nullptr) deliver_return(*state, frame, stack.overruns(), regs);
            i = frame.behind;
        }
        errno = saved;
        return arch::used_return_width(regs);
    }
};

}  // namespace ftrace::inline v0::detail
