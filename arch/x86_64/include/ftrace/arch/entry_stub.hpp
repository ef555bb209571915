// Entry stubs: what the call at a site runs. One for each (C++ side, policy, vector width).
//
// clang-format off
//                  on entry             in the stub's frame
//                                        rbp + 24   return address of the traced function    <- regs.sp
//     rsp + 0      site + 5              rbp + 16   site + 5                                  = regs.ip
//                                        rbp + 8    context: the list of ops, pushed by the first instruction
//                                        rbp + 0    the program's rbp
//                                        rbp - 8    rax; status flags; (SAVE_REGS) rflags
//                                        rsp        saved_registers, at a 64-byte boundary
//
// In:        the traced function's arguments and its caller's registers, untouched; any stack alignment
// Calls:     Owner::callee(site, parent_ip, context, regs), in C++
// Clobbers:  nothing: every register and status flag comes back as it was, or as the callback left it in
//            regs, except rsp and what the policy did not save and C++ preserves
// Leaves to: regs.ip
// CFI:       right at every instruction; the caller of the stub is the traced function at site + 5
// clang-format on
#pragma once

#include <cstdint>
#include <ftrace/arch/asm.hpp>
#include <ftrace/arch/insn.hpp>
#include <ftrace/arch/registers.hpp>
#include <ftrace/core/config.hpp>

namespace ftrace::inline v0::arch {

/// What a stub saves of the general registers: see registers.hpp, saved_registers.
enum class saved_set : std::uint8_t { arguments, all };

/// A stub has two entries. A site calls the first, which pushes the stub's own context; a veneer
/// has pushed another one and jumps behind that instruction.
inline constexpr std::uintptr_t own_context_size = sizeof(push_indirect_insn);

#define FTRACE_OWN_CONTEXT_SIZE "6"
static_assert(FTRACE_OWN_CONTEXT_SIZE[0] - '0' == own_context_size);
static_assert(FTRACE_SITE_SIZE[0] - '0' == site_size);

/// A stub: not to be called, only to be written into text.
typedef void (*stub_function)() FTRACE_NO_LANDING_PAD;

/// `Owner` names what a stub is for: `Owner::callee`, the C++ function it calls, and
/// `Owner::context`, the pointer that its first instruction pushes.
template <class Owner, saved_set Set, vector_width Width>
struct entry_stub;

// clang-format off
#define FTRACE_ENTRY_STUB(set, vectors, size, push_flags, save, save_rest, restore_vectors, restore) \
    template <class Owner>                                                                          \
    struct entry_stub<Owner, set, vectors> {                                                        \
        FTRACE_NAKED static void entry() {                                                          \
            __asm__(                                                                                \
                "0: pushq %1\n" /* own context; veneers enter behind it */                          \
                "  .org 0b + " FTRACE_OWN_CONTEXT_SIZE "\n" /* an error if the push were longer */   \
                "  .cfi_adjust_cfa_offset 8\n"                                                      \
                FTRACE_FRAME_ENTER(size, push_flags)                                                \
                save                                                                                \
                save_rest                                                                           \
                FTRACE_CALL("%P0")                                                                  \
                restore_vectors                                                                     \
                restore                                                                             \
                ::"X"(&Owner::callee), "m"(Owner::context));                                        \
        }                                                                                           \
    }

// ARGS: the registers that carry arguments. If the callback moved regs.ip, leave to it.
#define FTRACE_RESTORE_AND_LEAVE_ARGS                                      \
    FTRACE_JUMP_IF_BP_OR_IP_CHANGED("2f")                                  \
    FTRACE_RESTORE_ARGUMENTS                                               \
    FTRACE_RESTORE_STATUS                                                  \
    "  movq " FTRACE_AX "(%%rsp), %%rax\n"                                 \
    "  .cfi_remember_state\n"                                              \
    FTRACE_LEAVE                                                           \
    "2:\n"                                                                 \
    "  .cfi_restore_state\n"                                               \
    FTRACE_RESTORE_BP                                                      \
    "  movq " FTRACE_IP "(%%rsp), %%rax\n"                                 \
    "  movq %%rax, " FTRACE_SLOT_CONTEXT "(%%rbp)\n"                       \
    FTRACE_RESTORE_ARGUMENTS                                               \
    FTRACE_RESTORE_STATUS                                                  \
    "  movq " FTRACE_AX "(%%rsp), %%rax\n"                                 \
    FTRACE_LEAVE_TO_IP

// SAVE_REGS: everything. popfq costs as much as the rest of the stub, so it runs only if the callback changed
// regs.flags, or if the program came with DF set (against the psABI, 3.2.1).
#define FTRACE_RESTORE_AND_LEAVE_ALL                                       \
    FTRACE_RESTORE_REST                                                    \
    "  movq " FTRACE_FLAGS "(%%rsp), %%rax\n"                              \
    "  cmpq %%rax, " FTRACE_SLOT_RFLAGS "(%%rbp)\n"                        \
    "  jne 2f\n"                                                           \
    "  testl $0x400, %%eax\n" /* DF */                                     \
    "  jne 2f\n"                                                           \
    FTRACE_JUMP_IF_BP_OR_IP_CHANGED("2f")                                  \
    FTRACE_RESTORE_ARGUMENTS                                               \
    FTRACE_RESTORE_STATUS                                                  \
    "  movq " FTRACE_AX "(%%rsp), %%rax\n"                                 \
    "  .cfi_remember_state\n"                                              \
    FTRACE_LEAVE                                                           \
    "2:\n"                                                                 \
    "  .cfi_restore_state\n"                                               \
    FTRACE_RESTORE_BP                                                      \
    "  movq " FTRACE_IP "(%%rsp), %%rax\n"                                 \
    "  movq %%rax, " FTRACE_SLOT_CONTEXT "(%%rbp)\n"                       \
    "  movq " FTRACE_FLAGS "(%%rsp), %%rax\n"                              \
    "  movq %%rax, " FTRACE_SLOT_AX "(%%rbp)\n"                            \
    FTRACE_RESTORE_ARGUMENTS                                               \
    "  movq " FTRACE_AX "(%%rsp), %%rax\n"                                 \
    "  leaq " FTRACE_SLOT_AX "(%%rbp), %%rsp\n"                            \
    "  popfq\n"                                                            \
    FTRACE_LEAVE_TO_IP

#define FTRACE_ENTRY_STUBS(vectors, size, save_vectors, restore_vectors)                                     \
    FTRACE_ENTRY_STUB(saved_set::arguments, vectors, size, "", FTRACE_SAVE_ARGUMENTS("0"), save_vectors,     \
                      restore_vectors, FTRACE_RESTORE_AND_LEAVE_ARGS);                                       \
    FTRACE_ENTRY_STUB(saved_set::all, vectors, size, FTRACE_PUSH_RFLAGS, FTRACE_SAVE_ARGUMENTS("0x33"),      \
                      save_vectors FTRACE_SAVE_REST("0x2b"), restore_vectors, FTRACE_RESTORE_AND_LEAVE_ALL)

// Sizes: saved_registers up to `vectors`, and eight vector registers.
FTRACE_ENTRY_STUBS(vector_width::none, "192", FTRACE_SAVE_NO_VECTORS, "");
FTRACE_ENTRY_STUBS(vector_width::xmm, "(192+8*16)", FTRACE_SAVE_VECTORS("movaps", "xmm", "16"),
                   FTRACE_RESTORE_VECTORS("movaps", "xmm", "16"));
FTRACE_ENTRY_STUBS(vector_width::ymm, "(192+8*32)", FTRACE_SAVE_VECTORS("vmovaps", "ymm", "32"),
                   FTRACE_RESTORE_VECTORS("vmovaps", "ymm", "32"));
FTRACE_ENTRY_STUBS(vector_width::zmm, "(192+8*64)", FTRACE_SAVE_VECTORS("vmovaps", "zmm", "64"),
                   FTRACE_RESTORE_VECTORS("vmovaps", "zmm", "64"));
// clang-format on

static_assert(user_cs == 0x33 && user_ss == 0x2b);

#undef FTRACE_ENTRY_STUB
#undef FTRACE_ENTRY_STUBS
#undef FTRACE_RESTORE_AND_LEAVE_ARGS
#undef FTRACE_RESTORE_AND_LEAVE_ALL

}  // namespace ftrace::inline v0::arch
