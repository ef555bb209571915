// Linker names as people write them.
#pragma once

#include <cxxabi.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <ftrace/core/config.hpp>
#include <ftrace/sites/extended_builtins.hpp>
#include <string>
#include <string_view>

namespace ftrace::inline v0 {
namespace detail {

/// abi::__cxa_demangle with its buffers kept from name to name.
class demangler {
public:
    FTRACE_NOTRACE demangler() noexcept = default;
    demangler(const demangler&) = delete;
    demangler& operator=(const demangler&) = delete;
    FTRACE_NOTRACE ~demangler() { std::free(output_); }

    /// The demangled name; a name that is not mangled comes back as it is, and so does one of more
    /// than 1024 letters, which libstdc++ refuses. The answer is valid until the next call, and as
    /// long as `linker_name` is.
    [[nodiscard]] FTRACE_NOTRACE std::string_view operator()(std::string_view linker_name) {
        // Anything else would be taken for a mangled type: "f" is float.
        if (!linker_name.starts_with("_Z")) return linker_name;
        if (const extended_builtins types(linker_name); !types.input().empty()) {
            input_ = types.input();
            if (!call()) return linker_name;
            restored_ = types.restored(output_);
            return restored_;
        }
        input_.assign(linker_name);
        return call() ? output_ : linker_name;
    }

private:
    /// From input_ to output_; false if it cannot be demangled.
    FTRACE_NOTRACE bool call() {
        int status = 0;
        std::size_t size = size_;
        char* const made = abi::__cxa_demangle(input_.c_str(), output_, &size, &status);
        if (made == nullptr) return false;
        if (made != output_ || size > size_) size_ = size;
        output_ = made;
        return true;
    }

    std::string input_;
    std::string restored_;
    char* output_ = nullptr;  // malloc'ed, as __cxa_demangle wants it
    std::size_t size_ = 0;
};

}  // namespace detail

/// The C++ name of a linker name: "_Z5parsei" gives "parse(int)". What is not mangled, or cannot be
/// demangled, comes back unchanged.
[[nodiscard]] FTRACE_NOTRACE inline std::string demangle(std::string_view linker_name) {
    detail::demangler one;
    return std::string(one(linker_name));
}

}  // namespace ftrace::inline v0
