// The `function_graph` tracer: one event a call and one a return. A user of the public interface
// like any other.
#pragma once

#include <cstdint>
#include <ftrace/arch/clock.hpp>
#include <ftrace/core/config.hpp>
#include <ftrace/graph/fgraph.hpp>
#include <ftrace/trace/event.hpp>
#include <ftrace/trace/recorder.hpp>
#include <ftrace/trace/thread_buffer.hpp>

namespace ftrace::inline v0::detail {

/// Whether a call at this depth is inside a graph function, or one itself.
FTRACE_NO_INSTRUMENTATION inline bool in_graph(const recorder& wanted, thread_buffer& thread,
                                               std::uintptr_t site, int depth) noexcept {
    if (wanted.graph_function_count == 0) return true;
    if (thread.graph_from >= 0 && depth > thread.graph_from) return true;
    // At its own depth or above, the graph function is over: it may have been left by an exception.
    thread.graph_from = wanted.is_graph_function(site) ? depth : -1;
    return thread.graph_from >= 0;
}

/// The callback at entries; fgraph_ops::private_data is its recorder. A call that is not wanted is
/// not hooked, so that it adds nothing to the depth of others.
FTRACE_NO_INSTRUMENTATION inline bool record_entry(const ftrace_graph_ent& call, fgraph_ops& op,
                                                   ftrace_regs& regs) noexcept {
    auto& self = *static_cast<recorder*>(op.private_data);
    if (self.max_depth != 0 && call.depth >= self.max_depth) return false;
    thread_buffer* const thread = self.buffers.of_this_thread();
    if (thread == nullptr || !in_graph(self, *thread, call.func, call.depth)) return false;
    const auto depth = static_cast<std::uint32_t>(call.depth);
    std::uint64_t now;
    if (!record_call(self, thread->ring, event_kind::graph_entry, depth, call.func, call.parent_ip,
                     regs, now))
        return false;
    if (depth < thread_buffer::deepest_timed_call) thread->calls[depth] = {call.func, now};
    return true;
}

FTRACE_NO_INSTRUMENTATION inline void record_return(const ftrace_graph_ret& call, fgraph_ops& op,
                                                    ftrace_regs&) noexcept {
    const std::uint64_t now = arch::ticks();
    auto& self = *static_cast<recorder*>(op.private_data);
    thread_buffer* const thread = self.buffers.of_this_thread();
    if (thread == nullptr) return;
    if (call.depth == thread->graph_from) thread->graph_from = -1;
    const auto depth = static_cast<std::uint32_t>(call.depth);
    std::uint64_t ticks = unknown_ticks;
    if (depth < thread_buffer::deepest_timed_call && thread->calls[depth].func == call.func)
        ticks = now - thread->calls[depth].ticks;
    const std::uint32_t slots = self.arguments ? 2 : 1;
    const std::uint64_t at = thread->ring.reserve(slots);
    if (at == ring_buffer::none) return;
    const std::uint64_t result = call.retval;
    if (self.arguments) thread->ring.write_continuation(at, &result, 1);
    const std::uint32_t cpu = arch::current_cpu();
    thread->ring.write(at, pack({sequence_of(at), event_kind::graph_return, slots, cpu, depth}),
                       now, call.func, ticks);
}

}  // namespace ftrace::inline v0::detail
