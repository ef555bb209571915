// The `function_graph` tracer: one event a call and one an end. A user of the public interface like
// any other.
//
// With a threshold a call is written when it ends, its entry then in front of its end: behind those
// of the calls inside it, from which the reader's sorting by time takes it away.
#pragma once

#include <cstdint>
#include <ftrace/arch/clock.hpp>
#include <ftrace/arch/result_words.hpp>
#include <ftrace/core/config.hpp>
#include <ftrace/graph/fgraph.hpp>
#include <ftrace/trace/event.hpp>
#include <ftrace/trace/graph_call.hpp>
#include <ftrace/trace/recorder.hpp>
#include <ftrace/trace/thread_buffer.hpp>
#include <typeinfo>

namespace ftrace::inline v0::detail {

/// Whether a call is traced: inside a graph function or one itself, and in none that silences.
/// `silences`: it is not, but has to be hooked, for what it calls is not traced either.
FTRACE_NO_INSTRUMENTATION inline bool in_graph(const recorder& wanted, const ftrace_graph_ent& call,
                                               fgraph_ops& op, bool& silences) noexcept {
    silences = false;
    if (wanted.graph_functions.empty() && wanted.graph_notrace.empty()) return true;
    // The call around is hooked by this ops: so it is in the graph, or silent.
    const auto* const around = static_cast<const graph_call*>(ftrace_graph_parent_data(call, op));
    if (around != nullptr && around->silent) return false;
    if (around == nullptr && !wanted.graph_functions.empty() &&
        !wanted.graph_functions.contains(call.func))
        return false;
    silences = wanted.graph_notrace.contains(call.func);
    return !silences;
}

/// The callback at entries; fgraph_ops::private_data is its recorder. A call that is not wanted is
/// not hooked, so that it adds nothing to the depth of others.
FTRACE_NO_INSTRUMENTATION inline bool record_entry(const ftrace_graph_ent& call, fgraph_ops& op,
                                                   ftrace_regs& regs) noexcept {
    auto& self = *static_cast<recorder*>(op.private_data);
    if (self.max_depth != 0 && call.depth >= self.max_depth) return false;
    auto& kept = *static_cast<graph_call*>(call.data);
    bool silences;
    if (!in_graph(self, call, op, silences)) return kept.silent = silences;
    thread_buffer* const thread = self.buffers.of_this_thread();
    if (thread == nullptr) return false;
    kept.tid = thread->tid;
    kept.generation = thread->generation;
    if (self.threshold != 0) {
        auto& held = static_cast<held_call&>(kept);
        held.cpu = arch::current_cpu();
        held.parent_ip = call.parent_ip;
        if (self.arguments) arch::copy_argument_words(regs, held.arguments());
        held.ticks = arch::ticks();
    } else if (!record_call(self, *thread, event_kind::graph_entry,
                            static_cast<std::uint32_t>(call.depth), call.func, call.parent_ip, regs,
                            kept.ticks)) {
        return false;
    }
    if (!self.sleep_time) kept.run_time = run_time();
    return true;
}

/// Whether a call is long enough to be written; of unknown duration, whether it may have been.
FTRACE_NO_INSTRUMENTATION inline bool is_long_enough(const recorder& wanted, std::uint64_t ticks,
                                                     std::uint64_t ran) noexcept {
    return ran == unknown_ticks ? ticks >= wanted.threshold_ticks : ran >= wanted.threshold;
}

/// What follows a graph_return in the buffer.
struct end_words {
    std::uint64_t words[3 * (ring_buffer::largest_event - 1)];
    std::uint32_t count = 0;

    FTRACE_NO_INSTRUMENTATION end_words() noexcept {}

    /// `ran`: how many nanoseconds the thread ran; unknown_ticks.
    FTRACE_NO_INSTRUMENTATION void fill(const recorder& wanted, const ftrace_graph_ret& call,
                                        const graph_call& began, bool here, std::uint64_t ran,
                                        const ftrace_regs& regs) noexcept {
        const bool notes =
            call.overrun != 0 || !here || !wanted.sleep_time || call.end == graph_end::exception;
        if (call.end == graph_end::returned && (wanted.results || notes)) {
            arch::copy_result_words(regs, words);
            count = arch::result_words;
        }
        if (!notes) return;
        const std::uint64_t most = 0xffff'ffff;
        words[count++] = (call.overrun < most ? call.overrun : most) |
                         (here ? 0 : std::uint64_t{static_cast<std::uint32_t>(began.tid)} << 32);
        words[count++] = here ? 0 : began.generation;
        words[count++] = ran;
        if (call.end != graph_end::exception) return;
        words[count++] = call.handler;
        if (call.exception != nullptr) add_name(*call.exception);
    }

private:
    /// The name is copied while its object is loaded: the exception, at least, still needs it.
    FTRACE_NO_INSTRUMENTATION void add_name(const std::type_info& type) noexcept {
        // As the ABI has it (Itanium C++ ABI 2.9.5): one pointer to functions, one to the name.
        struct type_layout {
            const void* functions;
            const char* name;
        };
        const char* name = reinterpret_cast<const type_layout&>(type).name;
        if (*name == '*') ++name;  // gcc's mark of a name that is not compared
        for (; *name != 0 && count < sizeof words / sizeof *words; ++count) {
            words[count] = 0;
            for (unsigned bit = 0; bit < 64 && *name != 0; bit += 8)
                words[count] |= std::uint64_t{static_cast<unsigned char>(*name++)} << bit;
        }
    }
};

/// The entry of a call that was held back, into room that is reserved.
FTRACE_NO_INSTRUMENTATION inline void write_held(const recorder& wanted, thread_buffer& thread,
                                                 std::uint64_t at, const ftrace_graph_ret& call,
                                                 held_call& began) noexcept {
    if (wanted.arguments)
        thread.ring.write_continuation(at, began.arguments(), arch::argument_words);
    const event_stamp stamp{thread.ring.round_of(at), event_kind::graph_entry, wanted.call_slots(),
                            began.cpu, static_cast<std::uint32_t>(call.depth)};
    thread.ring.write(at, pack(stamp), began.ticks, call.func, began.parent_ip);
}

/// The callback at ends.
FTRACE_NO_INSTRUMENTATION inline void record_return(const ftrace_graph_ret& call, fgraph_ops& op,
                                                    ftrace_regs& regs) noexcept {
    const std::uint64_t now = arch::ticks();
    auto& self = *static_cast<recorder*>(op.private_data);
    auto& began = *static_cast<graph_call*>(call.data);
    if (began.silent) return;
    thread_buffer* const thread = self.buffers.of_this_thread();
    if (thread == nullptr) return;
    const bool here = began.began_on(*thread);
    std::uint64_t ran = unknown_ticks;
    if (!self.sleep_time && here && end_is_exact(call.end, here) &&
        began.run_time != unknown_ticks) {
        ran = run_time();
        if (ran != unknown_ticks) ran -= began.run_time;
    }
    const bool held = self.threshold != 0;
    if (held && !is_long_enough(self, now - began.ticks, ran)) return;
    end_words more;
    more.fill(self, call, began, here, ran, regs);
    const std::uint32_t slots = 1 + (more.count + 2) / 3;
    const std::uint32_t before = held ? self.call_slots() : 0;
    std::uint64_t at = thread->reserve(before + slots, held ? 2 : 1);
    if (at == ring_buffer::none) return;
    if (held) write_held(self, *thread, at, call, static_cast<held_call&>(began));
    at += before;
    thread->ring.write_continuation(at, more.words, more.count);
    const event_stamp stamp{thread->ring.round_of(at),
                            event_kind::graph_return,
                            slots,
                            arch::current_cpu(),
                            static_cast<std::uint32_t>(call.depth),
                            call.end};
    thread->ring.write(at, pack(stamp), now, call.func, began.ticks);
}

/// The calls that function_graph could not hook, while it ran and before. Read by any thread.
class unhooked_calls {
public:
    FTRACE_NOTRACE explicit unhooked_calls(const fgraph_ops& ops) noexcept : ops_(ops) {}
    unhooked_calls(const unhooked_calls&) = delete;
    unhooked_calls& operator=(const unhooked_calls&) = delete;
    FTRACE_NOTRACE ~unhooked_calls() = default;

    FTRACE_NOTRACE void clear() noexcept {
        __atomic_store_n(&before_, ops_.missed(), __ATOMIC_RELAXED);
    }
    [[nodiscard]] FTRACE_NOTRACE std::uint64_t count() const noexcept {
        return ops_.missed() - __atomic_load_n(&before_, __ATOMIC_RELAXED);
    }

private:
    const fgraph_ops& ops_;
    std::uint64_t before_ = 0;  // those before the last clear()
};

}  // namespace ftrace::inline v0::detail
