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
    shadow_stack* const stack = graph_state::existing(thread);
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

/// Prepares the hook of a call. false: there is no room.
FTRACE_NO_INSTRUMENTATION inline bool arrive(graph_state& state, thread_state& thread,
                                             std::uintptr_t* slot, ftrace_regs& regs,
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

/// Hooks the call if its entry callback wants that.
FTRACE_NO_INSTRUMENTATION inline bool hook_if_wanted(const graph_state& state, fgraph_ops& ops,
                                                     unsigned long func, const offered_call& call,
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
    const ftrace_graph_ent event{
        func,          state.true_return(call.at.ret), static_cast<int>(call.at.depth), data, kept,
        call.at.around};
    const auto entry = graph_access::entry(ops);
    if (entry != nullptr && !entry(event, ops, regs)) {
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

/// What hook_call() leaves: ops that keep data of threads or look at depths, the second ops of a call,
/// calls on other stacks, and those that come when others were left, or there is no frame at hand.
FTRACE_NO_INSTRUMENTATION __attribute__((noinline)) inline void hook_call_otherwise(
    fgraph_ops& ops, unsigned long func, std::uintptr_t* slot, ftrace_regs& regs) noexcept {
    graph_state* const state = shared_graph();
    thread_state* const thread = this_thread();
    if (state == nullptr || thread == nullptr) return;
    if (graph_access::ret(ops) == nullptr)
        return enter_only(*state, *thread, ops, func, slot, regs);
    offered_call call;
    if (!arrive(*state, *thread, slot, regs, call)) return graph_access::miss(ops);
    if (hook_if_wanted(*state, ops, func, call, regs)) return arch::set_hooked(regs);
    if (!call.again) call.stack->cancel(call.at);
}

/// enter_only() where that is easy: no data of threads and no depth to look at, on the thread's own
/// stack, inside all that is hooked there. false: it is not.
FTRACE_NO_INSTRUMENTATION __attribute__((always_inline)) inline bool enter_nested(
    const graph_state& state, const thread_state& thread, fgraph_ops& ops, unsigned long func,
    const std::uintptr_t* slot, ftrace_regs& regs) noexcept {
    const shadow_stack* const stack = graph_state::existing(thread);
    const shadow_frame* around = nullptr;
    if (stack != nullptr) {
        if (!stack->is_nested(slot)) return false;
        around = stack->innermost();
    }
    const std::uint32_t depth = around == nullptr ? 0 : around->depth + 1u;
    const auto entry = graph_access::entry(ops);
    if (entry != nullptr)
        entry({func, state.true_return(*slot), static_cast<int>(depth), nullptr, nullptr, around},
              ops, regs);
    return true;
}

/// Hooks one call, whose return address lies at `slot`, if its entry callback wants that. Here: the
/// first fgraph_ops of a call on the thread's own stack, inside all that is hooked there.
FTRACE_NO_INSTRUMENTATION __attribute__((always_inline)) inline void hook_call(
    fgraph_ops& ops, unsigned long func, std::uintptr_t* slot, ftrace_regs& regs) noexcept {
    const graph_state* const state = graph_shortcut_or_null();
    const thread_state* const thread = current_thread;  // another object's stub may have called
    if (__builtin_expect(state == nullptr || thread == nullptr || !graph_access::is_plain(ops) ||
                             arch::is_hooked(regs),
                         0))
        return hook_call_otherwise(ops, func, slot, regs);
    if (__builtin_expect(graph_access::ret(ops) == nullptr, 0)) {
        if (!enter_nested(*state, *thread, ops, func, slot, regs))
            hook_call_otherwise(ops, func, slot, regs);
        return;
    }
    shadow_stack* const stack = graph_state::existing(*thread);
    const bool nested = stack != nullptr && stack->is_nested(slot);
    shadow_frame* const frame = nested ? stack->free_frame() : nullptr;
    if (__builtin_expect(frame == nullptr, 0)) return hook_call_otherwise(ops, func, slot, regs);
    const shadow_frame* const around = stack->innermost();
    const std::uint32_t depth = around == nullptr ? 0 : around->depth + 1u;
    const std::uintptr_t ret = *slot;
    const std::size_t size = graph_access::options(ops).call_data;
    void* const data = size == 0 ? nullptr : stack->data().take(size);
    if (__builtin_expect(size != 0 && data == nullptr, 0)) return graph_access::miss(ops);
    const auto entry = graph_access::entry(ops);
    if (entry != nullptr) {
        const ftrace_graph_ent event{
            func, state->true_return(ret), static_cast<int>(depth), data, nullptr, around};
        if (__builtin_expect(!entry(event, ops, regs), 0)) return stack->data().give(data);
    }
    stack->push_nested(frame, slot, ret, depth, func, graph_access::ticket(ops), data);
    arch::set_hooked(regs);
}

FTRACE_NO_INSTRUMENTATION inline void graph_entered(unsigned long ip, unsigned long, ftrace_ops& op,
                                                    ftrace_regs& regs) noexcept {
    hook_call(*static_cast<fgraph_ops*>(op.private_data), ip, arch::return_slot(regs), regs);
}

FTRACE_NO_INSTRUMENTATION __attribute__((noinline)) inline void tell_more_of_return(
    const graph_state& state, shadow_stack& mine, const shadow_frame& frame, arch::x87_results& x87,
    ftrace_regs& regs) noexcept {
    tell_more(state, mine, frame,
              {graph_end::returned, arch::integer_result(regs), nullptr, 0, &x87}, regs);
}
/// tell_all() of a return; call_end would be written to memory for the sake of the rare case.
FTRACE_NO_INSTRUMENTATION __attribute__((always_inline)) inline void tell_of_return(
    const graph_state& state, shadow_stack& mine, const shadow_frame& frame,
    ftrace_regs& regs) noexcept {
    arch::x87_results x87(regs);
    const unsigned long result = arch::integer_result(regs);
    if (__builtin_expect(frame.more != nullptr, 0))
        tell_more_of_return(state, mine, frame, x87, regs);
    tell_one(state, mine, frame, frame.ticket, frame.data,
             {graph_end::returned, result, nullptr, 0, &x87}, regs);
}

/// The innermost hooked call on the thread's own stack returns, outside of callbacks. false: it is
/// another one, and nothing is done.
FTRACE_NO_INSTRUMENTATION __attribute__((always_inline)) inline bool end_nested(
    shadow_frame* frame, ftrace_regs& regs) noexcept {
    const graph_state* const state = graph_shortcut_or_null();
    thread_state* const thread = current_thread;
    if (__builtin_expect(state == nullptr || thread == nullptr, 0)) return false;
    const std::uint64_t section = section_of(*thread);
    shadow_stack* const stack = graph_state::existing(*thread);
    if (__builtin_expect(is_inside(section) || stack == nullptr, 0)) return false;
    enter_section(*thread, section, reinterpret_cast<std::uintptr_t>(&regs));
    const bool innermost = stack->innermost() == frame;
    if (__builtin_expect(innermost, 1)) {
        const int saved = *thread->program_errno;
        stack->close_innermost();
        tell_of_return(*state, *stack, *frame, regs);
        stack->give_back_innermost();
        *thread->program_errno = saved;
    }
    leave_section(*thread, section);
    return innermost;
}
FTRACE_NO_INSTRUMENTATION __attribute__((noinline)) inline void end_not_nested(
    shadow_frame* frame, ftrace_regs& regs) noexcept {
    // Callbacks came before, so that the state is there.
    graph_state* const state = shared_graph();
    if (state == nullptr) return;
    arch::x87_results x87(regs);
    end_call(*state, frame, {graph_end::returned, arch::integer_result(regs), nullptr, 0, &x87},
             regs);
}

/// What trampolines call, through the return stub.
struct graph_return {
    template <arch::vector_width Width>
    FTRACE_LOCAL FTRACE_NO_INSTRUMENTATION static arch::vector_width returned(
        std::uintptr_t trampoline, ftrace_regs& regs) noexcept {
        shadow_frame* const frame = frame_of(trampoline);
        if (__builtin_expect(!end_nested(frame, regs), 0)) end_not_nested(frame, regs);
        return arch::used_return_width<Width>(regs);
    }
};

}  // namespace ftrace::inline v0::detail
