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

// Call frame information. Both compilers define the macro where they emit it as directives; without (such as
// -fno-asynchronous-unwind-tables without exceptions, or -fno-dwarf2-cfi-asm) no function is open for directives, and
// nobody can unwind through a stub.
#if defined(__GCC_HAVE_DWARF2_CFI_ASM)
#define FTRACE_CFI(directive) "  .cfi_" directive "\n"
#else
#define FTRACE_CFI(directive)
#endif

// Every stub is written in AT&T syntax. The first alternative is for it, the second for -masm=intel.
#define FTRACE_ATT_SYNTAX \
    "{|.error \"ftrace++ is written in AT&T syntax: compile this file without -masm=intel\"\n}"

#define FTRACE_SITE_SIZE "5"  // static_assert in entry_stub.hpp

// Every stub's frame is a saved_registers (registers.hpp), which rbp points to, and below it the vector registers.

// On entry the context lies on top of the stack. `save_flags` is empty, or FTRACE_SAVE_RFLAGS.
// Nothing before lahf, seto and pushf changes a flag. The direction flag is left alone: clear at calls (psABI, 3.2.1), and
// to clear it in case costs more than it is worth. The library's own code under ARGS is right with it set.
#define FTRACE_FRAME_ENTER(save_flags, width, full)                       \
    "  leaq -" FTRACE_CONTEXT "(%%rsp), %%rsp\n"                          \
    FTRACE_CFI("adjust_cfa_offset " FTRACE_CONTEXT)                       \
    "  movq %%rax, " FTRACE_AX "(%%rsp)\n" /* al: vector count of a variadic call */ \
    "  lahf\n" /* SF ZF AF PF CF */                                       \
    "  seto %%al\n"                                                       \
    "  movq %%rbp, " FTRACE_PROGRAM_BP "(%%rsp)\n"                        \
    FTRACE_CFI("rel_offset %%rbp, " FTRACE_PROGRAM_BP)                    \
    "  movq %%rsp, %%rbp\n"                                               \
    FTRACE_CFI("def_cfa_register %%rbp")                                  \
    save_flags                                                            \
    "  shlq $48, %%rax\n"           /* regs.{width,full,moved,status} = */ \
    "  orq $(" width " + (" full " << 16)), %%rax\n" /* {width, full, 0, status} */ \
    "  movq %%rax, " FTRACE_KIND "(%%rbp)\n"

// The flags stay where they are pushed, in front of saved_registers.
#define FTRACE_SAVE_RFLAGS "  pushfq\n"

// regs.{di,si,dx,cx,r8,r9,r10,r11} = ...
#define FTRACE_SAVE_ARGUMENTS                                                           \
    "  movq %%rdi, " FTRACE_DI "(%%rbp)\n"                                              \
    "  movq %%rsi, " FTRACE_SI "(%%rbp)\n"                                              \
    "  movq %%rdx, " FTRACE_DX "(%%rbp)\n"                                              \
    "  movq %%rcx, " FTRACE_CX "(%%rbp)\n"                                              \
    "  movq %%r8, " FTRACE_R8 "(%%rbp)\n"                                               \
    "  movq %%r9, " FTRACE_R9 "(%%rbp)\n"                                               \
    "  movq %%r10, " FTRACE_R10 "(%%rbp)\n"      /* static chain; live with -fipa-ra */ \
    "  movq %%r11, " FTRACE_R11 "(%%rbp)\n"      /* live with -fipa-ra */

// What a breakpoint would show besides.
#define FTRACE_SAVE_REST(cs, ss)                       \
    "  movq %%r15, " FTRACE_R15 "(%%rbp)\n"           \
    "  movq %%r14, " FTRACE_R14 "(%%rbp)\n"           \
    "  movq %%r13, " FTRACE_R13 "(%%rbp)\n"           \
    "  movq %%r12, " FTRACE_R12 "(%%rbp)\n"           \
    "  movq %%rbx, " FTRACE_BX "(%%rbp)\n"            \
    "  movq " FTRACE_PROGRAM_BP "(%%rbp), %%rax\n"    \
    "  movq " FTRACE_RETURN "(%%rbp), %%rdi\n"        \
    "  leaq " FTRACE_PARENT "(%%rbp), %%rsi\n"        \
    "  movq %%rax, " FTRACE_BP "(%%rbp)\n"            \
    "  movq " FTRACE_RFLAGS "(%%rbp), %%rax\n"        \
    "  movq %%rdi, " FTRACE_IP "(%%rbp)\n"            \
    "  movq %%rsi, " FTRACE_SP "(%%rbp)\n"            \
    "  movq %%rax, " FTRACE_FLAGS "(%%rbp)\n"         \
    "  movq $0, " FTRACE_ORIG_AX "(%%rbp)\n"          \
    "  movq $" cs ", " FTRACE_CS "(%%rbp)\n"          \
    "  movq $" ss ", " FTRACE_SS "(%%rbp)\n"          \
    "  cld\n" /* the callback is C++ */

// The vector registers, `width` bytes each, at a multiple of it; so the stack is aligned, which callers built with
// -fipa-ra do not do: ((rbp - 8) & -width) - 8 * width. `count`: how many are saved; there is room for eight, since accessors look for them from there.
#define FTRACE_VECTOR_NUMBERS_2 "0, 1"
#define FTRACE_VECTOR_NUMBERS_8 "0, 1, 2, 3, 4, 5, 6, 7"
#define FTRACE_SAVE_VECTORS(move, name, width, count)                                       \
    "  leaq -8-8*" width "(%%rbp), %%rsp\n"                                                 \
    "  andq $-" width ", %%rsp\n"                                                           \
    "  .irp n, " FTRACE_VECTOR_NUMBERS_##count "\n"                                         \
    "  " move " %%" name "\\n, " width "*\\n(%%rsp)\n"                                     \
    "  .endr\n"
#define FTRACE_RESTORE_VECTORS(move, name, width, count)                                    \
    "  .irp n, " FTRACE_VECTOR_NUMBERS_##count "\n"                                         \
    "  " move " " width "*\\n(%%rsp), %%" name "\\n\n"                                     \
    "  .endr\n"
#define FTRACE_SAVE_NO_VECTORS "  andq $-16, %%rsp\n"

// callee(site, parent_ip, context, &regs)
#define FTRACE_CALL(callee)                             \
    "  movq " FTRACE_RETURN "(%%rbp), %%rdi\n"          \
    "  subq $" FTRACE_SITE_SIZE ", %%rdi\n"             \
    "  movq " FTRACE_PARENT "(%%rbp), %%rsi\n"          \
    "  movq " FTRACE_CONTEXT "(%%rbp), %%rdx\n"         \
    "  movq %%rbp, %%rcx\n"                             \
    "  call " callee "\n"

#define FTRACE_RESTORE_REST                  \
    "  movq " FTRACE_R15 "(%%rbp), %%r15\n"  \
    "  movq " FTRACE_R14 "(%%rbp), %%r14\n"  \
    "  movq " FTRACE_R13 "(%%rbp), %%r13\n"  \
    "  movq " FTRACE_R12 "(%%rbp), %%r12\n"  \
    "  movq " FTRACE_BX "(%%rbp), %%rbx\n"

// All but rax and rbp.
#define FTRACE_RESTORE_ARGUMENTS                 \
    "  movq " FTRACE_SI "(%%rbp), %%rsi\n"       \
    "  movq " FTRACE_DX "(%%rbp), %%rdx\n"       \
    "  movq " FTRACE_CX "(%%rbp), %%rcx\n"       \
    "  movq " FTRACE_R8 "(%%rbp), %%r8\n"        \
    "  movq " FTRACE_R9 "(%%rbp), %%r9\n"        \
    "  movq " FTRACE_R10 "(%%rbp), %%r10\n"      \
    "  movq " FTRACE_R11 "(%%rbp), %%r11\n"      \
    "  movq " FTRACE_DI "(%%rbp), %%rdi\n"

#define FTRACE_JUMP_IF_DIFFERENT(a, b, to)       \
    "  movq " a "(%%rbp), %%rax\n"               \
    "  cmpq " b "(%%rbp), %%rax\n"               \
    "  jne " to "\n"
#define FTRACE_COPY(from, to)                    \
    "  movq " from "(%%rbp), %%rax\n"            \
    "  movq %%rax, " to "(%%rbp)\n"

// rax and the status flags from regs.status: al is 0 or 1, and 0x7f + 1 overflows; sahf then sets the rest.
// popfq would do it at four times the cost of everything else here.
#define FTRACE_RESTORE_STATUS_AND_AX                   \
    "  movzwl " FTRACE_STATUS "(%%rbp), %%eax\n"       \
    "  addb $0x7f, %%al\n"                             \
    "  sahf\n"                                         \
    "  movq " FTRACE_AX "(%%rbp), %%rax\n"

// Back to where the call came from. No instruction changes a flag. The program's rbp is read below rsp, in the red
// zone, which no signal handler touches (psABI, 3.2.2): one step less than to pop it and the context. The rule for rbp
// stays true there, so that LLVM's libunwind, which looks up the instruction before the one that a signal interrupted,
// is right at the ret as well.
#define FTRACE_LEAVE                                  \
    "  leaq " FTRACE_RETURN "(%%rbp), %%rsp\n"        \
    FTRACE_CFI("def_cfa %%rsp, 8")                    \
    "  movq " FTRACE_PROGRAM_BP "(%%rbp), %%rbp\n"    \
    "  ret\n"

// To what was put in the context's place: `ret $8` drops the return address that stays intact above it, so that an
// unwinder sees the traced function as the caller to the end.
#define FTRACE_LEAVE_TO_CONTEXT                       \
    "  leaq " FTRACE_CONTEXT "(%%rbp), %%rsp\n"       \
    FTRACE_CFI("def_cfa %%rsp, 16")                   \
    "  movq " FTRACE_PROGRAM_BP "(%%rbp), %%rbp\n"    \
    "  ret $8\n"
// clang-format on
