// Tells every unwinder of the process about code that no object file contains.
#pragma once

#include <dlfcn.h>

#include <ftrace/arch/unwind_section.hpp>
#include <ftrace/core/config.hpp>
#include <ftrace/sites/symbols.hpp>

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

/// A function of the dynamic linker, if the process has one. Looked up and not named, since naming
/// dlopen makes the linker warn about every static program.
template <class Function>
FTRACE_NOTRACE Function* linker_function(const char* name) {
    return reinterpret_cast<Function*>(address_of_symbol(name));
}

/// Registers a section with each unwinder once.
class unwinder_registrar {
public:
    FTRACE_NOTRACE explicit unwinder_registrar(const arch::unwind_section& section) noexcept
        : section_(section) {}

    /// The unwinders this object was linked with, and the shared ones. glibc's backtrace() loads
    /// libgcc_s when it is first called; it is loaded here, since nobody would tell us then.
    /// `section` has to stay for ever.
    FTRACE_NOTRACE void register_all() {
        if (weak_add_dynamic_fde != nullptr) add_to_llvm(weak_add_dynamic_fde);
        if (weak_register_frame != nullptr && !is_llvm(weak_register_frame))
            add_to_libgcc(weak_register_frame);
        open_ = linker_function<decltype(::dlopen)>("dlopen");
        find_ = linker_function<decltype(::dlsym)>("dlsym");
        if (open_ == nullptr || find_ == nullptr) return;
        add_library("libgcc_s.so.1", RTLD_NOW);
        add_library("libunwind.so.1", RTLD_NOW | RTLD_NOLOAD);
        if (auto* const last_error = linker_function<decltype(::dlerror)>("dlerror"))
            last_error();  // the program's next dlerror() is its own
    }

private:
    using add_section = void (*)(void*);
    using add_fde = void (*)(unsigned long);

    FTRACE_NOTRACE void add_library(const char* name, int mode) {
        void* const library = open_(name, mode);
        if (library == nullptr) return;
        const auto llvm = reinterpret_cast<add_fde>(find_(library, "__unw_add_dynamic_fde"));
        const auto libgcc = reinterpret_cast<add_section>(find_(library, "__register_frame"));
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
    decltype(::dlopen)* open_ = nullptr;
    decltype(::dlsym)* find_ = nullptr;
    add_fde llvm_ = nullptr;
    add_section libgcc_[2]{};  // linked in statically, and shared
};

}  // namespace ftrace::inline v0::detail
