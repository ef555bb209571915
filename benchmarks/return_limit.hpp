// The least a return hook can do: the return address is replaced by hand. Stubs that know no exceptions, no fibers, no
// tail calls and no unwinder: they push on a thread's shadow stack, and pop what is on top.
//
// bare: nothing is called, nothing is saved. Else an empty function is called at entry and at return, with what the
// library's stubs save around it: the registers of ARGS at entry; at return the general ones, xmm0 and xmm1.
#pragma once

#include "entry_limit.hpp"
#include "return_cost_work.hpp"

/// Above it the shadow stack is free. Two words a call: the return address, and where it was.
extern "C" {
extern thread_local std::uintptr_t* hijack_top __attribute__((tls_model("local-exec")));
void hijack_bare_return();
void hijack_called_return();
void hijack_guarded_return();
}

// clang-format off
// Without a register that the program may need but r10 and r11, and without the flags. `slot`: of the return address.
#define HIJACK_PUSH(slot, return_stub)             \
    "movq %fs:hijack_top@tpoff, %r11\n"            \
    "movq " slot ", %r10\n"                        \
    "movq %r10, (%r11)\n"                          \
    "leaq " slot ", %r10\n"                        \
    "movq %r10, 8(%r11)\n"                         \
    "leaq 16(%r11), %r11\n"                        \
    "movq %r11, %fs:hijack_top@tpoff\n"            \
    "leaq " return_stub "(%rip), %r10\n"           \
    "movq %r10, " slot "\n"
#define HIJACK_POP                                 \
    "movq %fs:hijack_top@tpoff, %r11\n"            \
    "leaq -16(%r11), %r11\n"                       \
    "movq %r11, %fs:hijack_top@tpoff\n"

#define HIJACK_STUBS(name, callee)                                                                                   \
    __attribute__((naked, noinline, aligned(64))) FTRACE_NOTRACE inline void name() {                                \
        __asm__(LIMIT_ENTER("") LIMIT_SAVE LIMIT_SAVE_VECTORS LIMIT_CALL(callee)                                     \
                HIJACK_PUSH("200(%rbp)", #name "_return") LIMIT_RESTORE_VECTORS LIMIT_LEAVE);                        \
    }                                                                                                                \
    /* The frame of an entry stub, with the true return address where a function's is. */                            \
    extern "C" __attribute__((naked, noinline, aligned(64), used)) FTRACE_NOTRACE inline void name##_return() {      \
        __asm__("leaq -16(%rsp), %rsp\n" LIMIT_ENTER("") LIMIT_SAVE                                                  \
                "subq $40, %rsp\n"                                                                                   \
                "andq $-16, %rsp\n"                                                                                  \
                "movaps %xmm0, (%rsp)\n"                                                                             \
                "movaps %xmm1, 16(%rsp)\n"                                                                           \
                HIJACK_POP                                                                                           \
                "movq (%r11), %r10\n"                                                                                \
                "movq %r10, 200(%rbp)\n"                                                                             \
                LIMIT_CALL(callee)                                                                                   \
                "movaps (%rsp), %xmm0\n"                                                                             \
                "movaps 16(%rsp), %xmm1\n"                                                                           \
                LIMIT_RESTORE                                                                                        \
                "leaq 208(%rbp), %rsp\n"                                                                             \
                "movq 176(%rbp), %rbp\n"                                                                             \
                "jmp *-8(%rsp)\n");                                                                                  \
    }
// clang-format on

__attribute__((naked, noinline, aligned(64))) FTRACE_NOTRACE inline void hijack_bare() {
    __asm__(HIJACK_PUSH("8(%rsp)", "hijack_bare_return") "ret\n");
}
extern "C" __attribute__((naked, noinline, aligned(64), used)) FTRACE_NOTRACE inline void
hijack_bare_return() {
    __asm__(HIJACK_POP "jmp *(%r11)\n");
}
HIJACK_STUBS(hijack_called, "hijack_empty")
HIJACK_STUBS(hijack_guarded, "hijack_within_guard")
