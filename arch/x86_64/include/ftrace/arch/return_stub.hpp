// The return stub: what every return trampoline calls. One for each vector width.
//
//                  on entry                   in the stub's frame
//                                              rbp + 200  the caller's stack as it will be    = regs.sp
//     rsp + 8      true return address         rbp + 192  true return address                 = regs.ip
//     rsp + 0      trampoline + 14             rbp + 184  which trampoline: regs.context
//                                              rbp + 0    saved_registers, which ends here
//                                              rsp        vector registers, aligned
//
// In:        what the function returns (psABI 3.2.3: rax, rdx, xmm0, xmm1, st0, st1, or memory at rax); any
//            stack alignment
// Saves:     the general registers of ARGS, and the first two vector registers at full width. The x87 stack is
//            left alone: C++ that balances it returns st0 and st1 as they were.
// Calls:     Owner::returned<Width>(trampoline + 14, regs), in C++; it says how wide the vector registers are to be
//            written back
// Clobbers:  what a function call may, except what is saved
// Leaves to: the trampoline, by `ret`, which the processor predicts
// CFI:       right at every instruction; the caller of the stub is the trampoline
#pragma once

#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <ftrace/arch/asm.hpp>
#include <ftrace/arch/registers.hpp>
#include <ftrace/arch/return_trampoline.hpp>
#include <ftrace/core/config.hpp>

namespace ftrace::inline v0::arch {

/// `Owner::returned<Width>` is the C++ side: vector_width(std::uintptr_t trampoline,
/// ftrace_regs&) noexcept.
template <class Owner, vector_width Width>
struct return_stub;

// clang-format off
#define FTRACE_RETURN_STUB(vectors, width, save_vectors, restore_vectors)                           \
    template <class Owner>                                                                          \
    struct return_stub<Owner, vectors> {                                                            \
        FTRACE_NAKED static void entry() {                                                          \
            __asm__(                                                                                \
                FTRACE_FRAME_ENTER("", width, "0")                                                  \
                FTRACE_SAVE_ARGUMENTS                                                               \
                save_vectors                                                                        \
                "  movq " FTRACE_CONTEXT "(%%rbp), %%rdi\n"                                         \
                "  movq %%rbp, %%rsi\n"                                                             \
                "  call %P0\n"                                                                      \
                restore_vectors                                                                     \
                FTRACE_RESTORE_ARGUMENTS                                                            \
                FTRACE_RESTORE_STATUS_AND_AX                                                        \
                "  leaq " FTRACE_CONTEXT "(%%rbp), %%rsp\n"                                         \
                FTRACE_CFI("def_cfa %%rsp, 8")                                                      \
                "  movq " FTRACE_PROGRAM_BP "(%%rbp), %%rbp\n"                                      \
                "  ret\n"                                                                           \
                ::"X"(&Owner::template returned<vectors>));                                         \
        }                                                                                           \
    }

// Writing a wide register whose upper part was zero would mark that part as in use, and slow down SSE code of the
// program on some processors; a narrower VEX move leaves it zero and unmarked (SDM volume 1, 14.1.4). ax: the width
// that is in use.
#define FTRACE_RETURN_YMM_OR_XMM                                                                    \
    "  cmpw $32, %%ax\n"                                                                           \
    "  jae 2f\n"                                                                                    \
    FTRACE_RESTORE_VECTORS("vmovaps", "xmm", "32", 2)                                               \
    "  jmp 3f\n"                                                                                    \
    "2:\n"                                                                                          \
    FTRACE_RESTORE_VECTORS("vmovaps", "ymm", "32", 2)                                               \
    "3:\n"
#define FTRACE_RETURN_ZMM_OR_XMM                                                                    \
    "  cmpw $32, %%ax\n"                                                                           \
    "  jae 2f\n"                                                                                    \
    FTRACE_RESTORE_VECTORS("vmovaps", "xmm", "64", 2)                                               \
    "  jmp 4f\n"                                                                                    \
    "2:\n"                                                                                          \
    "  ja 3f\n"                                                                                     \
    FTRACE_RESTORE_VECTORS("vmovaps", "ymm", "64", 2)                                               \
    "  jmp 4f\n"                                                                                    \
    "3:\n"                                                                                          \
    FTRACE_RESTORE_VECTORS("vmovaps", "zmm", "64", 2)                                               \
    "4:\n"

FTRACE_RETURN_STUB(vector_width::xmm, "16", FTRACE_SAVE_VECTORS("movaps", "xmm", "16", 2),
                   FTRACE_RESTORE_VECTORS("movaps", "xmm", "16", 2));
FTRACE_RETURN_STUB(vector_width::ymm, "32", FTRACE_SAVE_VECTORS("vmovaps", "ymm", "32", 2), FTRACE_RETURN_YMM_OR_XMM);
FTRACE_RETURN_STUB(vector_width::zmm, "64", FTRACE_SAVE_VECTORS("vmovaps", "zmm", "64", 2), FTRACE_RETURN_ZMM_OR_XMM);
// clang-format on

#undef FTRACE_RETURN_STUB
#undef FTRACE_RETURN_YMM_OR_XMM
#undef FTRACE_RETURN_ZMM_OR_XMM

/// The stub for vector registers of `width`.
template <class Owner>
[[nodiscard]] FTRACE_NOTRACE std::uintptr_t return_stub_for(vector_width width) noexcept {
    if (width == vector_width::zmm)
        return reinterpret_cast<std::uintptr_t>(&return_stub<Owner, vector_width::zmm>::entry);
    if (width == vector_width::ymm)
        return reinterpret_cast<std::uintptr_t>(&return_stub<Owner, vector_width::ymm>::entry);
    return reinterpret_cast<std::uintptr_t>(&return_stub<Owner, vector_width::xmm>::entry);
}

/// How much of the two vector registers that a return stub for `Saved` has saved is not zero.
template <vector_width Saved>
[[nodiscard]] FTRACE_NO_INSTRUMENTATION __attribute__((always_inline)) inline vector_width
used_return_width(const ftrace_regs& regs) noexcept {
    if (arch_access::saved(regs).width != Saved) __builtin_unreachable();
    using quarter = unsigned long long __attribute__((vector_size(16), may_alias));
    const auto* const first = reinterpret_cast<const quarter*>(arch_access::vector(regs, 0));
    const auto* const second = reinterpret_cast<const quarter*>(arch_access::vector(regs, 1));
    if constexpr (Saved == vector_width::zmm) {
        const quarter upper = first[2] | first[3] | second[2] | second[3];
        if ((upper[0] | upper[1]) != 0) return vector_width::zmm;
    }
    if constexpr (Saved != vector_width::xmm) {
        const quarter upper = first[1] | second[1];
        if ((upper[0] | upper[1]) != 0) return vector_width::ymm;
    }
    return vector_width::xmm;
}

/// Entry: the stack slot that holds the traced function's return address.
[[nodiscard]] FTRACE_NO_INSTRUMENTATION inline std::uintptr_t* return_slot(
    ftrace_regs& regs) noexcept {
    return reinterpret_cast<std::uintptr_t*>(arch_access::stack_pointer(regs));
}

/// Entry: whether the return address of this very call was replaced already, by an earlier callback.
[[nodiscard]] FTRACE_NO_INSTRUMENTATION inline bool is_hooked(ftrace_regs& regs) noexcept {
    return arch_access::saved(regs).hooked != 0;
}
FTRACE_NO_INSTRUMENTATION inline void set_hooked(ftrace_regs& regs) noexcept {
    arch_access::saved(regs).hooked = 1;
}

/// Exit: the function's result, as far as it is an integer or a pointer.
[[nodiscard]] FTRACE_NO_INSTRUMENTATION inline unsigned long integer_result(
    ftrace_regs& regs) noexcept {
    return arch_access::saved(regs).gpr.ax;
}

/// Asks the kernel which user shadow stack features this thread runs with (Linux 6.6,
/// Documentation/arch/x86/shstk.rst: ARCH_SHSTK_STATUS). False: it knows of none.
[[nodiscard]] FTRACE_NOTRACE inline bool ask_shadow_stack_features(
    std::uint64_t& features) noexcept {
    constexpr int shstk_status = 0x5005;
    return ::syscall(SYS_arch_prctl, shstk_status, &features) == 0;
}

/// Whether replaced return addresses fault here (CET). `ask`: ask_shadow_stack_features().
[[nodiscard]] FTRACE_NOTRACE inline bool has_hardware_shadow_stack(
    bool (*ask)(std::uint64_t&) noexcept) noexcept {
    constexpr std::uint64_t shstk = 1;  // ARCH_SHSTK_SHSTK
    std::uint64_t features = 0;
    return ask(features) && (features & shstk) != 0;
}

}  // namespace ftrace::inline v0::arch
