// The text of a graph, without what differs from run to run.
#pragma once

#include <ftrace/export/text.hpp>
#include <ftrace/trace/snapshot.hpp>

#include <string>

/// The lines below the header with CPU, mark and duration made uniform.
inline std::string shape(const ftrace::trace_snapshot& trace, ftrace::text_options options = {}) {
    options.funcgraph_cpu = false;
    options.by_thread = true;
    std::string text = to_text(trace, options);
    text = text.substr(text.find("|   |\n") + 6);
    // "+ 12.917 us   |" becomes "  D us|".
    for (std::size_t bar = text.find('|'); bar != std::string::npos; bar = text.find('|', bar)) {
        const std::size_t begin = text.rfind('\n', bar) + 1;  // npos + 1 is the first line
        if (text.substr(begin, bar - begin).find(" us ") != std::string::npos) {
            text.replace(begin, bar - begin, "  D us");
            bar = begin + std::string("  D us").size();
        }
        bar = text.find('\n', bar);
        if (bar == std::string::npos) break;
    }
    return text;
}
