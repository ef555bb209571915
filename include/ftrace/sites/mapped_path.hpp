// Which file lies at an address, as the kernel knows it.
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <ftrace/core/config.hpp>
#include <string>
#include <string_view>

namespace ftrace::inline v0::detail {

/// Everything that /proc/self/maps says; empty if it cannot be read.
[[nodiscard]] FTRACE_NOTRACE inline std::string memory_map() {
    const int file = ::open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    if (file < 0) return {};
    constexpr std::size_t step = 1 << 16;
    std::string text;
    for (std::size_t size = 0;;) {
        text.resize(size + step);
        const ssize_t count = ::read(file, text.data() + size, step);
        if (count > 0)
            size += static_cast<std::size_t>(count);
        else if (count == 0 || errno != EINTR) {
            text.resize(size);
            break;
        }
    }
    ::close(file);
    return text;
}

/// The path of the file that `map`, a text like /proc/self/maps, has at `address`; empty if there
/// is none. Unlike the loader's it is absolute, and follows the file when it is renamed. A file
/// that was deleted has " (deleted)" behind its path.
[[nodiscard]] FTRACE_NOTRACE inline std::string_view mapped_path(std::string_view map,
                                                                 std::uintptr_t address) noexcept {
    const auto take_number = [](std::string_view& text) FTRACE_NOTRACE {
        std::uintptr_t value = 0;
        while (!text.empty()) {
            const char c = text[0];
            const int digit = c >= '0' && c <= '9'   ? c - '0'
                              : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                                     : -1;
            if (digit < 0) break;
            value = value * 16 + static_cast<std::uintptr_t>(digit);
            text.remove_prefix(1);
        }
        return value;
    };
    while (!map.empty()) {
        const std::size_t end = map.find('\n');
        std::string_view line = map.substr(0, end);
        map.remove_prefix(end == std::string_view::npos ? map.size() : end + 1);
        const std::uintptr_t from = take_number(line);
        if (!line.starts_with('-')) continue;
        line.remove_prefix(1);
        const std::uintptr_t to = take_number(line);
        if (address - from >= to - from) continue;
        const std::size_t path = line.find('/');
        return path == std::string_view::npos ? std::string_view() : line.substr(path);
    }
    return {};
}

}  // namespace ftrace::inline v0::detail
