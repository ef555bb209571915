// What a pointer to a member function says (Itanium C++ ABI, 2.3: member function pointers).
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <ftrace/core/config.hpp>

namespace ftrace::inline v0::arch {

struct member_function_pointer {
    std::uintptr_t function;   ///< odd: of a virtual one, 1 + its offset in the virtual table
    std::intptr_t adjustment;  ///< to be added to the object's address

    template <class F>
    [[nodiscard]] FTRACE_NOTRACE static member_function_pointer of(F pointer) noexcept {
        member_function_pointer parts;
        static_assert(sizeof parts == sizeof pointer);
        std::memcpy(&parts, &pointer, sizeof parts);
        return parts;
    }
    [[nodiscard]] FTRACE_NOTRACE bool is_virtual() const noexcept { return function % 2 != 0; }
    /// In bytes, behind the address that objects point to.
    [[nodiscard]] FTRACE_NOTRACE std::size_t vtable_offset() const noexcept { return function - 1; }
};

}  // namespace ftrace::inline v0::arch
