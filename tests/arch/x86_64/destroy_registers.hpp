// Callbacks that leave nothing of what a function call may change.
#pragma once

#include <cerrno>
#include <ftrace/arch/cpu.hpp>
#include <ftrace/ftrace.hpp>

/// The general registers and status flags that a call may change (psABI, figure 3.4).
FTRACE_GENERAL_REGS_ONLY __attribute__((always_inline)) inline void destroy_general_registers() {
    __asm__ volatile(
        "movabsq $0x5a5a5a5a5a5a5a5a, %%rax\n"
        ".irp r, rcx, rdx, rsi, rdi, r8, r9, r10, r11\n"
        "movq %%rax, %%\\r\n"
        ".endr\n"
        "addb $0x7f, %%al\n" ::
            : "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "cc", "memory");
}

/// Vector and x87 registers. MXCSR's and the x87's status bits are the call's to change as well
/// (psABI, 3.2.1), and this changes them.
__attribute__((noinline)) inline void destroy_vector_registers() {
    __asm__ volatile(
        ".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15\n"
        "pcmpeqd %%xmm\\n, %%xmm\\n\n"
        ".endr\n" ::
            : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9",
              "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
    const ftrace::arch::vector_width widest = ftrace::arch::widest_vector_register();
    if (widest == ftrace::arch::vector_width::zmm)
        __asm__ volatile(
            ".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, "
            "22, 23, 24, 25, 26, 27, 28, 29, 30, 31\n"
            "vpternlogd $255, %%zmm\\n, %%zmm\\n, %%zmm\\n\n"
            ".endr\n"
            ".irp n, 0, 1, 2, 3, 4, 5, 6, 7\n"
            "kxnorw %%k\\n, %%k\\n, %%k\\n\n"
            ".endr\n" ::
                : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9",
                  "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
    if (widest != ftrace::arch::vector_width::xmm)
        __asm__ volatile("vzeroupper\n" ::
                             : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7",
                               "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14",
                               "xmm15");
    __asm__ volatile("fldpi\n fldl2e\n fdivrp\n fsqrt\n fstp %%st(0)\n" ::: "st(7)");
}

inline unsigned destroyed;

inline void destroy(unsigned long, unsigned long, ftrace::ftrace_ops&,
                    ftrace::ftrace_regs&) noexcept {
    ++destroyed;
    errno = 77;
    destroy_vector_registers();
    destroy_general_registers();
}
FTRACE_GENERAL_REGS_ONLY inline void destroy_integers(unsigned long, unsigned long,
                                                      ftrace::ftrace_ops&,
                                                      ftrace::integer_regs&) noexcept {
    ++destroyed;
    errno = 77;
    destroy_general_registers();
}
