// The trace of the `function` tracer as the kernel prints it (kernel/trace/trace.c,
// trace_output.c).
#pragma once

#include <ftrace/core/config.hpp>
#include <ftrace/export/format.hpp>
#include <ftrace/export/names.hpp>
#include <ftrace/export/text_options.hpp>
#include <ftrace/trace/snapshot.hpp>

#include <cstddef>
#include <string>

namespace ftrace::inline v0::detail {

inline constexpr const char* header_with_flags =
    "#                                _-----=> irqs-off/BH-disabled\n"
    "#                               / _----=> need-resched\n"
    "#                              | / _---=> hardirq/softirq\n"
    "#                              || / _--=> preempt-depth\n"
    "#                              ||| / _-=> migrate-disable\n"
    "#                              |||| /     delay\n"
    "#           TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION\n"
    "#              | |         |   |||||     |         |\n";
inline constexpr const char* header_without_flags =
    "#           TASK-PID     CPU#     TIMESTAMP  FUNCTION\n"
    "#              | |         |         |         |\n";

/// What stands behind the time: "parse(0x7ffd10, 3) <-main". Events of the graph tracer are shown
/// as calls, too.
FTRACE_NOTRACE inline void append_function(std::string& out, const trace_event& event,
                                           function_names& names) {
    out += names.call(event, false);
    if (event.parent_ip != 0) out.append(" <-").append(names.caller(event.parent_ip));
    out += '\n';
}

[[nodiscard]] FTRACE_NOTRACE inline std::string function_text(const trace_snapshot& trace,
                                                              const text_options& options) {
    function_names names(trace, options.names);
    std::string out = "# tracer: " + trace.tracer + "\n#\n";
    append(out, "# entries-in-buffer/entries-written: {}/{}   #P:{}\n#\n", trace.events.size(),
           trace.written, trace.cpus);
    out += options.irq_info ? header_with_flags : header_without_flags;
    const std::size_t count = shown_events(trace, options);
    for (std::size_t i = 0; i < count; ++i) {
        const trace_event& event = trace.events[i];
        if (event.kind == event_kind::graph_return) continue;
        const trace_thread& thread = trace.threads[event.thread];
        if (event.lost_before != 0) append_lost(out, event.cpu, event.lost_before);
        append(out, "{:>16}-{:<7} [{:03}] ", thread.name, thread.tid, event.cpu);
        if (options.irq_info) out += "..... ";
        append_time(out, event.time);
        out += ": ";
        append_function(out, event, names);
    }
    for (const trace_thread& thread : trace.threads)
        if (count == trace.events.size() && thread.lost_after != 0)
            append_lost(out, thread.last_cpu, thread.lost_after);
    return out;
}

}  // namespace ftrace::inline v0::detail
