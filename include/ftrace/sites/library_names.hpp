// Telling the library's own functions from the program's.
#pragma once

#include <ftrace/core/config.hpp>
#include <string_view>

namespace ftrace::inline v0::detail {

/// Whether a linker name belongs to this library: its functions, what the standard library's
/// templates become for its types, and functions that take one of its types, as callbacks do.
[[nodiscard]] FTRACE_NOTRACE inline bool is_library_own(std::string_view linker_name) noexcept {
    return linker_name.find("6ftrace2v0") != std::string_view::npos;
}

/// Whether gcc made this function from another one by changing its parameters or cutting it up:
/// what it takes is not what its C++ signature says.
[[nodiscard]] FTRACE_NOTRACE inline bool is_clone(std::string_view linker_name) noexcept {
    const std::size_t dot = linker_name.find('.', 1);
    if (dot == std::string_view::npos) return false;
    const std::string_view suffix = linker_name.substr(dot);
    for (const std::string_view kind : {".isra", ".constprop", ".part", ".cold"})
        if (suffix.find(kind) != std::string_view::npos) return true;
    return false;
}

}  // namespace ftrace::inline v0::detail
