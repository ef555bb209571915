// The stubs of one owner, one for each width of the vector registers that a function may receive
// arguments in.
#pragma once

#include <cstdint>
#include <ftrace/arch/entry_stub.hpp>
#include <ftrace/arch/registers.hpp>
#include <ftrace/core/config.hpp>

namespace ftrace::inline v0::arch {

/// By width_index: xmm, ymm, zmm.
struct stub_table {
    stub_function entry[3];
};

/// The index of a width in a stub_table.
[[nodiscard]] FTRACE_NOTRACE constexpr unsigned width_index(vector_width width) noexcept {
    return width == vector_width::zmm ? 2 : width == vector_width::ymm ? 1 : 0;
}

template <class Owner, saved_set Set>
[[nodiscard]] FTRACE_NOTRACE consteval stub_table make_stubs() noexcept {
    return {{entry_stub<Owner, Set, vector_width::xmm>::entry,
             entry_stub<Owner, Set, vector_width::ymm>::entry,
             entry_stub<Owner, Set, vector_width::zmm>::entry}};
}

/// For callbacks that use no vector registers: one stub, whatever the function receives.
template <class Owner, saved_set Set>
[[nodiscard]] FTRACE_NOTRACE consteval stub_table make_stubs_without_vectors() noexcept {
    constexpr stub_function entry = entry_stub<Owner, Set, vector_width::none>::entry;
    return {{entry, entry, entry}};
}

}  // namespace ftrace::inline v0::arch
