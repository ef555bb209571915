// What a text trace shows: the kernel's options, by their kernel names
// (Documentation/trace/ftrace.rst), and their defaults.
#pragma once

#include <ftrace/export/names.hpp>

namespace ftrace::inline v0 {

struct text_options {
    name_options names;

    // function
    bool irq_info = true;  ///< the five columns of context flags; always "....." outside a kernel

    // function_graph
    bool funcgraph_cpu = true;
    bool funcgraph_overhead = true;  ///< the mark before the duration
    bool funcgraph_duration = true;
    bool funcgraph_proc = false;  ///< thread name and id on every line
    bool funcgraph_abstime = false;
    bool funcgraph_tail = false;  ///< the function's name behind every closing brace
    bool funcgraph_retval =
        false;  ///< the result's first word; also that of functions that return nothing
    bool funcgraph_retaddr = false;  ///< the caller's name behind every call

    /// false, as in the kernel: all threads by time, a framed line where another thread takes over
    /// a CPU. true: one thread behind the other, a framed line between them.
    bool by_thread = false;
};

}  // namespace ftrace::inline v0
