// What all fgraph_ops of the process share.
#pragma once

#include <cstdint>
#include <ftrace/arch/return_stub.hpp>
#include <ftrace/arch/return_unwind.hpp>
#include <ftrace/core/config.hpp>
#include <ftrace/core/process.hpp>
#include <ftrace/core/result.hpp>
#include <ftrace/graph/graph_table.hpp>
#include <ftrace/graph/region_pool.hpp>
#include <ftrace/graph/shadow_stack.hpp>
#include <new>
#include <utility>

namespace ftrace::inline v0::detail {

/// Never freed.
struct graph_state {
    FTRACE_NOTRACE graph_state() noexcept {}

    graph_table table;
    region_pool regions;
    std::uint64_t unhooked = 0;  ///< calls of threads that have no shadow stack

    /// The return address that a hook replaced, or `address` itself.
    [[nodiscard]] FTRACE_NO_INSTRUMENTATION std::uintptr_t true_return(
        std::uintptr_t address) const noexcept {
        if (__builtin_expect(!regions.contains(address), 1)) return address;
        return shadow_stack::of(address).frame(arch::return_region::index_of(address)).ret;
    }
};

/// Where the process keeps its graph_state: the last slot of the thread pool stands for the process
/// itself. A thread that got this slot, the 65,536th, would have no shadow stack.
[[nodiscard]] FTRACE_NO_INSTRUMENTATION inline void*& graph_home(process_state& process) noexcept {
    return process.threads[thread_pool::capacity - 1].graph;
}

/// This object's shortcut to the process's state.
FTRACE_LOCAL inline constinit graph_state* graph_shortcut = nullptr;

/// The state, if any fgraph_ops was ever registered in this process.
[[nodiscard]] FTRACE_LOCAL FTRACE_NO_INSTRUMENTATION inline graph_state* shared_graph() noexcept {
    graph_state* state = __atomic_load_n(&graph_shortcut, __ATOMIC_ACQUIRE);
    if (__builtin_expect(state != nullptr, 1)) return state;
    process_state* const process = shared_state();
    if (process == nullptr) return nullptr;
    // acquire: pairs with the release in graph().
    state = static_cast<graph_state*>(__atomic_load_n(&graph_home(*process), __ATOMIC_ACQUIRE));
    __atomic_store_n(&graph_shortcut, state, __ATOMIC_RELEASE);
    return state;
}

/// The state, made at first use; `stub` is what trampolines will call, in an object that stays
/// loaded. Not under the process's lock: asks the dynamic linker. Of two threads that make it at
/// the same time one gets the other's.
FTRACE_NOTRACE inline result<graph_state*> graph(process_state& process, std::uintptr_t stub) {
    if (graph_state* const state = shared_graph()) return state;
    if (arch::has_hardware_shadow_stack())
        return error{errc::permission_denied,
                     "this process runs with a hardware shadow stack (CET), which does not allow "
                     "return addresses to be replaced: start it without "
                     "(GLIBC_TUNABLES=glibc.cpu.x86_shstk=off), or trace entries only"};
    auto* const state = new (std::nothrow) graph_state;
    if (state == nullptr) return error{errc::out_of_memory, "no memory for the graph's state"};
    if (auto made = state->regions.make(stub); !made) {
        delete state;
        return std::move(made).error();
    }
    // release: pairs with shared_graph(). The loser's state stays: its address space does, too.
    void* none = nullptr;
    __atomic_compare_exchange_n(&graph_home(process), &none, static_cast<void*>(state), false,
                                __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
    return shared_graph();
}

}  // namespace ftrace::inline v0::detail
