// Veneers in an object's own text, where unwinders find their rules as those of any function.
//
//     code + 16 i:   push  context[i](%rip)          words + 16 i:      .quad context
//                    jmp  *target[i](%rip)           words + 16 i + 8:  .quad target
//
// As in a mapped page (veneer.hpp), but for the distance to the words, which lie in the object's
// .bss. The rule for unwinders is that of veneer_unwind.hpp, in the object's .eh_frame. In front of
// the first veneer is room for another, which stands under the rule as well: of the instruction
// that a signal interrupted, LLVM's unwinder looks up the byte before it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <ftrace/arch/asm.hpp>
#include <ftrace/arch/entry_stub.hpp>
#include <ftrace/arch/veneer.hpp>
#include <ftrace/core/config.hpp>

namespace ftrace::inline v0::arch {

/// The veneers of one kind in one object.
struct object_veneers {
    stub_function code;  ///< with the room in front
    veneer_data* words;
    std::size_t count;
    std::size_t* taken;  ///< the first so many are; by all pools that take some

    [[nodiscard]] FTRACE_NOTRACE std::uintptr_t begin() const noexcept {
        return reinterpret_cast<std::uintptr_t>(code) + sizeof(veneer_code);
    }
};

inline constexpr std::size_t call_veneers = 256, jump_veneers = 64;  // in each object

// What the assembly below refers to, which names them without C++'s mangling.
#define FTRACE_VENEER_WORDS \
    __attribute__((visibility("hidden"), used, aligned(64))) inline constinit
FTRACE_VENEER_WORDS veneer_data
    call_veneer_words[call_veneers] __asm__("ftrace_v0_call_veneer_words"){};
FTRACE_VENEER_WORDS veneer_data
    jump_veneer_words[jump_veneers] __asm__("ftrace_v0_jump_veneer_words"){};
#undef FTRACE_VENEER_WORDS

FTRACE_LOCAL inline constinit std::size_t taken_call_veneers = 0;
FTRACE_LOCAL inline constinit std::size_t taken_jump_veneers = 0;

// clang-format off
#define FTRACE_CALL_VENEERS "256"
#define FTRACE_JUMP_VENEERS "64"
static_assert(call_veneers == 256 && jump_veneers == 64);
static_assert(sizeof(veneer_code) == 16 && sizeof(veneer_data) == 16);
static_assert(offsetof(veneer_code, jump) == 6 && offsetof(veneer_data, target) == 8);

// `entry`: the instructions of one veneer, with .Lftrace_at as the distance of its words from the first. An error if
// they were longer than 16 bytes.
#define FTRACE_VENEERS(count, cfa, entry)                     \
    FTRACE_ATT_SYNTAX                                         \
    cfa                                                       \
    "  int3\n"                                               \
    "  .balign 16, 0xcc\n"                                   \
    "0:.set .Lftrace_at, 0\n"                                \
    "  .rept " count "\n"                                     \
    entry                                                     \
    "  .balign 16, 0xcc\n"                                   \
    "  .set .Lftrace_at, .Lftrace_at + 16\n"                  \
    "  .endr\n"                                               \
    "  .org 0b + 16 * " count "\n"

// CFA = rsp + 8 + 8 * (ip % 16 >= 6)
#define FTRACE_CALL_VENEER_CFA \
    FTRACE_CFI("escape 0x0f, 11, 0x77, 8, 0x80, 0, 0x3f, 0x1a, 0x36, 0x2a, 0x33, 0x24, 0x22")

/// The code. Not to be called, only through its entries.
struct FTRACE_LOCAL veneer_text {
    FTRACE_NAKED __attribute__((aligned(16))) static void calls() {
        __asm__(FTRACE_VENEERS(FTRACE_CALL_VENEERS, FTRACE_CALL_VENEER_CFA,
            "  pushq ftrace_v0_call_veneer_words + .Lftrace_at(%%rip)\n"
            "  notrack jmp *ftrace_v0_call_veneer_words + 8 + .Lftrace_at(%%rip)\n") ::);
    }
    FTRACE_NAKED __attribute__((aligned(16))) static void jumps() {
        __asm__(FTRACE_VENEERS(FTRACE_JUMP_VENEERS, "",
            "  notrack jmp *ftrace_v0_jump_veneer_words + 8 + .Lftrace_at(%%rip)\n") ::);
    }
};
// clang-format on

#undef FTRACE_CALL_VENEERS
#undef FTRACE_JUMP_VENEERS
#undef FTRACE_CALL_VENEER_CFA
#undef FTRACE_VENEERS

/// This object's.
FTRACE_LOCAL inline constexpr object_veneers own_call_veneers{
    &veneer_text::calls, call_veneer_words, call_veneers, &taken_call_veneers};
FTRACE_LOCAL inline constexpr object_veneers own_jump_veneers{
    &veneer_text::jumps, jump_veneer_words, jump_veneers, &taken_jump_veneers};

}  // namespace ftrace::inline v0::arch
