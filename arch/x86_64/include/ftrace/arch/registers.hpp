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
// Offsets of what ftrace_regs adds.
#define FTRACE_VECTOR_WIDTH "168"
#define FTRACE_VECTORS "192"

namespace ftrace::inline v0 {

/// A full register set, as a breakpoint would show it: the kernel's names and layout.
/// `ip` is where the traced function goes on, five bytes behind its site; `sp` points to its return
/// address.
struct pt_regs {
    std::uint64_t r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di, orig_ax, ip, cs,
        flags, sp, ss;
};

namespace arch {

/// cs and ss of a 64-bit Linux process. cs is 0 in a frame that holds the arguments only, as in the
/// kernel.
inline constexpr std::uint64_t user_cs = 0x33;
inline constexpr std::uint64_t user_ss = 0x2b;

/// How many bytes of each of the first eight vector registers a stub saved; also their distance in
/// memory.
enum class vector_width : std::uint32_t { none = 0, xmm = 16, ymm = 32, zmm = 64 };

inline constexpr int vector_argument_registers = 8;

// clang-format off
/// What a stub leaves on the stack for a callback.
///
///     0    pt_regs          ARGS: di si dx cx r8 r9 ax r10 r11 bp sp ip, cs = 0; the rest is not written
///     168  width            of a vector register below
///     192  vectors          eight registers, `width` bytes each
// clang-format on
struct alignas(64) saved_registers {
    pt_regs gpr;
    vector_width width;
    std::uint32_t reserved_[5];
    std::byte vectors[std::size_t(vector_argument_registers) * std::size_t(vector_width::zmm)];
};

}  // namespace arch

/// The registers of a traced call, as much of them as the policy of the ops saved. Opaque: read and
/// written through the regs_* accessors. Valid inside the callback it was handed to, and nowhere
/// else.
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
    FTRACE_NO_INSTRUMENTATION static std::byte* vector(ftrace_regs& regs, int n) noexcept {
        return regs.saved_.vectors + std::size_t(n) * std::size_t(regs.saved_.width);
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
static_assert(offsetof(arch::saved_registers, width) == 168 &&
              offsetof(arch::saved_registers, vectors) == 192);
// clang-format on

}  // namespace ftrace::inline v0
