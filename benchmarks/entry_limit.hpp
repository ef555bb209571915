// The least an entry stub can do: stubs written by hand that save what the library's save, and call
// one function. They know no redirect, no list and no unwinder.
#pragma once

#include <ftrace/core/config.hpp>

#include "entry_cost_work.hpp"

// clang-format off
// Behind rbp: 0 the program's rbp, 8 return into the traced function, 16 its return address.
#define LIMIT_ENTER(push_flags)   \
    "pushq %rbp\n"                \
    "movq %rsp, %rbp\n"           \
    "pushq %rax\n"                \
    "lahf\n"                      \
    "seto %al\n"                  \
    "pushq %rax\n"                \
    push_flags                    \
    "andq $-16, %rsp\n"           \
    "subq $320, %rsp\n"

#define LIMIT_SAVE                \
    "movq %rdi, 112(%rsp)\n"      \
    "movq %rsi, 104(%rsp)\n"      \
    "movq %rdx, 96(%rsp)\n"       \
    "movq %rcx, 88(%rsp)\n"       \
    "movq %r8, 72(%rsp)\n"        \
    "movq %r9, 64(%rsp)\n"        \
    "movq %r10, 56(%rsp)\n"       \
    "movq %r11, 48(%rsp)\n"       \
    "movq -8(%rbp), %rax\n"       \
    "movq (%rbp), %r8\n"          \
    "movq 8(%rbp), %rdi\n"        \
    "leaq 16(%rbp), %r9\n"        \
    "movq %rax, 80(%rsp)\n"       \
    "movq %r8, 32(%rsp)\n"        \
    "movq %rdi, 128(%rsp)\n"      \
    "movq %r9, 152(%rsp)\n"

#define LIMIT_SAVE_REST           \
    "movq %r15, (%rsp)\n"         \
    "movq %r14, 8(%rsp)\n"        \
    "movq %r13, 16(%rsp)\n"       \
    "movq %r12, 24(%rsp)\n"       \
    "movq %rbx, 40(%rsp)\n"       \
    "movq $0, 120(%rsp)\n"        \
    "movq $0x33, 136(%rsp)\n"     \
    "movq -24(%rbp), %rax\n"      \
    "movq %rax, 144(%rsp)\n"      \
    "movq $0x2b, 160(%rsp)\n"     \
    "cld\n"
#define LIMIT_RESTORE_REST        \
    "movq (%rsp), %r15\n"         \
    "movq 8(%rsp), %r14\n"        \
    "movq 16(%rsp), %r13\n"       \
    "movq 24(%rsp), %r12\n"       \
    "movq 40(%rsp), %rbx\n"

#define LIMIT_VECTORS(line) ".irp n, 0, 1, 2, 3, 4, 5, 6, 7\n" line ".endr\n"
#define LIMIT_SAVE_VECTORS LIMIT_VECTORS("movaps %xmm\\n, 192+16*\\n(%rsp)\n")
#define LIMIT_RESTORE_VECTORS LIMIT_VECTORS("movaps 192+16*\\n(%rsp), %xmm\\n\n")

#define LIMIT_CALL(callee)        \
    "subq $5, %rdi\n"             \
    "movq 16(%rbp), %rsi\n"       \
    "xorl %edx, %edx\n"           \
    "movq %rsp, %rcx\n"           \
    "call " callee "\n"

#define LIMIT_LEAVE               \
    "movq 112(%rsp), %rdi\n"      \
    "movq 104(%rsp), %rsi\n"      \
    "movq 96(%rsp), %rdx\n"       \
    "movq 88(%rsp), %rcx\n"       \
    "movq 72(%rsp), %r8\n"        \
    "movq 64(%rsp), %r9\n"        \
    "movq 56(%rsp), %r10\n"       \
    "movq 48(%rsp), %r11\n"       \
    "movzwl -16(%rbp), %eax\n"    \
    "addb $0x7f, %al\n"           \
    "sahf\n"                      \
    "movq 80(%rsp), %rax\n"       \
    "movq %rbp, %rsp\n"           \
    "popq %rbp\n"                 \
    "ret\n"

#define LIMIT_STUB(name, push_flags, save, callee, restore)                                      \
    __attribute__((naked, noinline, aligned(64))) FTRACE_NOTRACE inline void name() {            \
        __asm__(LIMIT_ENTER(push_flags) LIMIT_SAVE save LIMIT_CALL(callee) restore LIMIT_LEAVE); \
    }

#define LIMIT_STUBS(suffix, callee)                                                                          \
    LIMIT_STUB(limit_integer##suffix, "", "", callee, "")                                                    \
    LIMIT_STUB(limit_args##suffix, "", LIMIT_SAVE_VECTORS, callee, LIMIT_RESTORE_VECTORS)                    \
    LIMIT_STUB(limit_full##suffix, "pushfq\n", LIMIT_SAVE_VECTORS LIMIT_SAVE_REST, callee,                   \
               LIMIT_RESTORE_VECTORS LIMIT_RESTORE_REST)
// clang-format on

LIMIT_STUBS(, "limit_empty")
LIMIT_STUBS(_guarded, "limit_guarded")
