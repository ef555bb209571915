// The pieces every entry stub is made of. Saving and restoring exist once, here.
#pragma once

#include <ftrace/arch/registers.hpp>
#include <ftrace/core/config.hpp>

// clang-format off
// A function without prologue, epilogue or endbr64: sites call it directly, veneers jump to it with
// notrack. The attribute is part of the function's type.
#if defined(__CET__) && (__CET__ & 1)
#define FTRACE_NO_LANDING_PAD __attribute__((nocf_check))
#else
#define FTRACE_NO_LANDING_PAD
#endif
#define FTRACE_NAKED                                                               \
    __attribute__((naked, noinline)) FTRACE_NO_INSTRUMENTATION FTRACE_LOCAL        \
        FTRACE_NO_LANDING_PAD

#define FTRACE_SITE_SIZE "5"  // static_assert in entry_stub.hpp

// Behind the frame pointer, from FTRACE_FRAME_ENTER:
#define FTRACE_SLOT_CONTEXT "8"      // 8(%rbp): what this stub was called for
#define FTRACE_SLOT_RETURN "16"      // 16(%rbp): return address into the traced function
#define FTRACE_SLOT_PARENT "24"      // 24(%rbp): return address of the traced function; its address is `sp`
#define FTRACE_SLOT_AX "-8"          // -8(%rbp): rax, until it is in pt_regs
#define FTRACE_SLOT_STATUS "-16"     // -16(%rbp): status flags as lahf and seto deliver them
#define FTRACE_SLOT_RFLAGS "-24"     // -24(%rbp): rflags (SAVE_REGS)

// On entry the context lies on top of the stack. Makes a frame of `size` bytes (a multiple of 64) for
// saved_registers at a 64-byte boundary; `push_flags` is empty or saves rflags.
// Nothing before lahf/seto changes a flag.
#define FTRACE_FRAME_ENTER(size, push_flags)                              \
    "  pushq %%rbp\n"                                                     \
    "  .cfi_adjust_cfa_offset 8\n"                                        \
    "  .cfi_rel_offset %%rbp, 0\n"                                        \
    "  movq %%rsp, %%rbp\n"                                               \
    "  .cfi_def_cfa_register %%rbp\n"                                     \
    "  pushq %%rax\n"                                                     \
    "  lahf\n" /* SF ZF AF PF CF */                                       \
    "  seto %%al\n"                                                       \
    "  pushq %%rax\n" push_flags                                          \
    "  andq $-64, %%rsp\n" /* -fipa-ra callers do not align the stack */  \
    "  subq $" size ", %%rsp\n"

#define FTRACE_PUSH_RFLAGS "  pushfq\n"

// regs.{di,si,dx,cx,r8,r9,r10,r11,ax,bp,ip,sp,cs} = ...
#define FTRACE_SAVE_ARGUMENTS(cs)                                                       \
    "  movq %%rdi, " FTRACE_DI "(%%rsp)\n"                                              \
    "  movq %%rsi, " FTRACE_SI "(%%rsp)\n"                                              \
    "  movq %%rdx, " FTRACE_DX "(%%rsp)\n"                                              \
    "  movq %%rcx, " FTRACE_CX "(%%rsp)\n"                                              \
    "  movq %%r8, " FTRACE_R8 "(%%rsp)\n"                                               \
    "  movq %%r9, " FTRACE_R9 "(%%rsp)\n"                                               \
    "  movq %%r10, " FTRACE_R10 "(%%rsp)\n"      /* static chain; live with -fipa-ra */ \
    "  movq %%r11, " FTRACE_R11 "(%%rsp)\n"      /* live with -fipa-ra */               \
    "  movq " FTRACE_SLOT_AX "(%%rbp), %%rax\n"  /* al: vector count of a variadic call */ \
    "  movq (%%rbp), %%r8\n"                                                            \
    "  movq " FTRACE_SLOT_RETURN "(%%rbp), %%rdi\n"                                     \
    "  leaq " FTRACE_SLOT_PARENT "(%%rbp), %%r9\n"                                      \
    "  movq %%rax, " FTRACE_AX "(%%rsp)\n"                                              \
    "  movq %%r8, " FTRACE_BP "(%%rsp)\n"                                               \
    "  movq %%rdi, " FTRACE_IP "(%%rsp)\n"                                              \
    "  movq %%r9, " FTRACE_SP "(%%rsp)\n"                                               \
    "  movq $" cs ", " FTRACE_CS "(%%rsp)\n"

// What a breakpoint would show besides.
#define FTRACE_SAVE_REST(ss)                          \
    "  movq %%r15, " FTRACE_R15 "(%%rsp)\n"           \
    "  movq %%r14, " FTRACE_R14 "(%%rsp)\n"           \
    "  movq %%r13, " FTRACE_R13 "(%%rsp)\n"           \
    "  movq %%r12, " FTRACE_R12 "(%%rsp)\n"           \
    "  movq %%rbx, " FTRACE_BX "(%%rsp)\n"            \
    "  movq " FTRACE_SLOT_RFLAGS "(%%rbp), %%rax\n"   \
    "  movq %%rax, " FTRACE_FLAGS "(%%rsp)\n"         \
    "  movq $0, " FTRACE_ORIG_AX "(%%rsp)\n"          \
    "  movq $" ss ", " FTRACE_SS "(%%rsp)\n"          \
    "  cld\n" /* the callback is C++ */

#define FTRACE_SAVE_VECTORS(move, name, width)                                              \
    "  movl $" width ", " FTRACE_VECTOR_WIDTH "(%%rsp)\n"                                   \
    "  .irp n, 0, 1, 2, 3, 4, 5, 6, 7\n"                                                    \
    "  " move " %%" name "\\n, " FTRACE_VECTORS "+" width "*\\n(%%rsp)\n"                   \
    "  .endr\n"
#define FTRACE_RESTORE_VECTORS(move, name, width)                                           \
    "  .irp n, 0, 1, 2, 3, 4, 5, 6, 7\n"                                                    \
    "  " move " " FTRACE_VECTORS "+" width "*\\n(%%rsp), %%" name "\\n\n"                   \
    "  .endr\n"
#define FTRACE_SAVE_NO_VECTORS "  movl $0, " FTRACE_VECTOR_WIDTH "(%%rsp)\n"

// callee(site, parent_ip, context, &regs), with rdi = regs.ip as FTRACE_SAVE_ARGUMENTS left it.
#define FTRACE_CALL(callee)                             \
    "  subq $" FTRACE_SITE_SIZE ", %%rdi\n"             \
    "  movq " FTRACE_SLOT_PARENT "(%%rbp), %%rsi\n"     \
    "  movq " FTRACE_SLOT_CONTEXT "(%%rbp), %%rdx\n"    \
    "  movq %%rsp, %%rcx\n"                             \
    "  call " callee "\n"

#define FTRACE_RESTORE_REST                  \
    "  movq " FTRACE_R15 "(%%rsp), %%r15\n"  \
    "  movq " FTRACE_R14 "(%%rsp), %%r14\n"  \
    "  movq " FTRACE_R13 "(%%rsp), %%r13\n"  \
    "  movq " FTRACE_R12 "(%%rsp), %%r12\n"  \
    "  movq " FTRACE_BX "(%%rsp), %%rbx\n"

// All but rax and rbp.
#define FTRACE_RESTORE_ARGUMENTS                 \
    "  movq " FTRACE_SI "(%%rsp), %%rsi\n"       \
    "  movq " FTRACE_DX "(%%rsp), %%rdx\n"       \
    "  movq " FTRACE_CX "(%%rsp), %%rcx\n"       \
    "  movq " FTRACE_R8 "(%%rsp), %%r8\n"        \
    "  movq " FTRACE_R9 "(%%rsp), %%r9\n"        \
    "  movq " FTRACE_R10 "(%%rsp), %%r10\n"      \
    "  movq " FTRACE_R11 "(%%rsp), %%r11\n"      \
    "  movq " FTRACE_DI "(%%rsp), %%rdi\n"

// What the frame holds as the program's rbp becomes regs.bp. Not done where nothing changed: the value would go through
// memory three times, and each call in a row of calls would wait for the one before.
#define FTRACE_RESTORE_BP                        \
    "  movq " FTRACE_BP "(%%rsp), %%rax\n"       \
    "  movq %%rax, (%%rbp)\n"
#define FTRACE_JUMP_IF_BP_OR_IP_CHANGED(to)      \
    "  movq " FTRACE_BP "(%%rsp), %%rax\n"       \
    "  cmpq %%rax, (%%rbp)\n"                    \
    "  jne " to "\n"                             \
    "  movq " FTRACE_IP "(%%rsp), %%rax\n"       \
    "  cmpq %%rax, " FTRACE_SLOT_RETURN "(%%rbp)\n" \
    "  jne " to "\n"

// The status flags from SLOT_STATUS: al is 0 or 1, and 0x7f + 1 overflows; sahf then sets the rest.
// popfq would do it at four times the cost of everything else here.
#define FTRACE_RESTORE_STATUS                         \
    "  movzwl " FTRACE_SLOT_STATUS "(%%rbp), %%eax\n" \
    "  addb $0x7f, %%al\n"                            \
    "  sahf\n"

// Back to where the call came from. No instruction changes a flag. The program's rbp is read below rsp, in the red
// zone, which no signal handler touches (psABI, 3.2.2): one step less than to pop it and the context. The rule for rbp
// stays true there, so that LLVM's libunwind, which looks up the instruction before the one that a signal interrupted,
// is right at the ret as well.
#define FTRACE_LEAVE                                 \
    "  leaq " FTRACE_SLOT_RETURN "(%%rbp), %%rsp\n"  \
    "  .cfi_def_cfa %%rsp, 8\n"                      \
    "  movq (%%rbp), %%rbp\n"                        \
    "  ret\n"

// To another address: it takes the context's place on the stack, and `ret $8` drops the return address that stays
// intact above it, so that an unwinder sees the traced function as the caller to the end.
#define FTRACE_LEAVE_TO_IP                           \
    "  leaq " FTRACE_SLOT_CONTEXT "(%%rbp), %%rsp\n" \
    "  .cfi_def_cfa %%rsp, 16\n"                     \
    "  movq (%%rbp), %%rbp\n"                        \
    "  ret $8\n"
// clang-format on
