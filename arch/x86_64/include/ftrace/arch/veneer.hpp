// Veneers: how a site calls a stub that is out of a call's reach, or that has to be told what it
// was called for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <ftrace/arch/insn.hpp>
#include <ftrace/core/config.hpp>

namespace ftrace::inline v0::arch {

// A code page and, right behind it, a data page. Entry i:
//
//     code + 16 i:   push  context[i](%rip)          data + 16 i:      .quad context
//                    jmp  *target[i](%rip)           data + 16 i + 8:  .quad target
//
// Distance from an instruction to its data is the same for every entry, so the code page is
// written once, before it becomes executable, and never again; a new veneer is two stores into the
// data page.

struct veneer_code {
    constexpr FTRACE_NOTRACE veneer_code() noexcept = default;
    push_indirect_insn push;
    jump_indirect_insn jump;
    std::uint8_t padding[3] = {int3_opcode, int3_opcode, int3_opcode};
};
struct veneer_data {
    const void* context;
    const void* target;
};
static_assert(sizeof(veneer_code) == sizeof(veneer_data));

inline constexpr std::size_t veneer_page = 4096;
inline constexpr std::size_t veneers_per_page = veneer_page / sizeof(veneer_code);

/// Fills the code page that precedes a data page.
FTRACE_NOTRACE inline void write_veneer_page(void* page) noexcept {
    veneer_code code;
    // rip-relative: from the end of the instruction to the entry's data, one page further on.
    code.push.displacement =
        static_cast<std::int32_t>(veneer_page - sizeof code.push + offsetof(veneer_data, context));
    code.jump.displacement = static_cast<std::int32_t>(
        veneer_page - sizeof code.push - sizeof code.jump + offsetof(veneer_data, target));
    for (std::size_t i = 0; i < veneers_per_page; ++i)
        std::memcpy(static_cast<char*>(page) + i * sizeof code, &code, sizeof code);
}

}  // namespace ftrace::inline v0::arch
