// What a text trace shows: the kernel's options, by their kernel names
// (Documentation/trace/ftrace.rst), and their defaults.
#pragma once

#include <cstddef>
#include <ftrace/core/config.hpp>
#include <ftrace/export/names.hpp>
#include <ftrace/trace/snapshot.hpp>

namespace ftrace::inline v0 {

struct text_options {
    FTRACE_NOTRACE ~text_options() = default;

    name_options names{};
    std::size_t most_events = 0;  ///< only so many from the beginning; 0: all

    // function
    bool irq_info = true;  ///< the five columns of context flags; always "....." outside a kernel

    // function_graph
    bool funcgraph_cpu = true;
    bool funcgraph_overhead = true;  ///< the mark before the duration
    bool funcgraph_duration = true;
    bool funcgraph_proc = false;  ///< thread name and id on every line
    bool funcgraph_abstime = false;
    bool funcgraph_tail = false;  ///< the function's name behind every closing brace
    /// Results, by their type where that is known; else the first word, also of functions that
    /// return nothing.
    bool funcgraph_retval = false;
    bool funcgraph_retval_hex = false;  ///< of each result the first word, in hexadecimal
    /// Behind every closing brace a line "(Overruns: 3)": how many calls of the thread had, so far,
    /// no room to be traced.
    bool funcgraph_overrun = false;
    /// Not an option of the kernel. false: a call that calls nothing has two lines, as all have.
    bool funcgraph_leaf = true;
    bool funcgraph_retaddr = false;  ///< behind every call where it came from, "<-main+0x12/0x40"

    /// false, as in the kernel: all threads by time, a framed line where another thread takes over
    /// a CPU. true: one thread behind the other, a framed line between them.
    bool by_thread = false;
};

namespace detail {

/// How many of a trace's events are to be shown.
[[nodiscard]] FTRACE_NOTRACE inline std::size_t shown_events(const trace_snapshot& trace,
                                                             const text_options& options) {
    const std::size_t all = trace.events.size();
    return options.most_events == 0 || options.most_events > all ? all : options.most_events;
}

}  // namespace detail
}  // namespace ftrace::inline v0
