// Which functions were called most and took the time: the table of the kernel's function profile
// (kernel/trace/ftrace.c, function_stat_show), out of a recorded trace. The kernel counts every
// call; here only those count that are in the trace, and a last line tells how many events are not.
#pragma once

#include <ftrace/core/config.hpp>
#include <ftrace/export/format.hpp>
#include <ftrace/export/names.hpp>
#include <ftrace/trace/snapshot.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace ftrace::inline v0 {

/// One function's calls. Times are in nanoseconds, of the calls whose end was seen and whose duration
/// is known.
struct function_profile {
    FTRACE_NOTRACE constexpr function_profile() = default;

    std::uintptr_t ip = 0;
    std::uint64_t hits = 0;     ///< calls recorded
    std::uint64_t returns = 0;  ///< of these, the ones whose time is known
    /// With all they called; of a recursive function each level counts, as in the kernel.
    std::uint64_t time = 0;
    std::uint64_t self = 0;  ///< without the traced functions they called
    double squares = 0;      ///< sum of the squared times

    [[nodiscard]] FTRACE_NOTRACE std::uint64_t average() const {
        return returns == 0 ? 0 : time / returns;
    }
    /// Sample variance in square microseconds times 1000, the number that the kernel prints as s^2.
    [[nodiscard]] FTRACE_NOTRACE std::uint64_t variance() const {
        if (returns < 2) return 0;
        const double n = static_cast<double>(returns), sum = static_cast<double>(time);
        const double spread = (n * squares - sum * sum) / (n * (n - 1) * 1000);
        return spread > 0 ? static_cast<std::uint64_t>(spread) : 0;
    }
};

enum class profile_order : std::uint8_t { time, self, hits };

struct top_options {
    FTRACE_NOTRACE ~top_options() = default;

    name_options names{};
    std::size_t count = 10;  ///< functions shown; 0: all
    /// By time, as the kernel. A function trace has no times, and goes by hits.
    profile_order order = profile_order::time;
    int name_width = 30;  ///< the kernel's; longer names are cut
    bool self = false;    ///< one column more than the kernel: time without callees
};

/// The profile of a trace, in no particular order.
[[nodiscard]] FTRACE_NOTRACE inline std::vector<function_profile> profile(
    const trace_snapshot& trace) {
    std::map<std::uintptr_t, function_profile> functions;
    // By thread and depth: the time spent in the callees of the open call there.
    std::vector<std::vector<std::uint64_t>> callees(trace.threads.size());
    for (const trace_event& event : trace.events) {
        function_profile& f = functions[event.ip];
        f.ip = event.ip;
        auto& inside = callees[event.call_thread()];
        // Where events are missing, it is not known which calls are open.
        if (event.lost_before != 0) inside.clear();
        if (inside.size() < event.depth + std::size_t{2})
            inside.resize(event.depth + std::size_t{2}, 0);
        if (event.kind != event_kind::graph_return) {
            ++f.hits;
            inside[event.depth + 1] = 0;
            continue;
        }
        const std::uint64_t within = std::exchange(inside[event.depth + 1], 0);
        if (event.duration == trace_event::unknown) {
            inside[event.depth] += within;  // at least
            continue;
        }
        ++f.returns;
        if (f.hits < f.returns) f.hits = f.returns;  // the call itself was overwritten
        f.time += event.duration;
        f.self += event.duration - std::min(event.duration, within);
        f.squares += static_cast<double>(event.duration) * static_cast<double>(event.duration);
        inside[event.depth] += event.duration;
    }
    std::vector<function_profile> out;
    out.reserve(functions.size());
    for (const auto& [ip, f] : functions) out.push_back(f);
    return out;
}

namespace detail {

/// Functions that are shown by one name (overloads, instances of a template where its arguments
/// are not shown, what name_options::replace makes equal) become one row, which has the address of
/// the first.
[[nodiscard]] FTRACE_NOTRACE inline std::vector<function_profile> merge_equal_names(
    const std::vector<function_profile>& all, function_names& names) {
    std::map<std::string, std::size_t> rows;
    std::vector<function_profile> out;
    for (const function_profile& f : all) {
        const auto [row, added] = rows.emplace(names.name(f.ip), out.size());
        if (added) {
            out.push_back(f);
            continue;
        }
        function_profile& sum = out[row->second];
        sum.hits += f.hits;
        sum.returns += f.returns;
        sum.time += f.time;
        sum.self += f.self;
        sum.squares += f.squares;
    }
    return out;
}

}  // namespace detail

/// The functions with the most time, as the kernel's trace_stat/function table; below it, where
/// events were lost, "[LOST 14 EVENTS]".
[[nodiscard]] FTRACE_NOTRACE inline std::string top(const trace_snapshot& trace,
                                                    const top_options& options = {}) {
    function_names names(trace, options.names, false);
    std::vector<function_profile> all = detail::merge_equal_names(profile(trace), names);
    bool timed = false;
    for (const function_profile& f : all) timed |= f.returns != 0;
    const auto key = [&](const function_profile& f) FTRACE_NOTRACE {
        if (!timed || options.order == profile_order::hits) return f.hits;
        return options.order == profile_order::self ? f.self : f.time;
    };
    std::sort(all.begin(), all.end(),
              [&](const function_profile& a, const function_profile& b)
                  FTRACE_NOTRACE { return key(a) != key(b) ? key(a) > key(b) : a.ip < b.ip; });
    if (options.count != 0 && all.size() > options.count) all.resize(options.count);

    const int width = options.name_width;
    std::string out;
    detail::append(out, "  {:<{}}         Hit", "Function", width);
    if (timed)
        detail::append(out, "    Time        {}    Avg             s^2",
                       options.self ? "    Self        " : "");
    detail::append(out, "\n  {:<{}}         ---", "--------", width);
    if (timed)
        detail::append(out, "    ----        {}    ---             ---",
                       options.self ? "    ----        " : "");
    out += '\n';
    for (const function_profile& f : all) {
        detail::append(out, "  {:<{}.{}}  {:10}", names.name(f.ip), width, width, f.hits);
        if (timed) {
            out += "    ";
            detail::append_duration(out, f.time);
            if (options.self) {
                out += "    ";
                detail::append_duration(out, f.self);
            }
            out += "    ";
            detail::append_duration(out, f.average());
            out += "    ";
            detail::append_duration(out, f.variance());
        }
        out += '\n';
    }
    if (const std::uint64_t lost = trace.overwritten + trace.dropped; lost != 0)
        detail::append(out, "  [LOST {} EVENTS]\n", lost);
    return out;
}

}  // namespace ftrace::inline v0
