// The pieces that all text formats share, made with fmt (https://github.com/fmtlib/fmt). The
// formats are the kernel's.
//
// A program that uses no fmt has nothing to link: the first header of the library to include fmt
// takes it in its header-only form. A file that included fmt before has chosen a form, and that is
// taken: if it is the compiled one, the program links -lfmt, as it does anyway. Files of one
// program may differ: functions of the header-only form are inline, and give way to those of the
// library that are linked; both are of one version, for fmt's namespace carries it.
#pragma once

#if !defined(FMT_VERSION) && !defined(FMT_HEADER_ONLY)
#define FMT_HEADER_ONLY
#endif
#include <fmt/format.h>
#include <ftrace/core/config.hpp>

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string>

namespace ftrace::inline v0::detail {

/// Appends the formatted arguments; the format is checked when this is compiled.
template <typename... Args>
FTRACE_NOTRACE void append(std::string& out, fmt::format_string<const Args&...> format,
                           const Args&... args) {
    fmt::vformat_to(std::back_inserter(out), format, fmt::make_format_args(args...));
}

/// "12.917 us   ": microseconds with as many of three decimals as keep it within seven digits,
/// twelve columns in all (kernel/trace/trace_functions_graph.c, trace_print_graph_duration).
FTRACE_NOTRACE inline void append_duration(std::string& out, std::uint64_t nanoseconds) {
    constexpr std::size_t width = 8, most_digits = 7;
    const std::size_t begin = out.size();
    append(out, "{}", nanoseconds / 1000);
    if (out.size() - begin < most_digits) {
        append(out, ".{:03}", nanoseconds % 1000);
        if (out.size() - begin > width) out.resize(begin + width);
    }
    const std::size_t length = out.size() - begin;
    out += " us ";
    if (length < width) out.append(width - length, ' ');
}

/// How long a call took, as one character: + above 10 us, ! above 100 us, # above 1 ms, * above
/// 10 ms, @ above 100 ms, $ above 1 s.
[[nodiscard]] FTRACE_NOTRACE inline char duration_mark(std::uint64_t nanoseconds) {
    if (nanoseconds > 1'000'000'000) return '$';
    if (nanoseconds > 100'000'000) return '@';
    if (nanoseconds > 10'000'000) return '*';
    if (nanoseconds > 1'000'000) return '#';
    if (nanoseconds > 100'000) return '!';
    if (nanoseconds > 10'000) return '+';
    return ' ';
}

/// "   52.100123", seconds and microseconds.
FTRACE_NOTRACE inline void append_time(std::string& out, std::uint64_t nanoseconds) {
    append(out, "{:5}.{:06}", nanoseconds / 1'000'000'000, nanoseconds / 1000 % 1'000'000);
}

/// "CPU:3 [LOST 14 EVENTS]" and the end of the line.
FTRACE_NOTRACE inline void append_lost(std::string& out, unsigned cpu, std::uint64_t count) {
    append(out, "CPU:{} [LOST {} EVENTS]\n", cpu, count);
}

}  // namespace ftrace::inline v0::detail
