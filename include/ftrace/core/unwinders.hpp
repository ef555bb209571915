// Tells every unwinder of the process about code that no object file contains.
#pragma once

#include <dlfcn.h>

#include <ftrace/arch/unwind_section.hpp>
#include <ftrace/core/config.hpp>

// libgcc's takes an .eh_frame section; LLVM's libunwind has the name too, and takes one FDE.
extern "C" void __register_frame(void*);
// LLVM's libunwind only; the same as its __register_frame.
extern "C" void __unw_add_dynamic_fde(unsigned long);

namespace ftrace::inline v0::detail {

// Weak by reference: a static program need not contain them, and its own uses stay strong.
static __typeof__(::__register_frame) weak_register_frame
    __attribute__((weakref("__register_frame")));
static __typeof__(::__unw_add_dynamic_fde) weak_add_dynamic_fde
    __attribute__((weakref("__unw_add_dynamic_fde")));
static __typeof__(::dlopen) weak_open_library __attribute__((weakref("dlopen")));
static __typeof__(::dlsym) weak_find_symbol __attribute__((weakref("dlsym")));
static __typeof__(::dlerror) weak_library_error __attribute__((weakref("dlerror")));

/// Registers a section with each unwinder once.
class unwinder_registrar {
public:
    FTRACE_NOTRACE explicit unwinder_registrar(const arch::unwind_section& section) noexcept
        : section_(section) {}

    /// The unwinders this object was linked with, and the shared ones. glibc's backtrace() loads
    /// libgcc_s when it is first called; it is loaded here, since nobody would tell us then.
    /// `section` has to stay for ever.
    FTRACE_NOTRACE void register_all() noexcept {
        if (weak_add_dynamic_fde != nullptr) add_to_llvm(weak_add_dynamic_fde);
        if (weak_register_frame != nullptr && !is_llvm(weak_register_frame))
            add_to_libgcc(weak_register_frame);
        if (weak_open_library == nullptr || weak_find_symbol == nullptr) return;
        add_library("libgcc_s.so.1", RTLD_NOW);
        add_library("libunwind.so.1", RTLD_NOW | RTLD_NOLOAD);
        if (weak_library_error != nullptr) weak_library_error();  // the program's next dlerror()
    }

private:
    using add_section = void (*)(void*);
    using add_fde = void (*)(unsigned long);

    FTRACE_NOTRACE void add_library(const char* name, int mode) noexcept {
        void* const library = weak_open_library(name, mode);
        if (library == nullptr) return;
        const auto llvm =
            reinterpret_cast<add_fde>(weak_find_symbol(library, "__unw_add_dynamic_fde"));
        const auto libgcc =
            reinterpret_cast<add_section>(weak_find_symbol(library, "__register_frame"));
        if (llvm != nullptr)
            add_to_llvm(llvm);
        else if (libgcc != nullptr)
            add_to_libgcc(libgcc);
    }
    FTRACE_NOTRACE void add_to_llvm(add_fde add) noexcept {
        if (llvm_ == add) return;
        llvm_ = add;
        add(reinterpret_cast<unsigned long>(section_.fde()));
    }
    FTRACE_NOTRACE void add_to_libgcc(add_section add) noexcept {
        if (libgcc_[0] == add || libgcc_[1] == add) return;
        libgcc_[libgcc_[0] != nullptr] = add;
        add(const_cast<void*>(section_.begin()));
    }
    // Whether the __register_frame this object sees is LLVM's: then it lies in the object that has
    // LLVM's other function. A static program, where dladdr knows nothing, has one unwinder.
    FTRACE_NOTRACE static bool is_llvm(add_section add) noexcept {
        Dl_info mine, other;
        if (weak_add_dynamic_fde == nullptr) return false;
        const bool known = ::dladdr(reinterpret_cast<void*>(add), &mine) != 0 &&
                           ::dladdr(reinterpret_cast<void*>(weak_add_dynamic_fde), &other) != 0;
        return !known || mine.dli_fbase == other.dli_fbase;
    }

    const arch::unwind_section& section_;
    add_fde llvm_ = nullptr;
    add_section libgcc_[2]{};  // linked in statically, and shared
};

}  // namespace ftrace::inline v0::detail
