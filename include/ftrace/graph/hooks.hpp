// What happens at the entry and at the return of a hooked call. Runs inside traced programs.
#pragma once

#include <cstdint>
#include <ftrace/arch/return_stub.hpp>
#include <ftrace/arch/x87_results.hpp>
#include <ftrace/core/config.hpp>
#include <ftrace/core/thread_state.hpp>
#include <ftrace/graph/deliver.hpp>
#include <ftrace/graph/fgraph_ops.hpp>
#include <ftrace/graph/graph_state.hpp>

namespace ftrace::inline v0::detail {

/// An ops that wants no ends: hooks nothing, and changes nothing.
FTRACE_NO_INSTRUMENTATION inline void enter_only(graph_state& state, thread_state& thread,
                                                 fgraph_ops& ops, unsigned long func,
                                                 std::uintptr_t* slot, ftrace_regs& regs) noexcept {
    const fgraph_options& options = graph_access::options(ops);
    shadow_stack* const stack = graph_state::existing(thread);
    std::uint32_t depth = 0;
    if (arch::is_hooked(regs))
        depth = frame_of(*slot)->depth;
    else if (stack != nullptr)
        depth = stack->depth_at(reinterpret_cast<std::uintptr_t>(slot));
    if (options.max_depth != 0 && static_cast<int>(depth) >= options.max_depth)
        return graph_access::miss(ops);
    shadow_stack* const keeper =
        options.thread_data == 0
            ? nullptr
            : stack_of_thread(state, thread, reinterpret_cast<std::uintptr_t>(slot));
    void* const kept =
        keeper == nullptr ? nullptr : thread_data_of(*keeper, ops, graph_access::ticket(ops));
    const auto entry = graph_access::entry(ops);
    if (entry != nullptr)
        entry({func, state.true_return(*slot), static_cast<int>(depth), nullptr, kept}, ops, regs);
}

/// Hooks one call, whose return address lies at `slot`, if its entry callback wants that.
FTRACE_NO_INSTRUMENTATION inline void hook_call(fgraph_ops& ops, unsigned long func,
                                                std::uintptr_t* slot, ftrace_regs& regs) noexcept {
    graph_state* const state = shared_graph();
    thread_state* const thread = this_thread();
    if (state == nullptr || thread == nullptr) return;
    if (graph_access::ret(ops) == nullptr)
        return enter_only(*state, *thread, ops, func, slot, regs);
    shadow_stack* const stack =
        stack_of_thread(*state, *thread, reinterpret_cast<std::uintptr_t>(slot));
    if (__builtin_expect(stack == nullptr, 0)) {
        __atomic_fetch_add(&state->unhooked, 1, __ATOMIC_RELAXED);
        return graph_access::miss(ops);
    }
    const fgraph_options& options = graph_access::options(ops);
    const bool again = arch::is_hooked(regs);  // by another fgraph_ops
    shadow_stack::arrival call{};
    if (__builtin_expect(again, 0)) {
        shadow_frame* const frame = frame_of(*slot);
        call = {slot, frame->ret, frame, frame->around, frame->depth, false, false};
    } else {
        call = stack->arrive(slot, tells_of_left{*state, *stack});
        if (__builtin_expect(call.frame == nullptr, 0)) return graph_access::miss(ops);
    }
    bool wanted = false;
    void* data = nullptr;
    if (__builtin_expect(options.max_depth != 0, 0) &&
        static_cast<int>(call.depth) >= options.max_depth) {
        graph_access::miss(ops);
    } else if (__builtin_expect(options.call_data != 0, 0) &&
               (data = stack->data().take(options.call_data)) == nullptr) {
        graph_access::miss(ops);
    } else {
        const std::uint32_t ticket = graph_access::ticket(ops);
        const ftrace_graph_ent event{func, state->true_return(call.ret),
                                     static_cast<int>(call.depth), data,
                                     thread_data_of(*stack, ops, ticket)};
        const auto entry = graph_access::entry(ops);
        wanted = entry == nullptr || entry(event, ops, regs);
        if (wanted && again)
            wanted = stack->add_note(*call.frame, ticket, data);
        else if (wanted)
            stack->push(call, func, ticket, data);
    }
    if (__builtin_expect(wanted, 1)) return arch::set_hooked(regs);
    stack->data().give(data);
    if (!again) stack->cancel(call);
}

FTRACE_NO_INSTRUMENTATION inline void graph_entered(unsigned long ip, unsigned long, ftrace_ops& op,
                                                    ftrace_regs& regs) noexcept {
    hook_call(*static_cast<fgraph_ops*>(op.private_data), ip, arch::return_slot(regs), regs);
}

/// What trampolines call, through the return stub.
struct graph_return {
    FTRACE_LOCAL FTRACE_NO_INSTRUMENTATION static arch::vector_width returned(
        std::uintptr_t trampoline, ftrace_regs& regs) noexcept {
        // Callbacks came before, so that the state is there.
        if (graph_state* const state = shared_graph()) {
            const arch::x87_results kept(state->tells_state_in_use);
            end_call(*state, frame_of(trampoline),
                     {graph_end::returned, arch::integer_result(regs)}, regs);
        }
        return arch::used_return_width(regs);
    }
};

}  // namespace ftrace::inline v0::detail
