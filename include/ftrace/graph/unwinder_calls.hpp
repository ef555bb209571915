// The functions of the unwinder that asks: a process may have several.
//
// A program of LLVM's unwinder has libgcc's too as soon as a thread is cancelled: glibc loads it for
// that. What the one calls a context is not what the other does, so a personality routine has to
// answer with the functions of who called it.
#pragma once

#include <dlfcn.h>
#include <link.h>
#include <unwind.h>

#include <cstddef>
#include <cstdint>
#include <ftrace/core/config.hpp>
#include <ftrace/sites/exported_function.hpp>
#include <type_traits>

namespace ftrace::inline v0::detail {

/// Of one unwinder (Itanium C++ ABI: Exception Handling, 1.5), and where its object is loaded.
struct unwinder_calls {
    std::uintptr_t begin, end;
    decltype(&::_Unwind_GetIP) get_ip;
    decltype(&::_Unwind_SetIP) set_ip;
    decltype(&::_Unwind_SetGR) set_register;
    decltype(&::_Unwind_GetCFA) get_cfa;
    decltype(&::_Unwind_GetRegionStart) get_region_start;
    decltype(&::_Unwind_Backtrace) backtrace;
};

class unwinder_table {
public:
    FTRACE_NOTRACE unwinder_table() noexcept {}

    /// Asks the dynamic linker.
    FTRACE_NOTRACE void find() {
        linked_ = {0,
                   0,
                   &::_Unwind_GetIP,
                   &::_Unwind_SetIP,
                   &::_Unwind_SetGR,
                   &::_Unwind_GetCFA,
                   &::_Unwind_GetRegionStart,
                   &::_Unwind_Backtrace};
        resume_ = reinterpret_cast<std::uintptr_t>(&::_Unwind_Resume);
        find_library("libgcc_s.so.1", RTLD_NOW);
        find_library("libunwind.so.1", RTLD_NOW | RTLD_NOLOAD);
    }

    /// Those of the unwinder that has `address` in its code. One that is linked into several
    /// objects knows itself everywhere.
    [[nodiscard]] FTRACE_NO_INSTRUMENTATION const unwinder_calls& of(
        std::uintptr_t address) const noexcept {
        for (std::size_t i = 0; i < count_; ++i)
            if (address - libraries_[i].begin < libraries_[i].end - libraries_[i].begin)
                return libraries_[i];
        return linked_;
    }

    /// _Unwind_Resume() of this program's unwinder.
    [[nodiscard]] FTRACE_NOTRACE std::uintptr_t resume() const noexcept { return resume_; }

private:
    static constexpr std::size_t most = 2;

    FTRACE_NOTRACE void find_library(const char* name, int mode) {
        const linker_functions& linker = dynamic_linker();
        if (linker.open == nullptr || linker.find == nullptr || count_ == most) return;
        void* const library = linker.open(name, mode);
        if (library == nullptr) return linker.forget_error();
        unwinder_calls calls{};
        const auto look_up = [&](auto& function, const char* of) FTRACE_NOTRACE {
            function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(
                linker.find(library, of));
            return function != nullptr;
        };
        if (!look_up(calls.get_ip, "_Unwind_GetIP") || !look_up(calls.set_ip, "_Unwind_SetIP") ||
            !look_up(calls.set_register, "_Unwind_SetGR") ||
            !look_up(calls.get_cfa, "_Unwind_GetCFA") ||
            !look_up(calls.get_region_start, "_Unwind_GetRegionStart") ||
            !look_up(calls.backtrace, "_Unwind_Backtrace"))
            return;
        calls.begin = reinterpret_cast<std::uintptr_t>(calls.get_ip);
        ::dl_iterate_phdr(find_object, &calls);
        libraries_[count_++] = calls;
    }

    // Widens [begin, end), which begins with one address, to the object around it.
    FTRACE_NOTRACE static int find_object(dl_phdr_info* object, std::size_t, void* data) {
        auto& calls = *static_cast<unwinder_calls*>(data);
        for (int i = 0; i < object->dlpi_phnum; ++i) {
            const auto& segment = object->dlpi_phdr[i];
            const std::uintptr_t at = object->dlpi_addr + segment.p_vaddr;
            if (segment.p_type != PT_LOAD || (segment.p_flags & PF_X) == 0 ||
                calls.begin - at >= segment.p_memsz)
                continue;
            calls.begin = at;
            calls.end = at + segment.p_memsz;
            return 1;
        }
        return 0;
    }

    unwinder_calls linked_{};
    unwinder_calls libraries_[most]{};
    std::size_t count_ = 0;
    std::uintptr_t resume_ = 0;
};

}  // namespace ftrace::inline v0::detail
