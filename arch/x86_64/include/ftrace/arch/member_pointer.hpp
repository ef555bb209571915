// Where the function is that a pointer names (Itanium C++ ABI, 2.3: member function pointers).
#pragma once

#include <cstdint>
#include <cstring>
#include <ftrace/core/config.hpp>
#include <ftrace/core/error.hpp>
#include <ftrace/core/result.hpp>
#include <type_traits>

namespace ftrace::inline v0::arch {

struct member_function_pointer {
    std::uintptr_t function;  ///< odd: of a virtual one, 1 + its offset in the vtable
    std::intptr_t adjustment;
};

/// Errors: invalid_argument, of a virtual member function, and of one that is named as a member of
/// a derived class in which its object lies elsewhere.
template <class F>
[[nodiscard]] FTRACE_NOTRACE result<std::uintptr_t> function_address(F function) {
    if constexpr (std::is_member_function_pointer_v<F>) {
        member_function_pointer parts;
        static_assert(sizeof parts == sizeof function);
        std::memcpy(&parts, &function, sizeof parts);
        if (parts.function % 2 != 0)
            return error{errc::invalid_argument,
                         "a pointer to a virtual member function does not tell which overrider is "
                         "meant"};
        if (parts.adjustment != 0)
            return error{errc::invalid_argument,
                         "this member function is one of a base class: name it as &base::function"};
        return parts.function;
    } else {
        return reinterpret_cast<std::uintptr_t>(function);
    }
}

}  // namespace ftrace::inline v0::arch
