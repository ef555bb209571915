// Veneers: how a site calls a stub that is out of a call's reach, or that has to be told what it
// was called for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <ftrace/arch/insn.hpp>
#include <ftrace/core/config.hpp>

namespace ftrace::inline v0::arch {

// A code page and, right behind it, a data page. Entry i of a page for calls of stubs, and of one for
// jumps to functions, which are told nothing:
//
//     code + 16 i:   push  context[i](%rip)          data + 16 i:      .quad context
//                    jmp  *target[i](%rip)           data + 16 i + 8:  .quad target
//
//     code + 16 i:   jmp  *target[i](%rip)
//
// Distance from an instruction to its data is the same for every entry, so the code page is
// written once, before it becomes executable, and never again; a new veneer is two stores into the
// data page.

enum class veneer_kind : std::uint8_t { call, jump };

struct veneer_code {
    constexpr FTRACE_NOTRACE veneer_code() noexcept = default;
    push_indirect_insn push;
    jump_indirect_insn jump;
    std::uint8_t padding[3] = {int3_opcode, int3_opcode, int3_opcode};
};
struct jump_veneer_code {
    constexpr FTRACE_NOTRACE jump_veneer_code() noexcept = default;
    jump_indirect_insn jump;
    std::uint8_t padding[9] = {int3_opcode, int3_opcode, int3_opcode, int3_opcode, int3_opcode,
                               int3_opcode, int3_opcode, int3_opcode, int3_opcode};
};
struct veneer_data {
    const void* context;
    const void* target;
};
static_assert(sizeof(veneer_code) == sizeof(veneer_data) &&
              sizeof(jump_veneer_code) == sizeof(veneer_data));

inline constexpr std::size_t veneer_page = 4096;
inline constexpr std::size_t veneers_per_page = veneer_page / sizeof(veneer_code);

/// Fills the code page that precedes a data page.
FTRACE_NOTRACE inline void write_veneer_page(void* page,
                                             veneer_kind kind = veneer_kind::call) noexcept {
    // rip-relative: from the end of the instruction to the entry's data, one page further on.
    veneer_code call;
    call.push.displacement =
        static_cast<std::int32_t>(veneer_page - sizeof call.push + offsetof(veneer_data, context));
    call.jump.displacement = static_cast<std::int32_t>(
        veneer_page - sizeof call.push - sizeof call.jump + offsetof(veneer_data, target));
    jump_veneer_code jump;
    jump.jump.displacement =
        static_cast<std::int32_t>(veneer_page - sizeof jump.jump + offsetof(veneer_data, target));
    const void* const code = kind == veneer_kind::call ? static_cast<const void*>(&call) : &jump;
    for (std::size_t i = 0; i < veneers_per_page; ++i)
        std::memcpy(static_cast<char*>(page) + i * sizeof call, code, sizeof call);
}

}  // namespace ftrace::inline v0::arch
