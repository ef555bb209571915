// Return trampolines: what stands in a hooked function's return address.
//
// A block is code, and as far behind it as it is long the frames of a shadow stack. Entry i of the one
// belongs to entry i of the other, so that a trampoline knows its frame by its own address.
//
//     block + 0          trampoline 0, 1, ...            64 bytes each, read and execute
//     block + code_size  frame 0, 1, ...                 64 bytes each, read and write
//
// A frame's first word is the return address that was replaced. Frame 0 has no trampoline: its first
// word is the address of the return stub, its second that of _Unwind_Resume.
//
// Trampoline i, with rsp just above the slot that held its address:
//
//      0  int3
//      1  push  [frame i]          the true return address is in its slot again
//      7  notrack call [frame 0]    return stub (return_stub.hpp)
//     14  lea   rsp, [rsp + 8]
//     19  notrack jmp [rsp - 8]    in the red zone: no signal handler writes there
//     24  int3
//     25  push  [frame i]          landing pad: where an exception, rax, goes on
//     31  mov   rdi, rax
//     34  push  rax                for the alignment
//     35  notrack call [frame 0 + 8]    _Unwind_Resume(rdi), which does not return
//     42  int3
//
// No register is needed, and frame i only until the push. `jmp` and not `ret`: the processor
// predicts a `ret` from the call that brought the program here, which the function's own `ret` has
// used up.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <ftrace/arch/insn.hpp>
#include <ftrace/core/config.hpp>

namespace ftrace::inline v0::arch {

/// The geometry of a block.
struct return_block {
    static constexpr std::uintptr_t entries = 1024;
    static constexpr std::uintptr_t entry_size = 64;
    static constexpr std::uintptr_t entry_point = 1;  ///< of a trampoline
    static constexpr std::uintptr_t code_size = entries * entry_size;
    static constexpr std::uintptr_t size = 2 * code_size;  ///< and the alignment of a block

    /// The address a hooked function returns to.
    [[nodiscard]] FTRACE_STUB_INLINE static std::uintptr_t trampoline(
        std::uintptr_t frame) noexcept {
        return frame - code_size + entry_point;
    }
    /// The frame of a trampoline, from any address in it.
    [[nodiscard]] FTRACE_STUB_INLINE static std::uintptr_t frame(std::uintptr_t code) noexcept {
        return (code & ~(entry_size - 1)) + code_size;
    }
    [[nodiscard]] FTRACE_STUB_INLINE static std::uintptr_t block_of(
        std::uintptr_t address) noexcept {
        return address & ~(size - 1);
    }
    [[nodiscard]] FTRACE_STUB_INLINE static bool is_code(std::uintptr_t address) noexcept {
        return (address & code_size) == 0;
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
    std::uint8_t between = int3_opcode;
    push_indirect_insn push_for_landing;
    std::uint8_t move_exception[3] = {0x48, 0x89, 0xc7};
    std::uint8_t align = 0x50;  // push rax
    call_indirect_insn call_resume;
    std::uint8_t behind = int3_opcode;
};
#pragma pack(pop)
static_assert(sizeof(return_trampoline) <= return_block::entry_size);
static_assert(offsetof(return_trampoline, push_return) == return_block::entry_point);

/// Offsets in a trampoline.
struct trampoline_offset {
    static constexpr std::size_t before_push = offsetof(return_trampoline, push_return),
                                 before_call = offsetof(return_trampoline, call_stub),
                                 behind_call = offsetof(return_trampoline, drop),
                                 before_jump = offsetof(return_trampoline, leave),
                                 landing = offsetof(return_trampoline, push_for_landing),
                                 landing_pushed = offsetof(return_trampoline, move_exception),
                                 landing_align = offsetof(return_trampoline, align),
                                 landing_call = offsetof(return_trampoline, call_resume),
                                 behind_resume = offsetof(return_trampoline, behind);
};

/// Writes trampolines [first, end) of the block whose code begins at `code`. They are the same in every block.
FTRACE_NO_INSTRUMENTATION inline void write_return_trampolines(std::byte* code,
                                                               std::uintptr_t first,
                                                               std::uintptr_t end) noexcept {
    static constexpr return_trampoline pattern{};
    std::memset(code + first * return_block::entry_size, int3_opcode,
                (end - first) * return_block::entry_size);
    for (std::uintptr_t i = first == 0 ? 1 : first; i < end; ++i) {
        return_trampoline entry = pattern;
        const std::uintptr_t at = i * return_block::entry_size;
        const auto to = [at](std::uintptr_t data, std::size_t behind) FTRACE_NO_INSTRUMENTATION {
            return static_cast<std::int32_t>(return_block::code_size + data - (at + behind));
        };
        using offset = trampoline_offset;
        entry.push_return.displacement = to(at, offset::before_call);
        entry.call_stub.displacement = to(0, offset::behind_call);
        entry.push_for_landing.displacement = to(at, offset::landing_pushed);
        entry.call_resume.displacement = to(sizeof(std::uint64_t), offset::behind_resume);
        std::memcpy(code + at, &entry, sizeof entry);
    }
}

}  // namespace ftrace::inline v0::arch
