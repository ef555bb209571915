// What the entry stubs save: pt_regs, and the ftrace_regs around it. The offsets are named once,
// for the stubs' assembly, and tied to the structs below.
#pragma once

#include <ftrace/core/config.hpp>

#include <cstddef>
#include <cstdint>

// Offsets of pt_regs, the kernel's layout (arch/x86/include/asm/ptrace.h, struct pt_regs).
#define FTRACE_R15 "0"
#define FTRACE_R14 "8"
#define FTRACE_R13 "16"
#define FTRACE_R12 "24"
#define FTRACE_BP "32"
#define FTRACE_BX "40"
#define FTRACE_R11 "48"
#define FTRACE_R10 "56"
#define FTRACE_R9 "64"
#define FTRACE_R8 "72"
#define FTRACE_AX "80"
#define FTRACE_CX "88"
#define FTRACE_DX "96"
#define FTRACE_SI "104"
#define FTRACE_DI "112"
#define FTRACE_ORIG_AX "120"
#define FTRACE_IP "128"
#define FTRACE_CS "136"
#define FTRACE_FLAGS "144"
#define FTRACE_SP "152"
#define FTRACE_SS "160"
// Offsets of what saved_registers adds.
#define FTRACE_KIND "168"
#define FTRACE_MOVED "172"
#define FTRACE_STATUS "174"
#define FTRACE_PROGRAM_BP "176"
#define FTRACE_CONTEXT "184"
#define FTRACE_RETURN "192"
#define FTRACE_PARENT "200"  // behind it: the stack as the traced function found it

// And in front of it.
#define FTRACE_RFLAGS "-8"

namespace ftrace::inline v0 {

/// A full register set, as a breakpoint would show it: the kernel's names and layout. `ip` is where
/// the traced function goes on, five bytes behind its site; `sp` points to its return address.
struct pt_regs {
    std::uint64_t r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di, orig_ax, ip, cs,
        flags, sp, ss;
};

namespace arch {

/// cs and ss of a 64-bit Linux process.
inline constexpr std::uint64_t user_cs = 0x33;
inline constexpr std::uint64_t user_ss = 0x2b;

/// How many bytes of each of the first eight vector registers a stub saved.
enum class vector_width : std::uint16_t { none = 0, xmm = 16, ymm = 32, zmm = 64 };

inline constexpr int vector_argument_registers = 8;

// clang-format off
/// What a stub leaves on the stack for a callback. The program's stack continues where it ends, so that it lies at the
/// same distance from the traced function's frame whatever is saved.
///
///    ...      vectors          eight of `width` bytes, up to the last multiple of `width` that leaves room for rflags
///    -8       rflags           SAVE_REGS: flags on entry
///     0       gpr              SAVE_REGS: all of it; else di si dx cx r8 r9 ax r10 r11, and ip once it was moved
///     168     width, full, hooked, moved, status    written by one instruction: stores are what a stub's time goes to
///     176     bp               the program's frame pointer, as the stub restores it
///     184     context          what the stub was called for
///     192     return_address   into the traced function; in a return stub into its caller
// clang-format on
struct saved_registers {
    pt_regs gpr;
    vector_width width;
    std::uint8_t full;    ///< 1: SAVE_REGS
    std::uint8_t hooked;  ///< 1: this call's return address was replaced (graph/)
    std::uint16_t
        moved;  ///< 1: gpr.ip is where to leave to (a stub that saves all compares it instead)
    std::uint16_t status;  ///< flags on entry, as lahf and seto deliver them
    std::uint64_t bp;
    const void* context;
    std::uint64_t return_address;
};

}  // namespace arch

/// The registers of a traced call, as much of them as the policy of the ops saved. Opaque: read
/// and written through the regs_* accessors. Valid inside the callback it was handed to, and
/// nowhere else.
class ftrace_regs {
public:
    ftrace_regs(const ftrace_regs&) = delete;
    ftrace_regs& operator=(const ftrace_regs&) = delete;

private:
    ftrace_regs() = default;
    arch::saved_registers saved_;
    friend struct arch_access;
};

/// The way in for the library's own accessors and for the stubs.
struct arch_access {
    FTRACE_NO_INSTRUMENTATION static arch::saved_registers& saved(ftrace_regs& regs) noexcept {
        return regs.saved_;
    }
    FTRACE_NO_INSTRUMENTATION static const arch::saved_registers& saved(
        const ftrace_regs& regs) noexcept {
        return regs.saved_;
    }
    /// The N-th vector register's bytes: `width` of them, none where the policy saved none.
    FTRACE_NO_INSTRUMENTATION static std::byte* vector(ftrace_regs& regs, std::size_t n) noexcept {
        return reinterpret_cast<std::byte*>(vector_address(regs, n));
    }
    FTRACE_NO_INSTRUMENTATION static const std::byte* vector(const ftrace_regs& regs,
                                                             std::size_t n) noexcept {
        return reinterpret_cast<const std::byte*>(vector_address(regs, n));
    }
    /// The stack pointer at the entry of the traced function, or behind its return.
    FTRACE_NO_INSTRUMENTATION static std::uintptr_t stack_pointer(
        const ftrace_regs& regs) noexcept {
        return reinterpret_cast<std::uintptr_t>(&regs.saved_ + 1);
    }

private:
    FTRACE_NO_INSTRUMENTATION static std::uintptr_t vector_address(const ftrace_regs& regs,
                                                                   std::size_t n) noexcept {
        const auto width = static_cast<std::uintptr_t>(regs.saved_.width);
        const std::uintptr_t end =
            (reinterpret_cast<std::uintptr_t>(&regs) - sizeof(std::uint64_t)) & (~width + 1);
        return end - (std::size_t(arch::vector_argument_registers) - n) * width;
    }
};

// clang-format off
static_assert(offsetof(pt_regs, r15) == 0 && offsetof(pt_regs, r14) == 8 && offsetof(pt_regs, r13) == 16 &&
              offsetof(pt_regs, r12) == 24 && offsetof(pt_regs, bp) == 32 && offsetof(pt_regs, bx) == 40 &&
              offsetof(pt_regs, r11) == 48 && offsetof(pt_regs, r10) == 56 && offsetof(pt_regs, r9) == 64 &&
              offsetof(pt_regs, r8) == 72 && offsetof(pt_regs, ax) == 80 && offsetof(pt_regs, cx) == 88 &&
              offsetof(pt_regs, dx) == 96 && offsetof(pt_regs, si) == 104 && offsetof(pt_regs, di) == 112 &&
              offsetof(pt_regs, orig_ax) == 120 && offsetof(pt_regs, ip) == 128 && offsetof(pt_regs, cs) == 136 &&
              offsetof(pt_regs, flags) == 144 && offsetof(pt_regs, sp) == 152 && offsetof(pt_regs, ss) == 160 &&
              sizeof(pt_regs) == 168);
static_assert(offsetof(arch::saved_registers, width) == 168 && offsetof(arch::saved_registers, full) == 170 && offsetof(arch::saved_registers, hooked) == 171 &&
              offsetof(arch::saved_registers, moved) == 172 && offsetof(arch::saved_registers, status) == 174 &&
              offsetof(arch::saved_registers, bp) == 176 && offsetof(arch::saved_registers, context) == 184 &&
              offsetof(arch::saved_registers, return_address) == 192 && sizeof(arch::saved_registers) == 200);
// clang-format on

}  // namespace ftrace::inline v0
