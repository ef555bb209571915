// A trace as text, in the format of the kernel's `trace` file.
#pragma once

#include <ftrace/core/config.hpp>
#include <ftrace/export/function_text.hpp>
#include <ftrace/export/graph_text.hpp>
#include <ftrace/export/text_options.hpp>
#include <ftrace/trace/snapshot.hpp>

#include <string>

namespace ftrace::inline v0 {

/// The snapshot in the format of its tracer, function or function_graph. What reads the kernel's
/// traces reads this: names are C++ names without parameter lists, and lost events are told of one
/// by one thread, not by CPU.
[[nodiscard]] FTRACE_NOTRACE inline std::string to_text(const trace_snapshot& trace,
                                                        const text_options& options = {}) {
    if (trace.tracer == "function_graph") return detail::graph_printer(trace, options).print();
    return detail::function_text(trace, options);
}

}  // namespace ftrace::inline v0
