// How an unwinder gets past a return trampoline.
//
// One FDE describes all blocks (DWARF 5, 6.4; "z", "P", "R" and "S" as in the psABI, 4.2.4, and
// the LSB):
//     CFA     rsp, and 8 more between push and lea, and behind each push of the landing pad
//     return  [frame i] before a push, [CFA - 8] after it; both minus 1, but for signal handlers'
// "S": else an unwinder would take two frames with one CFA for one. With it, it looks up the
// caller's address itself and not the call before it: hence the minus 1. Trampolines start at byte 1
// because of the reverse: an unwinder coming from the hooked function looks up its return address
// minus 1. Where a signal handler returns to, nothing was called: its rules begin at that address.
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

/// What the rules of all readers have in common.
class return_rules : public unwind_section {
protected:
    FTRACE_NOTRACE return_rules() noexcept {}

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

    // ip % entry_size & pushed_bits ? [CFA - 8] : [ip - ip % entry_size + code_size]
    // The CFA is on the expression's stack from the start.
    FTRACE_NOTRACE void push_return() noexcept {
        push_offset_in_entry();
        byte(op_const1u), byte(pushed_bits), byte(op_and), byte(op_bra);
        const std::size_t to_slot = length();
        half(0);
        byte(op_breg_ip), byte(0);
        take_frame();
        byte(op_skip);
        const std::size_t to_end = length();
        half(0);
        land(to_slot);
        byte(op_lit0 + 8), byte(op_minus);
        land(to_end);
        byte(op_deref);
    }
    // An address in a trampoline becomes that of its frame.
    FTRACE_NOTRACE void take_frame() noexcept {
        byte(op_const1s), byte(static_cast<unsigned>(-static_cast<int>(return_block::entry_size)));
        byte(op_and), byte(op_const4u), quarter_word(return_block::code_size), byte(op_plus);
    }

private:
    FTRACE_NOTRACE void push_bit(std::uint64_t mask) noexcept {
        byte(op_const8u), word(mask);
        push_offset_in_entry();
        byte(op_shr), byte(op_lit0 + 1), byte(op_and);
    }
    FTRACE_NOTRACE void push_offset_in_entry() noexcept {
        byte(op_breg_ip), byte(0), byte(op_const1u), byte(return_block::entry_size - 1);
        byte(op_and);
    }
};

/// The .eh_frame section of all blocks, for unwinders.
class return_unwind_section : public return_rules {
public:
    /// `personality`: the address of the routine, in code that stays; `signal_return`: of what
    /// handlers return to. 0: none, not known.
    FTRACE_NOTRACE explicit return_unwind_section(std::uintptr_t personality = 0,
                                                  std::uintptr_t signal_return = 0) noexcept
        : personality_(personality), signal_return_(signal_return) {}

    /// Describes [begin, begin + size).
    FTRACE_NOTRACE void describe(std::uintptr_t begin, std::uintptr_t size) noexcept {
        const std::size_t cie = open_cie(personality_ == 0 ? "zRS" : "zPRS", personality_);
        describe_cfa();
        // The return address - (it != signal_return).
        byte(val_expression), byte(return_column);
        const std::size_t expression = open_expression();
        push_return();
        byte(op_dup), byte(op_const8u), word(signal_return_);
        byte(op_ne), byte(op_minus);
        close_expression(expression);
        close_cie(cie);
        add_fde(begin, size);
    }

private:
    std::uintptr_t personality_;
    std::uintptr_t signal_return_;
};

/// The same for debuggers, which print a frame with "S" as a signal handler's. They tell frames
/// apart by the CFA and the function, and those of calls in a tail have both in common: of a chain of
/// trampolines only the first is a frame, and the return address is the first that is in no
/// trampoline. It is exact.
class return_debug_section : public return_rules {
public:
    /// Describes [begin, begin + size).
    FTRACE_NOTRACE return_debug_section(std::uintptr_t begin, std::uintptr_t size) noexcept {
        const std::size_t cie = open_cie("zR");
        describe_cfa();
        byte(val_expression), byte(return_column);
        const std::size_t expression = open_expression();
        push_return();
        // while ((address - begin) / 2 < size / 2) address = [frame]; halves, for `lt` has signs.
        const std::size_t again = length();
        byte(op_dup), byte(op_const8u), word(begin), byte(op_minus), byte(op_lit0 + 1),
            byte(op_shr);
        byte(op_const8u), word(size / 2), byte(op_ge), byte(op_bra);
        const std::size_t to_end = length();
        half(0);
        take_frame();
        byte(op_deref), byte(op_skip);
        half(static_cast<std::uint32_t>(again - (length() + 2)));
        land(to_end);
        close_expression(expression);
        close_cie(cie);
        add_fde(begin, size);
    }
};

}  // namespace ftrace::inline v0::arch
