// Return trampolines: what stands in a hooked function's return address, and how an unwinder gets
// past it.
//
// A region serves one thread: code, and as far behind it the thread's shadow stack. Entry i of the
// one belongs to entry i of the other, so that a trampoline knows its frame by its own address.
//
//     region + 0          trampoline 0, 1, ...            32 bytes each, read and execute
//     region + code_size  shadow frame 0, 1, ...          32 bytes each, read and write
//
// The first `header_entries` frames are the shadow stack's header; its first word is the address of
// the return stub. A frame's first word is the return address that was replaced.
//
// Trampoline i, with rsp just above the slot that held its address:
//
//      0  int3
//      1  push  [frame i]          the true return address is in its slot again
//      7  notrack call [header]    return stub (return_stub.hpp)
//     14  lea   rsp, [rsp + 8]
//     19  notrack jmp [rsp - 8]    in the red zone: no signal handler writes there
//
// No register is needed, and frame i only until the push. `jmp` and not `ret`: the processor
// predicts a `ret` from the call that brought the program here, which the function's own `ret` has
// used up.
//
// One FDE describes all regions (DWARF 5, 6.4; "z", "R" and "S" as in the psABI, 4.2.4, and
// the LSB):
//     CFA     rsp, and 8 more between push and lea
//     return  [frame i] before the push, [CFA - 8] after it; both minus 1
// "S": else an unwinder would take two frames with one CFA for one. With it, it looks up the
// caller's address itself and not the call before it: hence the minus 1. Entries start at byte 1
// because of the reverse: an unwinder coming from the hooked function looks up its return address
// minus 1.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <ftrace/arch/insn.hpp>
#include <ftrace/arch/unwind_section.hpp>
#include <ftrace/core/config.hpp>

namespace ftrace::inline v0::arch {

/// The geometry of a region.
struct return_region {
    static constexpr std::uintptr_t entries = 4096;
    static constexpr std::uintptr_t header_entries = 8;
    static constexpr std::uintptr_t entry_size = 32;
    static constexpr std::uintptr_t entry_point = 1;  ///< of a trampoline
    static constexpr std::uintptr_t code_size = entries * entry_size;
    static constexpr std::uintptr_t size = 2 * code_size;  ///< and the alignment of a region

    /// The address a hooked function returns to.
    [[nodiscard]] FTRACE_NO_INSTRUMENTATION static std::uintptr_t trampoline(
        std::uintptr_t region, std::uintptr_t index) noexcept {
        return region + index * entry_size + entry_point;
    }
    [[nodiscard]] FTRACE_NO_INSTRUMENTATION static std::uintptr_t region_of(
        std::uintptr_t code) noexcept {
        return code & ~(size - 1);
    }
    [[nodiscard]] FTRACE_NO_INSTRUMENTATION static std::uintptr_t index_of(
        std::uintptr_t code) noexcept {
        return (code & (code_size - 1)) / entry_size;
    }
};

#pragma pack(push, 1)
/// notrack call qword [rip + displacement]
struct call_indirect_insn {
    std::uint8_t opcode[3] = {0x3e, 0xff, 0x15};
    std::int32_t displacement = 0;
};
/// lea rsp, [rsp + 8]
struct drop_word_insn {
    std::uint8_t opcode[5] = {0x48, 0x8d, 0x64, 0x24, 0x08};
};
/// notrack jmp qword [rsp - 8]
struct jump_dropped_insn {
    std::uint8_t opcode[5] = {0x3e, 0xff, 0x64, 0x24, 0xf8};
};
struct return_trampoline {
    std::uint8_t before = int3_opcode;
    push_indirect_insn push_return;
    call_indirect_insn call_stub;
    drop_word_insn drop;
    jump_dropped_insn leave;
    std::uint8_t behind[8] = {int3_opcode, int3_opcode, int3_opcode, int3_opcode,
                              int3_opcode, int3_opcode, int3_opcode, int3_opcode};
};
#pragma pack(pop)
static_assert(sizeof(return_trampoline) == return_region::entry_size);
static_assert(offsetof(return_trampoline, push_return) == return_region::entry_point);

/// Where in a trampoline the return address lies in its slot: before these instructions.
inline constexpr std::size_t pushed_at = offsetof(return_trampoline, call_stub);
inline constexpr std::size_t called_at = offsetof(return_trampoline, drop);

/// Writes the code of a region to `code`. It is the same for every region.
FTRACE_NOTRACE inline void write_return_trampolines(std::byte* code) noexcept {
    static constexpr return_trampoline pattern{};
    std::memset(code, int3_opcode, return_region::code_size);
    for (std::uintptr_t i = return_region::header_entries; i < return_region::entries; ++i) {
        return_trampoline entry = pattern;
        const std::uintptr_t at = i * return_region::entry_size;
        const std::uintptr_t frame = return_region::code_size + at;
        entry.push_return.displacement = static_cast<std::int32_t>(frame - (at + pushed_at));
        entry.call_stub.displacement =
            static_cast<std::int32_t>(return_region::code_size - (at + called_at));
        std::memcpy(code + at, &entry, sizeof entry);
    }
}

/// The .eh_frame section of all regions.
class return_unwind_section : public unwind_section {
public:
    FTRACE_NOTRACE return_unwind_section() noexcept {}

    /// Describes [begin, begin + size).
    FTRACE_NOTRACE void describe(std::uintptr_t begin, std::uintptr_t size) noexcept {
        const std::size_t cie = open_cie("zRS");
        describe_cfa();
        describe_return();
        close_cie(cie);
        add_fde(begin, size);
    }

private:
    // CFA = rsp + ((where >> (ip % 32)) & 1) * 8
    FTRACE_NOTRACE void describe_cfa() noexcept {
        constexpr std::uint32_t where = 1u << pushed_at | 1u << called_at;
        byte(def_cfa_expression);
        const std::size_t size = open_expression();
        byte(op_const2u), half(where);
        push_offset_in_entry();
        byte(op_shr), byte(op_lit0 + 1), byte(op_and), byte(op_lit0 + 3), byte(op_shl);
        byte(op_breg_sp), byte(0), byte(op_plus);
        close_expression(size);
    }

    // return address = (ip % 32 <= 1 ? [ip - ip % 32 + code_size] : [CFA - 8]) - 1
    // The CFA is on the expression's stack from the start.
    FTRACE_NOTRACE void describe_return() noexcept {
        byte(val_expression), byte(return_column);
        const std::size_t size = open_expression();
        push_offset_in_entry();
        byte(op_lit0 + return_region::entry_point), byte(op_le), byte(op_bra);
        const std::size_t to_frame = length();
        half(0);
        byte(op_lit0 + 8), byte(op_minus), byte(op_skip);
        const std::size_t to_end = length();
        half(0);
        land(to_frame);
        byte(op_breg_ip), byte(0), byte(op_const1s);
        byte(static_cast<unsigned>(-static_cast<int>(return_region::entry_size)));
        byte(op_and), byte(op_const4u), quarter_word(return_region::code_size), byte(op_plus);
        land(to_end);
        byte(op_deref), byte(op_lit0 + 1), byte(op_minus);
        close_expression(size);
    }

    FTRACE_NOTRACE void push_offset_in_entry() noexcept {
        byte(op_breg_ip), byte(0), byte(op_lit0 + return_region::entry_size - 1), byte(op_and);
    }
};

}  // namespace ftrace::inline v0::arch
