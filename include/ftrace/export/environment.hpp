// The FTRACE_* variables: <ftrace/autostart.hpp> tells of them.
#pragma once

#include <unistd.h>

#include <cstddef>
#include <ftrace/core/config.hpp>
#include <ftrace/core/result.hpp>
#include <ftrace/export/text_options.hpp>
#include <ftrace/trace/spelling.hpp>
#include <ftrace/trace/tracer.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace ftrace::inline v0::detail {

/// What the environment asks for.
struct autostart_request {
    FTRACE_NOTRACE autostart_request() = default;
    FTRACE_NOTRACE ~autostart_request() = default;
    autostart_request(const autostart_request&) = delete;
    autostart_request& operator=(const autostart_request&) = delete;

    std::string tracer, filter, notrace, graph_function, graph_notrace, output;
    int max_depth = 0;
    tracer_options recording{};
    text_options text{};
};

/// Applies one word of FTRACE_OPTIONS.
[[nodiscard]] FTRACE_NOTRACE inline result<void> apply_option(std::string_view word,
                                                              autostart_request& request) {
    const std::pair<std::string_view, bool*> options[] = {
        {"func-args", &request.recording.arguments},
        {"funcgraph-args", &request.recording.arguments},
        {"funcgraph-abstime", &request.text.funcgraph_abstime},
        {"funcgraph-cpu", &request.text.funcgraph_cpu},
        {"funcgraph-duration", &request.text.funcgraph_duration},
        {"funcgraph-leaf", &request.text.funcgraph_leaf},
        {"funcgraph-overhead", &request.text.funcgraph_overhead},
        {"funcgraph-overrun", &request.text.funcgraph_overrun},
        {"funcgraph-proc", &request.text.funcgraph_proc},
        {"funcgraph-retaddr", &request.text.funcgraph_retaddr},
        {"funcgraph-retval", &request.text.funcgraph_retval},
        {"funcgraph-retval-hex", &request.text.funcgraph_retval_hex},
        {"funcgraph-tail", &request.text.funcgraph_tail},
        {"irq-info", &request.text.irq_info},
        {"sleep-time", &request.recording.sleep_time},
    };
    const bool off = word.starts_with("no");
    const std::string_view name = off ? word.substr(2) : word;
    std::vector<std::string_view> names;
    for (const auto& [known, flag] : options) {
        names.push_back(known);
        if (known != name) continue;
        *flag = !off;
        request.recording.results = request.text.funcgraph_retval;
        return {};
    }
    if (name == "overwrite") {
        request.recording.when_full = off ? overflow::drop : overflow::overwrite;
        return {};
    }
    names.push_back("overwrite");
    return error{errc::invalid_argument,
                 "FTRACE_OPTIONS has no '" + std::string(word) + "'" + did_you_mean(name, names)};
}

/// Reads one variable that is not empty into the request. False: there is none of this name.
[[nodiscard]] FTRACE_NOTRACE inline result<bool> apply_variable(std::string_view name,
                                                                const std::string& value,
                                                                autostart_request& request) {
    const std::pair<std::string_view, std::string*> texts[] = {
        {"FTRACE_TRACER", &request.tracer},
        {"FTRACE_FILTER", &request.filter},
        {"FTRACE_NOTRACE", &request.notrace},
        {"FTRACE_GRAPH_FUNCTION", &request.graph_function},
        {"FTRACE_GRAPH_NOTRACE", &request.graph_notrace},
        {"FTRACE_OUTPUT", &request.output},
    };
    for (const auto& [known, text] : texts) {
        if (known != name) continue;
        *text = value;
        return true;
    }
    if (name == "FTRACE_MAX_DEPTH") {
        auto number = parse_number(name, value, 0, 1'000'000);
        if (!number) return std::move(number).error();
        request.max_depth = static_cast<int>(*number);
    } else if (name == "FTRACE_THRESH") {
        auto number = parse_number(name, value, 0, tracer_options::longest_thresh);
        if (!number) return std::move(number).error();
        request.recording.tracing_thresh = *number;
    } else if (name == "FTRACE_BUFFER_KB") {
        auto number = parse_number(name, value, 1, 16'777'216);
        if (!number) return std::move(number).error();
        request.recording.buffer_kb = static_cast<std::size_t>(*number);
    } else if (name == "FTRACE_OPTIONS") {
        for (const std::string_view word : split_list(value))
            if (auto applied = apply_option(word, request); !applied)
                return std::move(applied).error();
    } else {
        return false;
    }
    return true;
}

/// A name that is none of ours: an error if it was probably meant to be one, else another program's
/// own affair. `tracing`: a variable of ours is set.
[[nodiscard]] FTRACE_NOTRACE inline result<void> check_unknown(const std::string& name,
                                                               bool tracing) {
    constexpr std::string_view prefix = "FTRACE_";
    const std::vector<std::string_view> known = {
        "TRACER",    "FILTER", "NOTRACE", "GRAPH_FUNCTION", "GRAPH_NOTRACE",
        "MAX_DEPTH", "THRESH", "OUTPUT",  "BUFFER_KB",      "OPTIONS"};
    const std::string_view meant = meant_name(std::string_view(name).substr(prefix.size()), known);
    if (meant.empty() || (!tracing && meant != "TRACER")) return {};
    return error{errc::invalid_argument, "there is no variable " + name + ": did you mean '" +
                                             std::string(prefix) + std::string(meant) +
                                             "'? <ftrace/autostart.hpp> lists all"};
}

/// The whole environment; the first mistake is the answer. An empty variable is as good as none.
[[nodiscard]] FTRACE_NOTRACE inline result<void> read_environment(autostart_request& request) {
    std::string other;
    std::vector<std::string> unknown;
    for (char** each = ::environ; each != nullptr && *each != nullptr; ++each) {
        const std::string_view entry = *each;
        const std::size_t equals = entry.find('=');
        if (!entry.starts_with("FTRACE_") || equals == std::string_view::npos) continue;
        const std::string name(entry.substr(0, equals)), value(entry.substr(equals + 1));
        if (value.empty()) continue;
        auto applied = apply_variable(name, value, request);
        if (!applied) return std::move(applied).error();
        if (!*applied)
            unknown.push_back(name);
        else if (name != "FTRACE_TRACER")
            other = name;
    }
    for (const std::string& name : unknown)
        if (auto foreign = check_unknown(name, !request.tracer.empty() || !other.empty()); !foreign)
            return foreign;
    if (request.tracer.empty() && !other.empty())
        return error{errc::invalid_argument,
                     other +
                         " is set, but FTRACE_TRACER is not: set it to function or "
                         "function_graph"};
    const auto tracers = tracer::available_tracers();
    for (const std::string_view known : tracers)
        if (known == request.tracer || request.tracer.empty()) return {};
    return error{errc::invalid_argument, "FTRACE_TRACER is '" + request.tracer + "'" +
                                             did_you_mean(request.tracer, tracers)};
}

}  // namespace ftrace::inline v0::detail
