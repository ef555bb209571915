// The pieces that all text formats share. The formats are the kernel's, so the format strings are
// too: printf's.
#pragma once

#include <ftrace/core/config.hpp>

#include <cstdarg>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>

namespace ftrace::inline v0::detail {

/// Appends what printf would print.
FTRACE_NOTRACE __attribute__((format(printf, 2, 3))) inline void append(std::string& out,
                                                                        const char* format, ...) {
    char fixed[256];
    std::va_list arguments;
    va_start(arguments, format);
    const int length = std::vsnprintf(fixed, sizeof fixed, format, arguments);
    va_end(arguments);
    if (length < 0) return;
    const std::size_t needed = static_cast<std::size_t>(length);
    if (needed < sizeof fixed) {
        out.append(fixed, needed);
        return;
    }
    const std::size_t before = out.size();
    out.resize(before + needed + 1);
    va_start(arguments, format);
    std::vsnprintf(out.data() + before, needed + 1, format, arguments);
    va_end(arguments);
    out.resize(before + needed);
}

/// "12.917 us   ": microseconds with as many of three decimals as keep it within seven digits,
/// twelve columns in all (kernel/trace/trace_functions_graph.c, trace_print_graph_duration).
FTRACE_NOTRACE inline void append_duration(std::string& out, std::uint64_t nanoseconds) {
    char digits[32];
    int length = std::snprintf(digits, sizeof digits, "%llu",
                               static_cast<unsigned long long>(nanoseconds / 1000));
    constexpr int width = 8, most_digits = 7;
    if (length < most_digits) {
        char decimals[8];
        std::snprintf(decimals, sizeof decimals, ".%03llu",
                      static_cast<unsigned long long>(nanoseconds % 1000));
        const int room = width - length;
        const int taken = room < 4 ? room : 4;
        out.append(digits, static_cast<std::size_t>(length))
            .append(decimals, static_cast<std::size_t>(taken));
        length += taken;
    } else {
        out.append(digits, static_cast<std::size_t>(length));
    }
    out += " us ";
    if (length < width) out.append(static_cast<std::size_t>(width - length), ' ');
}

/// How long a call took, as one character: above 10 us +, 100 us !, 1 ms #, 10 ms *, 100 ms @, 1 s
/// $.
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
    append(out, "%5llu.%06llu", static_cast<unsigned long long>(nanoseconds / 1'000'000'000),
           static_cast<unsigned long long>(nanoseconds / 1000 % 1'000'000));
}

/// "CPU:3 [LOST 14 EVENTS]" and the end of the line.
FTRACE_NOTRACE inline void append_lost(std::string& out, unsigned cpu, std::uint64_t count) {
    append(out, "CPU:%u [LOST %llu EVENTS]\n", cpu, static_cast<unsigned long long>(count));
}

}  // namespace ftrace::inline v0::detail
