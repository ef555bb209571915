// Keeping code loaded that process-wide state refers to.
#pragma once

#include <dlfcn.h>
#include <link.h>
#include <string.h>

#include <cstddef>
#include <cstdint>
#include <ftrace/core/config.hpp>
#include <ftrace/sites/exported_function.hpp>

namespace ftrace::inline v0::detail {

/// Which object contains an address. No template of std: this runs where the program's functions
/// are traced, and must not be in their trace.
struct object_search {
    std::uintptr_t address;
    bool first = true;  ///< the executable is the first object
    char path[4096] = {};

    FTRACE_NOTRACE explicit object_search(const void* inside) noexcept
        : address(reinterpret_cast<std::uintptr_t>(inside)) {}

    /// For dl_iterate_phdr().
    FTRACE_NOTRACE static int look_at(dl_phdr_info* object, std::size_t, void* data) noexcept {
        auto& self = *static_cast<object_search*>(data);
        const bool is_executable = self.first;
        self.first = false;
        for (int i = 0; i < object->dlpi_phnum; ++i) {
            const auto& segment = object->dlpi_phdr[i];
            if (segment.p_type != PT_LOAD ||
                self.address - (object->dlpi_addr + segment.p_vaddr) >= segment.p_memsz)
                continue;
            if (!is_executable) ::strncpy(self.path, object->dlpi_name, sizeof self.path - 1);
            return 1;
        }
        return 0;
    }
};

/// Keeps the object that contains `address` loaded for ever. The executable stays anyway.
FTRACE_NOTRACE inline void pin_object(const void* address) {
    object_search search(address);
    {
        const image_guard guard;
        ::dl_iterate_phdr(object_search::look_at, &search);
    }
    if (search.path[0] == '\0') return;
    if (auto* const open = dynamic_linker().open)
        open(search.path, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
}

}  // namespace ftrace::inline v0::detail
