// Registering fgraph_ops.
#pragma once

#include <cstdint>
#include <ftrace/arch/cpu.hpp>
#include <ftrace/arch/return_stub.hpp>
#include <ftrace/core/config.hpp>
#include <ftrace/core/lock.hpp>
#include <ftrace/core/process.hpp>
#include <ftrace/core/quiescence.hpp>
#include <ftrace/core/result.hpp>
#include <ftrace/core/thread_state.hpp>
#include <ftrace/graph/fgraph_ops.hpp>
#include <ftrace/graph/graph_state.hpp>
#include <ftrace/graph/hooks.hpp>
#include <ftrace/graph/unwinding.hpp>
#include <ftrace/ops/registry.hpp>
#include <ftrace/sites/pin.hpp>
#include <string>
#include <utility>

namespace ftrace::inline v0 {
namespace detail {

/// What the kernel is asked by; tests put another one here.
using shadow_stack_question = bool (*)(std::uint64_t&) noexcept;
FTRACE_LOCAL inline constinit shadow_stack_question shadow_stack_features =
    &arch::ask_shadow_stack_features;

/// Whether an ops may be registered.
FTRACE_NOTRACE inline result<void> check_graph_ops(const fgraph_ops& ops) {
    const fgraph_options& options = ops.options();
    if (options.call_data > data_pool::largest || options.thread_data > data_pool::largest ||
        options.max_depth < 0)
        return error{errc::invalid_argument,
                     "fgraph_options: call_data and thread_data are at most 65536 bytes each, and "
                     "max_depth is not negative"};
    if (graph_access::ret(ops) != nullptr && arch::has_hardware_shadow_stack(shadow_stack_features))
        return error{errc::permission_denied,
                     "this process runs with a hardware shadow stack (CET), which does not allow "
                     "return addresses to be replaced: start it without "
                     "(GLIBC_TUNABLES=glibc.cpu.x86_shstk=off), trace entries only, or use typed "
                     "probes (ftrace::probe<&f>), which leave return addresses alone"};
    return {};
}

/// Forgets a ticket, and waits until no return callback runs for it. Calls that were hooked with it
/// return as before, untold.
FTRACE_NOTRACE inline void withdraw_ticket(locked_registry& registry, std::uint32_t ticket) {
    graph_state* const state = shared_graph();
    if (ticket != 0 && state != nullptr && state->table.remove(ticket))
        synchronize_callbacks(registry.shared());
}

/// The graph's state, made if there is none yet. It asks the dynamic linker, so it has to be called
/// before the process is locked (see locked_registry). nullptr inside callbacks, where nothing can be
/// registered, and where there is no state of the process.
FTRACE_NOTRACE inline result<graph_state*> prepare_graph() {
    process_state* const shared = process();
    if (shared == nullptr || shared_graph() != nullptr) return shared_graph();
    thread_state* const thread = this_thread();
    if (thread == nullptr || (in_section(*thread) && !thread->own_work)) return nullptr;
    graph_entry_points code{};
    {
        const internal_section untraced;
        code = {arch::return_stub_for<graph_return>(arch::widest_vector_register()),
                trampoline_personality::address(), &graph_thread::ended};
    }
    pin_object(reinterpret_cast<const void*>(code.personality));
    return or_out_of_memory([&]() FTRACE_NOTRACE { return make_graph(*shared, code); });
}

}  // namespace detail

/// Keeps an fgraph_ops registered; the destructor unregisters it. Moves, does not copy.
class [[nodiscard]] graph_registration {
public:
    FTRACE_NOTRACE graph_registration() noexcept = default;
    FTRACE_NOTRACE graph_registration(graph_registration&& other) noexcept
        : entries_(std::move(other.entries_)), ticket_(std::exchange(other.ticket_, 0)) {}
    FTRACE_NOTRACE graph_registration& operator=(graph_registration&& other) noexcept {
        if (this != &other) {
            if (registered()) (void)unregister();
            entries_ = std::move(other.entries_);
            ticket_ = std::exchange(other.ticket_, 0);
        }
        return *this;
    }
    FTRACE_NOTRACE ~graph_registration() {
        if (registered()) (void)unregister();
    }

    /// Takes the ops off all its functions. When it returns, neither of its callbacks runs in
    /// another thread or will run, and its memory may go. Calls that are still hooked return to
    /// their callers as ever. Errors: as registration::unregister().
    FTRACE_NOTRACE result<void> unregister() {
        const auto work = [this](detail::locked_registry& registry) FTRACE_NOTRACE {
            auto done = detail::registration_access::unregister(registry, entries_);
            detail::withdraw_ticket(registry, std::exchange(ticket_, 0));
            return done;
        };
        return detail::with_registry(work, detail::locked_registry::leaving);
    }

    [[nodiscard]] FTRACE_NOTRACE bool registered() const noexcept { return ticket_ != 0; }
    FTRACE_NOTRACE explicit operator bool() const noexcept { return registered(); }

private:
    FTRACE_NOTRACE graph_registration(registration entries, std::uint32_t ticket) noexcept
        : entries_(std::move(entries)), ticket_(ticket) {}
    friend result<graph_registration> register_ftrace_graph(fgraph_ops& ops);

    registration entries_;
    std::uint32_t ticket_ = 0;
};

/// Starts calling the ops' callbacks for the functions of its filter (`gops.ops`), or for all.
/// Calls that began before are not hooked. Any number at a time (65,536; the kernel stops at 16).
/// Errors: those of register_ftrace_function(); invalid_argument: options beyond their limits;
/// out_of_memory; permission_denied, where no code can be made, or return addresses must not be
/// replaced (hardware shadow stacks) and the ops has a return callback. (Kernel:
/// register_ftrace_graph.)
FTRACE_NOTRACE inline result<graph_registration> register_ftrace_graph(fgraph_ops& gops) {
    if (auto possible = detail::or_out_of_memory(
            [&]() FTRACE_NOTRACE { return detail::check_graph_ops(gops); });
        !possible)
        return std::move(possible).error();
    auto state = detail::prepare_graph();
    const auto work = [&](detail::locked_registry& registry)
                          FTRACE_NOTRACE -> result<graph_registration> {
        if (gops.ops.registered())
            return error{errc::already_registered,
                         "this fgraph_ops is registered already: unregister it first"};
        if (!state) return std::move(state).error();
        if (*state == nullptr) return error{errc::out_of_memory, "no memory for the graph's state"};
        const std::uint32_t ticket = state.value()->table.add(gops);
        if (ticket == 0)
            return error{errc::busy,
                         "65536 fgraph_ops are registered, and there is room for no more: "
                         "unregister one"};
        detail::graph_access::ticket(gops) = ticket;
        auto entries = detail::or_out_of_memory(
            [&]() FTRACE_NOTRACE { return detail::register_locked(registry, gops.ops); });
        if (entries) return graph_registration(std::move(entries).value(), ticket);
        detail::withdraw_ticket(registry, ticket);
        return std::move(entries).error();
    };
    return detail::with_registry(work, detail::locked_registry::changing, &gops.ops);
}

FTRACE_NOTRACE inline fgraph_ops::~fgraph_ops() {
    if (ticket_ == 0) return;
    if (ops.registered()) (void)unregister_ftrace_function(ops);
    (void)detail::with_registry(
        [this](detail::locked_registry& registry) FTRACE_NOTRACE -> result<void> {
            detail::withdraw_ticket(registry, ticket_);
            return {};
        },
        detail::locked_registry::leaving);
}

/// Since the first fgraph_ops was registered, on all threads.
struct graph_statistics {
    std::uint64_t overruns;    ///< calls not hooked, for want of memory
    std::uint64_t unreturned;  ///< hooked calls that ended otherwise than by a return
};

/// A moment's numbers: other threads go on counting. (Kernel: trace_overrun of each task.)
[[nodiscard]] FTRACE_NOTRACE inline graph_statistics ftrace_graph_statistics() noexcept {
    graph_statistics sum{};
    const detail::graph_state* const state = detail::shared_graph();
    if (state == nullptr) return sum;
    sum.overruns = __atomic_load_n(&state->unhooked, __ATOMIC_RELAXED);
    state->for_each([&sum](const detail::shadow_stack& stack) FTRACE_NOTRACE {
        sum.overruns += stack.overruns();
        sum.unreturned += stack.unreturned();
    });
    return sum;
}

/// In an entry callback: what the ops keeps of the nearest call around this one, on the same stack,
/// whose end it wants (fgraph_options::call_data). Null: there is none. Takes as long as there are
/// other hooked calls in between. (Kernel: fgraph_retrieve_parent_data.)
[[nodiscard]] FTRACE_NO_INSTRUMENTATION inline void* ftrace_graph_parent_data(
    const ftrace_graph_ent& call, fgraph_ops& ops) noexcept {
    const std::uint32_t ticket = detail::graph_access::ticket(ops);
    const detail::thread_state* const thread = detail::this_thread();
    const detail::shadow_stack* const stack =
        thread == nullptr ? nullptr : detail::graph_state::existing(*thread);
    if (stack == nullptr) return nullptr;
    for (const detail::shadow_frame* each = call.around; each != nullptr;
         each = stack->around(*each)) {
        if (each->ticket == ticket) return each->data;
        for (const detail::call_note* note = each->more; note != nullptr; note = note->next)
            if (note->ticket == ticket) return note->data;
    }
    return nullptr;
}

/// The return address that an exit hook replaced, or `address` itself if it is none of ours. For
/// those who read return addresses off the stack while calls are hooked; safe in callbacks.
/// (Kernel: ftrace_graph_ret_addr.)
[[nodiscard]] FTRACE_NO_INSTRUMENTATION inline unsigned long ftrace_graph_ret_addr(
    unsigned long address) noexcept {
    const detail::graph_state* const state = detail::shared_graph();
    return state == nullptr ? address : state->true_return(address);
}

}  // namespace ftrace::inline v0
