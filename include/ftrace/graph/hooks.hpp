// What happens at the entry and at the return of a hooked call. Runs inside traced programs.
#pragma once

#include <cstdint>
#include <ftrace/arch/return_stub.hpp>
#include <ftrace/core/config.hpp>
#include <ftrace/core/thread_state.hpp>
#include <ftrace/graph/deliver.hpp>
#include <ftrace/graph/fgraph_ops.hpp>
#include <ftrace/graph/graph_state.hpp>

namespace ftrace::inline v0::detail {

/// An ops that wants no ends: hooks nothing, and changes nothing.
FTRACE_NO_INSTRUMENTATION __attribute__((noinline)) inline void enter_only(
    graph_state& state, thread_state& thread, fgraph_ops& ops, unsigned long func,
    std::uintptr_t* slot, ftrace_regs& regs) noexcept {
    const fgraph_options& options = graph_access::options(ops);
    const shadow_stack* const stack = graph_state::existing(thread);
    const shadow_frame* around = nullptr;
    if (stack != nullptr)
        around = arch::is_hooked(regs) ? stack->around(*frame_of(*slot))
                                       : stack->around(reinterpret_cast<std::uintptr_t>(slot));
    const std::uint32_t depth = around == nullptr ? 0 : around->depth + 1u;
    if (options.max_depth != 0 && static_cast<int>(depth) >= options.max_depth)
        return graph_access::miss(ops);
    shadow_stack* const keeper =
        options.thread_data == 0 ? nullptr : stack_of_thread(state, thread);
    void* const kept = keeper == nullptr
                           ? nullptr
                           : thread_data_of(state, *keeper, ops, graph_access::ticket(ops));
    const auto entry = graph_access::entry(ops);
    if (entry != nullptr)
        entry({func, state.true_return(*slot), static_cast<int>(depth), nullptr, kept, around}, ops,
              regs);
}

/// A call that an ops may hook, and the shadow stack it goes to.
struct offered_call {
    shadow_stack* stack;
    shadow_stack::arrival at;
    bool again;  ///< another fgraph_ops has hooked it
};

/// What is not shadow_stack::arrive_nested(). false: there is no room.
FTRACE_NO_INSTRUMENTATION __attribute__((noinline)) inline bool arrive_otherwise(
    graph_state& state, thread_state& thread, std::uintptr_t* slot, ftrace_regs& regs,
    offered_call& call) noexcept {
    call.stack = stack_of_thread(state, thread);
    if (call.stack == nullptr) {
        __atomic_fetch_add(&state.unhooked, 1, __ATOMIC_RELAXED);
        return false;
    }
    call.again = arch::is_hooked(regs);
    if (call.again) {
        shadow_frame* const frame = frame_of(*slot);
        call.at = {slot, frame->ret, frame, frame->around, frame->depth, false, false};
        return true;
    }
    call.at = call.stack->arrive(slot, tells_of_left{state, *call.stack});
    return call.at.frame != nullptr;
}

/// Asks the entry callback; true: it wants the end of this call.
FTRACE_NO_INSTRUMENTATION __attribute__((always_inline)) inline bool ask(
    const graph_state& state, fgraph_ops& ops, unsigned long func, const offered_call& call,
    void* data, void* kept, ftrace_regs& regs) noexcept {
    const auto entry = graph_access::entry(ops);
    if (entry == nullptr) return true;
    const ftrace_graph_ent event{
        func,          state.true_return(call.at.ret), static_cast<int>(call.at.depth), data, kept,
        call.at.around};
    return entry(event, ops, regs);
}

/// For an ops with options, and for one that is not the first: hooks the call if it is wanted.
FTRACE_NO_INSTRUMENTATION __attribute__((noinline)) inline bool hook_with_options(
    const graph_state& state, fgraph_ops& ops, unsigned long func, const offered_call& call,
    ftrace_regs& regs) noexcept {
    const fgraph_options& options = graph_access::options(ops);
    const std::uint32_t ticket = graph_access::ticket(ops);
    if (options.max_depth != 0 && static_cast<int>(call.at.depth) >= options.max_depth) {
        graph_access::miss(ops);
        return false;
    }
    void* const data =
        options.call_data == 0 ? nullptr : call.stack->data().take(options.call_data);
    if (data == nullptr && options.call_data != 0) {
        graph_access::miss(ops);
        return false;
    }
    void* const kept = thread_data_of(state, *call.stack, ops, ticket);
    if (!ask(state, ops, func, call, data, kept, regs)) {
        call.stack->data().give(data);
        return false;
    }
    if (!call.again) {
        call.stack->push(call.at, func, ticket, data);
    } else if (!call.stack->add_note(*call.at.frame, ticket, data)) {
        call.stack->data().give(data);
        graph_access::miss(ops);
    }
    return true;
}

/// Hooks one call, whose return address lies at `slot`, if its entry callback wants that.
FTRACE_NO_INSTRUMENTATION __attribute__((always_inline)) inline void hook_call(
    fgraph_ops& ops, unsigned long func, std::uintptr_t* slot, ftrace_regs& regs) noexcept {
    graph_state* const state = shared_graph();
    thread_state* const thread = this_thread();
    if (state == nullptr || thread == nullptr) return;
    if (__builtin_expect(graph_access::ret(ops) == nullptr, 0))
        return enter_only(*state, *thread, ops, func, slot, regs);
    offered_call call;
    call.stack = graph_state::existing(*thread);
    call.again = false;
    if (__builtin_expect(call.stack == nullptr || arch::is_hooked(regs) ||
                             !call.stack->arrive_nested(slot, call.at),
                         0) &&
        !arrive_otherwise(*state, *thread, slot, regs, call))
        return graph_access::miss(ops);
    const fgraph_options& options = graph_access::options(ops);
    bool hooked;
    if (__builtin_expect(
            call.again || (options.call_data | options.thread_data) != 0 || options.max_depth != 0,
            0)) {
        hooked = hook_with_options(*state, ops, func, call, regs);
    } else {
        hooked = ask(*state, ops, func, call, nullptr, nullptr, regs);
        if (hooked) call.stack->push(call.at, func, graph_access::ticket(ops), nullptr);
    }
    if (__builtin_expect(hooked, 1)) return arch::set_hooked(regs);
    if (!call.again) call.stack->cancel(call.at);
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
            arch::x87_results x87(regs);
            end_call(*state, frame_of(trampoline),
                     {graph_end::returned, arch::integer_result(regs), nullptr, 0, &x87}, regs);
        }
        return arch::used_return_width(regs);
    }
};

}  // namespace ftrace::inline v0::detail
