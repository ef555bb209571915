// The least an entry stub can do: stubs written by hand that save what the library's save, and call
// one function. They know no redirect, no list and no unwinder.
#pragma once

#include <ftrace/core/config.hpp>

#include "entry_cost_work.hpp"

// clang-format off
// From rbp on: -8 rflags, 0 a pt_regs, 168 status flags, 176 the program's rbp, 192 return into the traced function, 200
// its return address. The layout is the library's: of those that were tried, the one with the fewest stores.
#define LIMIT_ENTER(save_flags)   \
    "leaq -192(%rsp), %rsp\n"     \
    "movq %rax, 80(%rsp)\n"       \
    "lahf\n"                      \
    "seto %al\n"                  \
    "movl %eax, 168(%rsp)\n"      \
    "movq %rbp, 176(%rsp)\n"      \
    "movq %rsp, %rbp\n"           \
    save_flags

#define LIMIT_SAVE                \
    "movq %rdi, 112(%rbp)\n"      \
    "movq %rsi, 104(%rbp)\n"      \
    "movq %rdx, 96(%rbp)\n"       \
    "movq %rcx, 88(%rbp)\n"       \
    "movq %r8, 72(%rbp)\n"        \
    "movq %r9, 64(%rbp)\n"        \
    "movq %r10, 56(%rbp)\n"       \
    "movq %r11, 48(%rbp)\n"

#define LIMIT_SAVE_REST           \
    "movq %r15, (%rbp)\n"         \
    "movq %r14, 8(%rbp)\n"        \
    "movq %r13, 16(%rbp)\n"       \
    "movq %r12, 24(%rbp)\n"       \
    "movq %rbx, 40(%rbp)\n"       \
    "movq 176(%rbp), %rax\n"      \
    "movq 192(%rbp), %rdi\n"      \
    "leaq 200(%rbp), %rsi\n"      \
    "movq %rax, 32(%rbp)\n"       \
    "movq %rdi, 128(%rbp)\n"      \
    "movq %rsi, 152(%rbp)\n"      \
    "movq -8(%rbp), %rax\n"       \
    "movq %rax, 144(%rbp)\n"      \
    "movq $0, 120(%rbp)\n"        \
    "movq $0x33, 136(%rbp)\n"     \
    "movq $0x2b, 160(%rbp)\n"     \
    "cld\n"
#define LIMIT_RESTORE_REST        \
    "movq (%rbp), %r15\n"         \
    "movq 8(%rbp), %r14\n"        \
    "movq 16(%rbp), %r13\n"       \
    "movq 24(%rbp), %r12\n"       \
    "movq 40(%rbp), %rbx\n"

#define LIMIT_VECTORS(line) ".irp n, 0, 1, 2, 3, 4, 5, 6, 7\n" line ".endr\n"
#define LIMIT_SAVE_NO_VECTORS "andq $-16, %rsp\n"
#define LIMIT_SAVE_VECTORS        \
    "subq $136, %rsp\n"           \
    "andq $-16, %rsp\n"           \
    LIMIT_VECTORS("movaps %xmm\\n, 16*\\n(%rsp)\n")
#define LIMIT_RESTORE_VECTORS LIMIT_VECTORS("movaps 16*\\n(%rsp), %xmm\\n\n")

#define LIMIT_CALL(callee)        \
    "movq 192(%rbp), %rdi\n"      \
    "subq $5, %rdi\n"             \
    "movq 200(%rbp), %rsi\n"      \
    "xorl %edx, %edx\n"           \
    "movq %rbp, %rcx\n"           \
    "call " callee "\n"

#define LIMIT_RESTORE             \
    "movq 112(%rbp), %rdi\n"      \
    "movq 104(%rbp), %rsi\n"      \
    "movq 96(%rbp), %rdx\n"       \
    "movq 88(%rbp), %rcx\n"       \
    "movq 72(%rbp), %r8\n"        \
    "movq 64(%rbp), %r9\n"        \
    "movq 56(%rbp), %r10\n"       \
    "movq 48(%rbp), %r11\n"       \
    "movzwl 168(%rbp), %eax\n"    \
    "addb $0x7f, %al\n"           \
    "sahf\n"                      \
    "movq 80(%rbp), %rax\n"
#define LIMIT_LEAVE               \
    LIMIT_RESTORE                 \
    "leaq 192(%rbp), %rsp\n"      \
    "movq 176(%rbp), %rbp\n"      \
    "ret\n"

#define LIMIT_STUB(name, save_flags, save, callee, restore)                                      \
    __attribute__((naked, noinline, aligned(64))) FTRACE_NOTRACE inline void name() {            \
        __asm__(LIMIT_ENTER(save_flags) LIMIT_SAVE save LIMIT_CALL(callee) restore LIMIT_LEAVE); \
    }

#define LIMIT_STUBS(suffix, callee)                                                                          \
    LIMIT_STUB(limit_integer##suffix, "", LIMIT_SAVE_NO_VECTORS, callee, "")                                                    \
    LIMIT_STUB(limit_args##suffix, "", LIMIT_SAVE_VECTORS, callee, LIMIT_RESTORE_VECTORS)                    \
    LIMIT_STUB(limit_full##suffix, "pushfq\n", LIMIT_SAVE_VECTORS LIMIT_SAVE_REST, callee,                   \
               LIMIT_RESTORE_VECTORS LIMIT_RESTORE_REST)
// clang-format on

LIMIT_STUBS(, "limit_empty")
LIMIT_STUBS(_guarded, "limit_guarded")
