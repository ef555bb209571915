// Telling the library's own functions from the program's.
#pragma once

#include <cstddef>
#include <ftrace/core/config.hpp>
#include <string_view>

namespace ftrace::inline v0::detail {

/// Whether a linker name belongs to this library: its functions, what the standard library's
/// templates become for its types, and functions that take one of its types, as callbacks do.
[[nodiscard]] FTRACE_NOTRACE inline bool is_library_own(std::string_view linker_name) noexcept {
    return linker_name.find("6ftrace2v0") != std::string_view::npos;
}

/// What a compiler or linker appended to a function's name: ".isra.0", ".lto_priv.1"; empty if
/// nothing, and for the names of what has none ("libx.so+0x1234").
[[nodiscard]] FTRACE_NOTRACE inline std::string_view clone_suffix(
    std::string_view linker_name) noexcept {
    const std::size_t dot = linker_name.find('.', 1);
    if (dot == std::string_view::npos || linker_name.find('+') != std::string_view::npos) return {};
    return linker_name.substr(dot);
}

/// Whether a compiler made this function from another one by changing its parameters or cutting it
/// up: what it takes is not what its C++ signature says.
///
/// gcc: .isra .constprop .part .cold, ._omp_fn, .actor and .destroy of coroutines. clang:
/// .specialized .cold .extracted .omp_outlined, .resume .destroy .cleanup of coroutines. Both:
/// .resolver of multiversioned functions. Others keep the parameters: .lto_priv .localalias .llvm
/// .__uniq .memprof, versions for a processor (.avx2, .arch_haswell, .default), numbers alone.
[[nodiscard]] FTRACE_NOTRACE inline bool is_clone(std::string_view linker_name) noexcept {
    std::string_view rest = clone_suffix(linker_name);
    while (!rest.empty()) {
        rest.remove_prefix(1);
        const std::string_view word = rest.substr(0, rest.find('.'));
        for (const std::string_view kind :
             {"isra", "constprop", "part", "cold", "specialized", "actor", "resume", "destroy",
              "cleanup", "extracted", "_omp_fn", "omp_outlined", "resolver"})
            if (word == kind) return true;
        rest.remove_prefix(word.size());
    }
    return false;
}

}  // namespace ftrace::inline v0::detail
