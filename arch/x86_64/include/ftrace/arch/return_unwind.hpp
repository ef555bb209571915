// How an unwinder gets past a return trampoline.
//
// One FDE describes all blocks (DWARF 5, 6.4; "z", "P", "R" and "S" as in the psABI, 4.2.4, and
// the LSB):
//     CFA     rsp, and 8 more between push and lea, and behind each push of the landing pad
//     return  [frame i] before a push, [CFA - 8] after it; both minus 1
// "S": else an unwinder would take two frames with one CFA for one. With it, it looks up the
// caller's address itself and not the call before it: hence the minus 1. Trampolines start at byte 1
// because of the reverse: an unwinder coming from the hooked function looks up its return address
// minus 1.
// "P": the personality routine. An exception, on its way through the trampoline, calls it when the
// hooked function's own frame is gone: that tells how the call ended (graph/unwinding.hpp).
#pragma once

#include <cstddef>
#include <cstdint>
#include <ftrace/arch/return_trampoline.hpp>
#include <ftrace/arch/unwind_section.hpp>
#include <ftrace/core/config.hpp>

namespace ftrace::inline v0::arch {

/// Offsets in a trampoline where the return address is in its slot have one of these bits; those
/// before a push have none.
inline constexpr std::size_t pushed_bits = 0x26;
static_assert(((trampoline_offset::before_push | trampoline_offset::landing |
                (trampoline_offset::landing - 1)) &
               pushed_bits) == 0);
static_assert((trampoline_offset::before_call & pushed_bits) != 0 &&
              (trampoline_offset::behind_call & pushed_bits) != 0 &&
              (trampoline_offset::before_jump & pushed_bits) != 0 &&
              (trampoline_offset::landing_pushed & pushed_bits) != 0 &&
              (trampoline_offset::landing_align & pushed_bits) != 0 &&
              (trampoline_offset::landing_call & pushed_bits) != 0 &&
              (trampoline_offset::behind_resume & pushed_bits) != 0);

/// The .eh_frame section of all blocks.
class return_unwind_section : public unwind_section {
public:
    /// `personality`: the address of the routine, in code that stays.
    FTRACE_NOTRACE explicit return_unwind_section(std::uintptr_t personality) noexcept
        : personality_(personality) {}

    /// Describes [begin, begin + size).
    FTRACE_NOTRACE void describe(std::uintptr_t begin, std::uintptr_t size) noexcept {
        const std::size_t cie = open_cie("zPRS", personality_);
        describe_cfa();
        describe_return();
        close_cie(cie);
        add_fde(begin, size);
    }

private:
    // CFA = rsp + (bit(once) + bit(twice)) * 8, with bit(mask) = mask >> (ip % entry_size) & 1
    FTRACE_NOTRACE void describe_cfa() noexcept {
        using offset = trampoline_offset;
        constexpr std::uint64_t one = 1;
        constexpr std::uint64_t twice = one << offset::landing_call | one << offset::behind_resume;
        constexpr std::uint64_t once = one << offset::before_call | one << offset::behind_call |
                                       one << offset::landing_pushed |
                                       one << offset::landing_align | twice;
        byte(def_cfa_expression);
        const std::size_t size = open_expression();
        push_bit(once), push_bit(twice), byte(op_plus);
        byte(op_lit0 + 3), byte(op_shl);
        byte(op_breg_sp), byte(0), byte(op_plus);
        close_expression(size);
    }
    FTRACE_NOTRACE void push_bit(std::uint64_t mask) noexcept {
        byte(op_const8u), word(mask);
        push_offset_in_entry();
        byte(op_shr), byte(op_lit0 + 1), byte(op_and);
    }

    // return address =
    //     (ip % entry_size & pushed_bits ? [CFA - 8] : [ip - ip % entry_size + code_size]) - 1
    // The CFA is on the expression's stack from the start.
    FTRACE_NOTRACE void describe_return() noexcept {
        byte(val_expression), byte(return_column);
        const std::size_t size = open_expression();
        push_offset_in_entry();
        byte(op_const1u), byte(pushed_bits), byte(op_and), byte(op_bra);
        const std::size_t to_slot = length();
        half(0);
        byte(op_breg_ip), byte(0), byte(op_const1s);
        byte(static_cast<unsigned>(-static_cast<int>(return_block::entry_size)));
        byte(op_and), byte(op_const4u), quarter_word(return_block::code_size), byte(op_plus);
        byte(op_skip);
        const std::size_t to_end = length();
        half(0);
        land(to_slot);
        byte(op_lit0 + 8), byte(op_minus);
        land(to_end);
        byte(op_deref), byte(op_lit0 + 1), byte(op_minus);
        close_expression(size);
    }

    FTRACE_NOTRACE void push_offset_in_entry() noexcept {
        byte(op_breg_ip), byte(0), byte(op_const1u), byte(return_block::entry_size - 1);
        byte(op_and);
    }

    std::uintptr_t personality_;
};

}  // namespace ftrace::inline v0::arch
