// What all fgraph_ops of the process share.
#pragma once

#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>
#include <ftrace/arch/return_stub.hpp>
#include <ftrace/core/config.hpp>
#include <ftrace/core/lock.hpp>
#include <ftrace/core/process.hpp>
#include <ftrace/core/result.hpp>
#include <ftrace/graph/block_pool.hpp>
#include <ftrace/graph/graph_table.hpp>
#include <ftrace/graph/shadow_stack.hpp>
#include <ftrace/graph/thread_end.hpp>
#include <ftrace/graph/unwinder_calls.hpp>
#include <new>
#include <utility>

namespace ftrace::inline v0::detail {

/// Never freed.
struct graph_state {
    FTRACE_NOTRACE graph_state() noexcept {}
    graph_state(const graph_state&) = delete;
    graph_state& operator=(const graph_state&) = delete;
    FTRACE_NOTRACE ~graph_state() = default;

    graph_table table;
    block_pool blocks;
    unwinder_table unwinders;
    thread_end ends;
    std::uint64_t unhooked = 0;  ///< calls of threads that have no shadow stack
    shadow_stack* first = nullptr;

    /// The return address that hooks replaced, or `address` itself.
    [[nodiscard]] FTRACE_STUB_INLINE std::uintptr_t true_return(
        std::uintptr_t address) const noexcept {
        while (__builtin_expect(blocks.contains(address), 0)) address = frame_of(address)->ret;
        return address;
    }

    /// The calling thread's shadow stack, if it has one.
    [[nodiscard]] FTRACE_STUB_INLINE static shadow_stack* existing(
        const thread_state& thread) noexcept {
        return static_cast<shadow_stack*>(thread.graph);
    }
    /// The same, made now if need be. nullptr: no memory. `tell(stack, frame, how)`: of the calls of
    /// a thread that had it before.
    template <class Tell>
    [[nodiscard]] FTRACE_NO_INSTRUMENTATION shadow_stack* stack_of(thread_state& thread,
                                                                   Tell tell) noexcept {
        shadow_stack* const stack = existing(thread);
        return __builtin_expect(stack != nullptr, 1) ? stack : open(thread, tell);
    }

    /// Calls `use(shadow_stack&)` for every stack there is.
    template <class Use>
    FTRACE_NOTRACE void for_each(Use use) const {
        for (shadow_stack* each = __atomic_load_n(&first, __ATOMIC_ACQUIRE); each != nullptr;
             each = each->next)
            use(*each);
    }

private:
    // A slot of the thread pool keeps its shadow stack: who gets the slot gets the stack.
    template <class Tell>
    FTRACE_NO_INSTRUMENTATION __attribute__((noinline)) shadow_stack* open(thread_state& thread,
                                                                           Tell tell) noexcept {
        const int saved = errno;
        const auto process = static_cast<pid_t>(::syscall(SYS_getpid));
        auto* stack = static_cast<shadow_stack*>(thread.kept_graph);
        if (stack == nullptr) stack = make_stack();
        errno = saved;
        if (stack == nullptr) return nullptr;
        thread.kept_graph = stack;
        // In a child of fork() the calls of its parent's threads do not end at all.
        const bool told = stack->process == process;
        stack->process = process;
        stack->hand_over(blocks, thread.stack,
                         [&](shadow_frame& frame, graph_end how) FTRACE_NO_INSTRUMENTATION {
                             if (told) tell(*stack, frame, how);
                         });
        ends.expect(*stack);
        stack->kept().forget(stack->data(),
                             [](std::uint32_t) FTRACE_NO_INSTRUMENTATION { return true; });
        // Last: who leaves in between by siglongjmp() begins anew.
        __atomic_store_n(&thread.graph, stack, __ATOMIC_RELEASE);
        return stack;
    }
    FTRACE_NO_INSTRUMENTATION shadow_stack* make_stack() noexcept {
        auto* const made = static_cast<shadow_stack*>(map_memory(sizeof(shadow_stack)));
        if (made == nullptr) return nullptr;
        made->next = __atomic_load_n(&first, __ATOMIC_RELAXED);
        // release: pairs with for_each().
        while (!__atomic_compare_exchange_n(&first, &made->next, made, true, __ATOMIC_RELEASE,
                                            __ATOMIC_RELAXED)) {
        }
        return made;
    }
};

/// This object's shortcut to the process's state.
FTRACE_LOCAL inline constinit graph_state* graph_shortcut = nullptr;

[[nodiscard]] FTRACE_LOCAL FTRACE_NO_INSTRUMENTATION FTRACE_GENERAL_REGS_ONLY
    __attribute__((noinline)) inline graph_state*
    find_graph() noexcept {
    process_state* const process = shared_state();
    if (process == nullptr) return nullptr;
    // acquire: pairs with the release in make_graph().
    graph_state* const state = __atomic_load_n(&process->graph, __ATOMIC_ACQUIRE);
    __atomic_store_n(&graph_shortcut, state, __ATOMIC_RELEASE);
    return state;
}

/// The same, if this object has met it.
[[nodiscard]] FTRACE_STUB_INLINE graph_state* graph_shortcut_or_null() noexcept {
    return __atomic_load_n(&graph_shortcut, __ATOMIC_ACQUIRE);
}
/// The state, if any fgraph_ops was ever registered in this process.
[[nodiscard]] FTRACE_STUB_INLINE graph_state* shared_graph() noexcept {
    graph_state* const state = graph_shortcut_or_null();
    return __builtin_expect(state != nullptr, 1) ? state : find_graph();
}

/// Where code of the library is that trampolines and unwinders call, in an object that stays loaded.
struct graph_entry_points {
    std::uintptr_t return_stub, personality;
    void (*thread_ended)(void*);
};

/// The state, made at first use. Not under the process's lock: it asks the dynamic linker. Of two
/// threads that make it at the same time one gets the other's.
FTRACE_NOTRACE inline result<graph_state*> make_graph(process_state& process,
                                                      graph_entry_points code) {
    if (graph_state* const state = shared_graph()) return state;
    auto* const state = new (std::nothrow) graph_state;
    if (state == nullptr || !state->table.usable()) {
        delete state;
        return error{errc::out_of_memory, "no memory for the graph's state"};
    }
    state->unwinders.find();
    if (auto made =
            state->blocks.make(code.return_stub, state->unwinders.resume(), code.personality);
        !made) {
        delete state;
        return std::move(made).error();
    }
    state->ends.make(code.thread_ended);
    graph_state* other = nullptr;
    // release: pairs with find_graph(). The loser's state stays: its address space does, too.
    if (__atomic_compare_exchange_n(&process.graph, &other, state, false, __ATOMIC_ACQ_REL,
                                    __ATOMIC_ACQUIRE)) {
        const lock_guard locked(process.lock);
        state->blocks.tell_debuggers();
    } else {
        state->ends.forget();
    }
    return shared_graph();
}

}  // namespace ftrace::inline v0::detail
