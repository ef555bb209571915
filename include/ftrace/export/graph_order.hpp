// Which events of a graph belong together.
#pragma once

#include <ftrace/core/config.hpp>
#include <ftrace/trace/snapshot.hpp>

#include <cstddef>
#include <cstdint>
#include <map>
#include <utility>
#include <vector>

namespace ftrace::inline v0::detail {

/// By the index of an event in its snapshot, indices of others, or `none`.
struct graph_order {
    static constexpr std::size_t none = ~std::size_t{0};

    FTRACE_NOTRACE graph_order(const trace_snapshot& trace, bool by_thread) {
        find_next(trace, by_thread);
        find_partners(trace);
    }
    graph_order(const graph_order&) = delete;
    graph_order& operator=(const graph_order&) = delete;
    FTRACE_NOTRACE ~graph_order() = default;

    /// What the event's thread shows next; none, too, where another thread's comes in between on the
    /// CPU: then a call and its return stand on lines of their own, around the frame that announces
    /// the other.
    std::vector<std::size_t> next;
    /// Of a call its end, and the reverse.
    std::vector<std::size_t> partner;

private:
    FTRACE_NOTRACE void find_next(const trace_snapshot& trace, bool by_thread) {
        next.assign(trace.events.size(), none);
        std::vector<std::size_t> of_thread(trace.threads.size(), none);
        std::map<std::uint32_t, std::size_t> of_cpu;
        for (std::size_t i = trace.events.size(); i-- > 0;) {
            const trace_event& e = trace.events[i];
            const auto on_cpu = of_cpu.emplace(e.cpu, none).first;
            // A thread may go to another CPU in between; none is larger than any index.
            if (by_thread || on_cpu->second >= of_thread[e.thread]) next[i] = of_thread[e.thread];
            of_thread[e.thread] = on_cpu->second = i;
        }
    }

    /// At one depth of one thread, other calls may lie between a call and its end: those whose end
    /// is missing, and those of another fiber.
    FTRACE_NOTRACE void find_partners(const trace_snapshot& trace) {
        partner.assign(trace.events.size(), none);
        std::map<std::pair<std::uint32_t, std::uint32_t>, std::vector<std::size_t>> open;
        for (std::size_t i = 0; i < trace.events.size(); ++i) {
            const trace_event& e = trace.events[i];
            if (e.lost_before != 0)
                open.erase(open.lower_bound({e.thread, 0}), open.lower_bound({e.thread + 1, 0}));
            auto& calls = open[{e.call_thread(), e.depth}];
            if (e.kind != event_kind::graph_return) {
                calls.push_back(i);
                continue;
            }
            for (std::size_t at = calls.size(); at-- > 0;) {
                if (!e.ends(trace.events[calls[at]])) continue;
                partner[calls[at]] = i;
                partner[i] = calls[at];
                calls.erase(calls.begin() + static_cast<std::ptrdiff_t>(at));
                break;
            }
        }
    }
};

}  // namespace ftrace::inline v0::detail
