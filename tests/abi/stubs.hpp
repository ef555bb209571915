// Sites of the torture test's own: no text is changed, and every policy and vector width can be
// tried on any CPU that has the registers.
#pragma once

#include <ftrace/arch/entry_stub.hpp>
#include <ftrace/arch/x87_results.hpp>

#include "tests/abi/torture.hpp"

namespace torture {

/// Where the call that is being made goes on behind the trampolines below. Local, so that -fPIC needs no register to
/// find them.
FTRACE_LOCAL inline void (*target)();
FTRACE_LOCAL inline void* caller;

/// Destroys every register that a callback may change by the psABI, vector registers in full width,
/// and the flags.
#define TORTURE_CLOBBER(first)                                           \
    asm(first                                                            \
        "movabsq $0xdeadbeefdeadbeef, %rax\n"                            \
        "movq %rax, %rcx\n"                                              \
        "movq %rax, %rdx\n"                                              \
        "movq %rax, %rsi\n"                                              \
        "movq %rax, %rdi\n"                                              \
        "movq %rax, %r8\n"                                               \
        "movq %rax, %r9\n"                                               \
        "movq %rax, %r10\n"                                              \
        "movq %rax, %r11\n"                                              \
        ".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15\n" \
        "movq %rax, %xmm\\n\n"                                           \
        "punpcklqdq %xmm\\n, %xmm\\n\n"                                  \
        ".endr\n"                                                        \
        "addq %rax, %rax\n"                                              \
        "stc\n"                                                          \
        "ret\n")
FTRACE_NOTRACE __attribute__((naked, noinline)) inline void clobber_xmm() { TORTURE_CLOBBER(""); }
/// The same on a CPU with AVX, where clearing the upper halves destroys more.
FTRACE_NOTRACE __attribute__((naked, noinline)) inline void clobber_avx() {
    TORTURE_CLOBBER("vzeroall\n");
}
#undef TORTURE_CLOBBER

/// What an entry stub calls.
struct FTRACE_LOCAL owner {
    static inline void* context = nullptr;

    FTRACE_NOTRACE static void callee(unsigned long ip, unsigned long parent_ip, void*,
                                      ftrace::ftrace_regs& regs) noexcept {
        (void)ip, (void)parent_ip;
        ++state.callbacks;
        state.now->on_entry(regs);
        clobber();
    }
    static inline void (*clobber)() = clobber_xmm;
};

/// What a stub that saves no vector register calls. By the rules its callback has none to destroy: this one
/// puts the callback above between the program's registers and themselves.
struct FTRACE_LOCAL integer_owner {
    static inline void* context = nullptr;

    FTRACE_NAKED static void callee(unsigned long, unsigned long, void*, ftrace::ftrace_regs&) {
        asm("subq $136, %%rsp\n"
            ".irp n, 0, 1, 2, 3, 4, 5, 6, 7\n"
            "movups %%xmm\\n, 16*\\n(%%rsp)\n"
            ".endr\n"
            "call %P0\n"
            ".irp n, 0, 1, 2, 3, 4, 5, 6, 7\n"
            "movups 16*\\n(%%rsp), %%xmm\\n\n"
            ".endr\n"
            "addq $136, %%rsp\n"
            "ret\n" ::"X"(&owner::callee));
    }
};

/// Aligned, since a pointer to a member function with an odd address means a virtual one.
/// A call of a stub, as at a site, and the rest of the function.
template <ftrace::arch::saved_set Set, ftrace::arch::vector_width Width>
struct site {
    using called =
        std::conditional_t<Width == ftrace::arch::vector_width::none, integer_owner, owner>;
    FTRACE_NAKED __attribute__((aligned(16))) static void enter() {
        asm("call %P0\n"
            "jmp *%1\n" ::"X"(&ftrace::arch::entry_stub<called, Set, Width>::entry),
            "m"(target));
    }
};

/// What a return hook would show: the result registers of a call that has returned, laid out as in a stub's frame.
struct alignas(64) exit_frame {
    unsigned char vectors[std::size_t(ftrace::arch::vector_argument_registers) *
                          std::size_t(ftrace::arch::vector_width::zmm)];
    std::uint64_t rflags;
    ftrace::arch::saved_registers saved;
};
static_assert(offsetof(exit_frame, rflags) % 64 == 0 &&
              offsetof(exit_frame, saved) == offsetof(exit_frame, rflags) + sizeof(std::uint64_t));
FTRACE_LOCAL inline exit_frame exit_registers;

FTRACE_NOTRACE FTRACE_LOCAL inline void exit_callee() {
    ++state.callbacks;
    auto& regs = reinterpret_cast<ftrace::ftrace_regs&>(exit_registers.saved);
    ftrace::arch::x87_results kept(regs);
    kept.take_off();
    state.now->on_exit(regs);
}

/// Calls the target in place of its caller, so that stack arguments are where it looks for them;
/// then shows the result to exit_callee, in vector registers `width` bytes wide.
// clang-format off
#define TORTURE_EXIT(name, move, reg, width)                               \
    FTRACE_NAKED __attribute__((aligned(16))) inline void name() {         \
        asm("popq %0\n"                                                    \
            "call *%1\n"                                                   \
            "pushq %0\n"                                                   \
            "pushq %%rbp\n"                                                \
            "movq %%rsp, %%rbp\n"                                          \
            "andq $-64, %%rsp\n"                                           \
            "leaq %2, %%rcx\n"                                             \
            "movq %%rax, " FTRACE_AX "(%%rcx)\n"                           \
            "movq %%rdx, " FTRACE_DX "(%%rcx)\n"                           \
            "movq $" width ", " FTRACE_KIND "(%%rcx)\n"                    \
            move " %%" reg "0, -8-8*" width "(%%rcx)\n"                    \
            move " %%" reg "1, -8-7*" width "(%%rcx)\n"                    \
            "call %P3\n"                                                   \
            "leaq %2, %%rcx\n"                                             \
            "movq " FTRACE_AX "(%%rcx), %%rax\n"                           \
            "movq " FTRACE_DX "(%%rcx), %%rdx\n"                           \
            move " -8-8*" width "(%%rcx), %%" reg "0\n"                    \
            move " -8-7*" width "(%%rcx), %%" reg "1\n"                    \
            "leave\n"                                                      \
            "ret\n" ::"m"(caller),                                         \
            "m"(target), "m"(exit_registers.saved), "X"(&exit_callee));    \
    }
// clang-format on
TORTURE_EXIT(exit_xmm, "movups", "xmm", "16")
TORTURE_EXIT(exit_ymm, "vmovups", "ymm", "32")
TORTURE_EXIT(exit_zmm, "vmovups", "zmm", "64")
#undef TORTURE_EXIT

}  // namespace torture
