// Tells unwinders of the process about code that no object file contains.
//
// LLVM's takes a lock for every exception anyway. libgcc does so from the first time on that it is
// told of anything (gcc 12: a mutex, in _Unwind_Find_FDE): from then on a child that is forked
// while another thread throws may wait for that thread for ever at its own first exception, and so
// may a signal handler that calls backtrace() for the thread it interrupted. So it is told in
// static programs only, most of which tell it of their own code when they start, and where there is
// no other way to unwind at all (unwound_space.hpp).
#pragma once

#include <dlfcn.h>

#include <cstddef>
#include <ftrace/arch/unwind_section.hpp>
#include <ftrace/core/config.hpp>
#include <ftrace/sites/exported_function.hpp>

// libgcc's, of an .eh_frame section, with room for its notes of it. (Its __register_frame allocates
// that without a look at whether it got any.) LLVM's libunwind has the name too, and does nothing.
extern "C" void __register_frame_info(const void*, void*);
// LLVM's libunwind only, of one FDE.
extern "C" void __unw_add_dynamic_fde(unsigned long);

namespace ftrace::inline v0::detail {

// Weak by reference: a static program need not contain them, and its own uses stay strong.
static __typeof__(::__register_frame_info) weak_register_frame
    __attribute__((weakref("__register_frame_info")));
static __typeof__(::__unw_add_dynamic_fde) weak_add_dynamic_fde
    __attribute__((weakref("__unw_add_dynamic_fde")));

/// The registration functions of the unwinders in this process, each once.
struct unwinder_functions {
    using add_section = void (*)(const void*, void*);
    using add_fde = void (*)(unsigned long);

    constexpr FTRACE_NOTRACE unwinder_functions() noexcept = default;

    FTRACE_NOTRACE void add_llvm(add_fde function) noexcept { llvm = function; }
    FTRACE_NOTRACE void add_libgcc(add_section function) noexcept {
        if (libgcc[0] == function || libgcc[1] == function) return;
        libgcc[libgcc[0] != nullptr] = function;
    }

    [[nodiscard]] FTRACE_NOTRACE bool any() const noexcept {
        return llvm != nullptr || libgcc[0] != nullptr;
    }

    add_fde llvm = nullptr;
    add_section libgcc[arch::unwind_section::most_unwinders]{};  // linked in statically, and shared
};

// Whether the __register_frame_info this object sees is LLVM's: then it lies in the object that has
// LLVM's other function. A static program, where dladdr knows nothing, has one unwinder.
FTRACE_NOTRACE inline bool registers_with_llvm(unwinder_functions::add_section add) noexcept {
    Dl_info mine, other;
    if (weak_add_dynamic_fde == nullptr) return false;
    const bool known = ::dladdr(reinterpret_cast<void*>(add), &mine) != 0 &&
                       ::dladdr(reinterpret_cast<void*>(weak_add_dynamic_fde), &other) != 0;
    return !known || mine.dli_fbase == other.dli_fbase;
}

/// Which unwinders are told of code: in dynamically linked programs libgcc only if it must be.
enum class told : bool { those_without_harm, all };

/// Looks for the unwinders this object was linked with, and the shared ones. glibc's backtrace()
/// loads libgcc_s when it is first called; if that is to be told it is loaded here, since nobody
/// would tell us then.
FTRACE_NOTRACE inline unwinder_functions find_unwinders(told which) {
    unwinder_functions found;
    const linker_functions& linker = dynamic_linker();
    const bool is_static = linker.open == nullptr || linker.find == nullptr;
    const bool with_libgcc = is_static || which == told::all;
    if (weak_add_dynamic_fde != nullptr) found.add_llvm(weak_add_dynamic_fde);
    if (with_libgcc && weak_register_frame != nullptr && !registers_with_llvm(weak_register_frame))
        found.add_libgcc(weak_register_frame);
    if (is_static) return found;
    const auto add_library = [&](const char* name, int mode) FTRACE_NOTRACE {
        void* const library = linker.open(name, mode);
        if (library == nullptr) return;
        void* const llvm = linker.find(library, "__unw_add_dynamic_fde");
        void* const libgcc = linker.find(library, "__register_frame_info");
        if (llvm != nullptr)
            found.add_llvm(reinterpret_cast<unwinder_functions::add_fde>(llvm));
        else if (libgcc != nullptr && with_libgcc)
            found.add_libgcc(reinterpret_cast<unwinder_functions::add_section>(libgcc));
    };
    if (with_libgcc) add_library("libgcc_s.so.1", RTLD_NOW);
    add_library("libunwind.so.1", RTLD_NOW | RTLD_NOLOAD);
    linker.forget_error();
    return found;
}

FTRACE_LOCAL inline constinit unwinder_functions found_unwinders;
FTRACE_LOCAL inline constinit bool looked_for_unwinders = false;

/// Those that are told without harm, looked for once; two threads that do it at the same time find
/// the same. The first call goes through the dynamic linker, which has a lock of its own: it must
/// not be made while the process is locked.
FTRACE_NOTRACE inline const unwinder_functions& unwinders() {
    if (!__atomic_load_n(&looked_for_unwinders, __ATOMIC_ACQUIRE)) {
        const unwinder_functions found = find_unwinders(told::those_without_harm);
        __atomic_store_n(&found_unwinders.llvm, found.llvm, __ATOMIC_RELAXED);
        for (std::size_t i = 0; i < arch::unwind_section::most_unwinders; ++i)
            __atomic_store_n(&found_unwinders.libgcc[i], found.libgcc[i], __ATOMIC_RELAXED);
        __atomic_store_n(&looked_for_unwinders, true, __ATOMIC_RELEASE);
    }
    return found_unwinders;
}

/// Tells unwinders of a section, which has to stay for ever.
FTRACE_NOTRACE inline void register_unwind_section(arch::unwind_section& section,
                                                   const unwinder_functions& functions) {
    if (functions.llvm != nullptr) functions.llvm(reinterpret_cast<unsigned long>(section.fde()));
    for (std::size_t i = 0; i < arch::unwind_section::most_unwinders; ++i)
        if (functions.libgcc[i] != nullptr) functions.libgcc[i](section.begin(), section.notes(i));
}

}  // namespace ftrace::inline v0::detail
