// Keeping code loaded that process-wide state refers to.
#pragma once

#include <dlfcn.h>

#include <cstdint>
#include <ftrace/core/config.hpp>
#include <ftrace/sites/exported_function.hpp>
#include <ftrace/sites/loaded_image.hpp>
#include <string>

namespace ftrace::inline v0::detail {

/// Keeps the object that contains `address` loaded for ever. The executable stays anyway. dlopen is
/// looked up and not named, since naming it would make the linker warn about every static program.
FTRACE_NOTRACE inline void pin_object(const void* address) {
    std::string path;
    for_each_image([&](const loaded_image& image, load_count) FTRACE_NOTRACE {
        if (!image.holds(reinterpret_cast<std::uintptr_t>(address), 1, 0)) return true;
        if (!image.is_executable()) path = image.path;
        return false;
    });
    if (path.empty()) return;
    const std::uintptr_t open = exported_function("dlopen");
    if (open != 0)
        reinterpret_cast<void* (*)(const char*, int)>(open)(
            path.c_str(), RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
}

}  // namespace ftrace::inline v0::detail
