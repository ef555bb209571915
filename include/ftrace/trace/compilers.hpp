// Which compilers made an object.
#pragma once

#include <cstddef>
#include <ftrace/core/config.hpp>
#include <ftrace/sites/elf_file.hpp>
#include <string>
#include <string_view>

namespace ftrace::inline v0::detail {

/// Whether a .comment section, strings of the compilers and linkers that had a part in an object,
/// names gcc and no other compiler.
[[nodiscard]] FTRACE_NOTRACE inline bool names_gcc_alone(std::string_view comment) {
    bool gcc = false;
    while (!comment.empty()) {
        const std::size_t end = comment.find('\0');
        const std::string_view word = comment.substr(0, end);
        comment.remove_prefix(end == std::string_view::npos ? comment.size() : end + 1);
        if (word.empty() || word.starts_with("Linker: ")) continue;
        if (!word.starts_with("GCC: ")) return false;
        gcc = true;
    }
    return gcc;
}

/// Whether a local function of this file has the parameters that its name says.
///
/// clang removes parameters of functions that only their own file can call, and passes values
/// instead of addresses, and leaves the name as it is. gcc does the same to a copy that it gives
/// another name (f.isra.0). The symbol does not tell which of them made a function; the file does,
/// if they all were one. Without that note (strip -R .comment) nothing is known.
[[nodiscard]] FTRACE_NOTRACE inline bool keeps_local_parameters(const std::string& path) {
    const elf_file file(path.c_str());
    if (!file.valid()) return false;
    const std::size_t index = file.find_section(".comment");
    if (index == file.section_count()) return false;
    const auto bytes = file.contents(file.section(index));
    return names_gcc_alone({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

}  // namespace ftrace::inline v0::detail
