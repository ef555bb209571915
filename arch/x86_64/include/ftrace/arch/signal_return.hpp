// Where signal handlers return to.
#pragma once

#include <link.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <ftrace/arch/kernel_action.hpp>
#include <ftrace/core/config.hpp>

namespace ftrace::inline v0::arch {

/// What the kernel pushes as the return address of handlers (include/uapi/asm/signal.h): code of the
/// C library's, `mov $15, %rax; syscall`. It has no symbol.
class signal_return {
public:
    /// Its address; 0: not found.
    [[nodiscard]] FTRACE_NOTRACE static std::uintptr_t find() noexcept {
        for (int signal = 1; signal <= kernel_action::signals; ++signal) {
            kernel_action action{};
            if (kernel_action::read(signal, action) &&
                (action.flags & kernel_action::has_restorer) != 0)
                return reinterpret_cast<std::uintptr_t>(action.restorer);
        }
        search found{"libc.so", 0};
        ::dl_iterate_phdr(search_object, &found);
        if (found.result != 0) return found.result;
        found.name = "";  // a static program: the first object
        ::dl_iterate_phdr(search_object, &found);
        return found.result;
    }

private:
    struct search {
        const char* name;  // a part of the object's
        std::uintptr_t result;
    };

    // No handler is installed: looks through the code of the C library.
    FTRACE_NOTRACE static int search_object(dl_phdr_info* object, std::size_t,
                                            void* data) noexcept {
        static constexpr unsigned char code[] = {0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, 0x0f, 0x05};
        auto& self = *static_cast<search*>(data);
        if (::strstr(object->dlpi_name, self.name) == nullptr) return 0;
        for (int i = 0; i < object->dlpi_phnum; ++i) {
            const auto& segment = object->dlpi_phdr[i];
            const std::uintptr_t at = object->dlpi_addr + segment.p_vaddr;
            if (segment.p_type != PT_LOAD || (segment.p_flags & PF_X) == 0) continue;
            const void* const found =
                ::memmem(reinterpret_cast<const void*>(at), segment.p_memsz, code, sizeof code);
            self.result = reinterpret_cast<std::uintptr_t>(found);
            if (found != nullptr) break;
        }
        return 1;
    }
};

}  // namespace ftrace::inline v0::arch
