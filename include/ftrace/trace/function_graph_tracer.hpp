// The `function_graph` tracer: one event a call and one a return. A user of the public interface
// like any other.
#pragma once

#include <cstdint>
#include <ftrace/arch/clock.hpp>
#include <ftrace/arch/result_words.hpp>
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
    if (!record_call(self, *thread, event_kind::graph_entry, depth, call.func, call.parent_ip, regs,
                     now))
        return false;
    if (depth < thread_buffer::deepest_timed_call) thread->call_at(depth) = {call.func, now};
    return true;
}

FTRACE_NO_INSTRUMENTATION inline void record_return(const ftrace_graph_ret& call, fgraph_ops& op,
                                                    ftrace_regs& regs) noexcept {
    const std::uint64_t now = arch::ticks();
    auto& self = *static_cast<recorder*>(op.private_data);
    thread_buffer* const thread = self.buffers.of_this_thread();
    if (thread == nullptr) return;
    if (call.depth == thread->graph_from) thread->graph_from = -1;
    const auto depth = static_cast<std::uint32_t>(call.depth);
    std::uint64_t ticks = unknown_ticks;
    if (depth < thread_buffer::deepest_timed_call)
        if (const open_call& opened = thread->call_at(depth); opened.func == call.func)
            ticks = now - opened.ticks;
    std::uint64_t words[arch::result_words + 1] = {};
    std::uint32_t count = self.results ? arch::result_words : 0;
    if (call.overrun != 0) count = arch::result_words + 1;
    const std::uint32_t slots = 1 + (count + 2) / 3;
    const std::uint64_t at = thread->reserve(slots);
    if (at == ring_buffer::none) return;
    if (count != 0) {
        arch::copy_result_words(regs, words);
        words[arch::result_words] = call.overrun;
        thread->ring.write_continuation(at, words, count);
    }
    const std::uint32_t cpu = arch::current_cpu();
    thread->ring.write(
        at, pack({thread->ring.round_of(at), event_kind::graph_return, slots, cpu, depth}), now,
        call.func, ticks);
}

/// The calls that function_graph could not hook while a tracer ran. Read by any thread.
class unhooked_calls {
public:
    FTRACE_NOTRACE unhooked_calls() noexcept = default;
    unhooked_calls(const unhooked_calls&) = delete;
    unhooked_calls& operator=(const unhooked_calls&) = delete;
    FTRACE_NOTRACE ~unhooked_calls() = default;

    FTRACE_NOTRACE void begin() noexcept { set(from_, ftrace_graph_statistics().overruns); }
    FTRACE_NOTRACE void end() noexcept {
        set(before_, count());
        set(from_, stopped);
    }
    FTRACE_NOTRACE void clear() noexcept {
        set(before_, 0);
        if (get(from_) != stopped) begin();
    }
    [[nodiscard]] FTRACE_NOTRACE std::uint64_t count() const noexcept {
        const std::uint64_t from = get(from_);
        return get(before_) + (from == stopped ? 0 : ftrace_graph_statistics().overruns - from);
    }

private:
    static constexpr std::uint64_t stopped = ~std::uint64_t{0};

    FTRACE_NOTRACE static void set(std::uint64_t& number, std::uint64_t value) noexcept {
        __atomic_store_n(&number, value, __ATOMIC_RELAXED);
    }
    [[nodiscard]] FTRACE_NOTRACE static std::uint64_t get(const std::uint64_t& number) noexcept {
        return __atomic_load_n(&number, __ATOMIC_RELAXED);
    }

    std::uint64_t from_ = stopped;  // the process's number when the tracer was started
    std::uint64_t before_ = 0;      // those of earlier runs
};

}  // namespace ftrace::inline v0::detail
