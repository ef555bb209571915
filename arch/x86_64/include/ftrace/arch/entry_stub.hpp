// Entry stubs: what the call at a site runs. One for each (C++ side, policy, vector width).
//
// clang-format off
//                  on entry             in the stub's frame
//                                        rbp + 200  return address of the traced function    <- regs.sp
//     rsp + 0      site + 5              rbp + 192  site + 5                                  = regs.ip
//                                        rbp + 184  context: the list of ops, pushed by the first instruction
//                                        rbp + 0    saved_registers, which ends here
//                                        rsp        vector registers, aligned
//
// In:        the traced function's arguments and its caller's registers, untouched; any stack alignment
// Calls:     Owner::callee(site, parent_ip, context, regs), in C++
// Clobbers:  nothing that callers by the psABI rely on: every register and status flag of the policy comes back
//            as it was, or as the callback left it in regs, except rsp; xmm8-15 and above, mask registers and the
//            status bits of MXCSR and x87 are as C++ leaves them. Callers by another convention (ms_abi, preserve_all,
//            regcall) rely on more of them: such functions must be FTRACE_NOTRACE.
// Flags:     the direction flag is as the program left it; clear at calls, says the psABI (3.2.1). Should it be set
//            nevertheless, a callback under SAVE_REGS finds it clear, one under ARGS or ARGS_INTEGER finds it set.
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
#define FTRACE_ENTRY_STUB(set, vectors, enter, save_vectors, save_rest, restore_vectors, restore_and_leave) \
    template <class Owner>                                                                          \
    struct entry_stub<Owner, set, vectors> {                                                          \
        FTRACE_NAKED static void entry() {                                                          \
            __asm__(                                                                                \
                FTRACE_ATT_SYNTAX                                                                   \
                "0: pushq %1\n" /* own context; veneers enter behind it */                          \
                "  .org 0b + " FTRACE_OWN_CONTEXT_SIZE "\n" /* an error if the push were longer */   \
                FTRACE_CFI("adjust_cfa_offset 8")                                                   \
                enter                                                                               \
                FTRACE_SAVE_ARGUMENTS                                                               \
                save_vectors                                                                        \
                save_rest                                                                           \
                FTRACE_CALL("%P0")                                                                  \
                restore_vectors                                                                     \
                restore_and_leave                                                                   \
                ::"X"(&Owner::callee), "m"(Owner::context));                                        \
        }                                                                                           \
    }

// ARGS: the registers that carry arguments. If a callback moved regs.ip, leave to it.
#define FTRACE_RESTORE_AND_LEAVE_ARGS                                      \
    "  cmpw $0, " FTRACE_MOVED "(%%rbp)\n"                                 \
    "  jne 2f\n"                                                           \
    FTRACE_RESTORE_ARGUMENTS                                               \
    FTRACE_RESTORE_STATUS_AND_AX                                           \
    FTRACE_CFI("remember_state")                                           \
    FTRACE_LEAVE                                                           \
    "2:\n"                                                                 \
    FTRACE_CFI("restore_state")                                            \
    FTRACE_COPY(FTRACE_IP, FTRACE_CONTEXT)                                 \
    FTRACE_RESTORE_ARGUMENTS                                               \
    FTRACE_RESTORE_STATUS_AND_AX                                           \
    FTRACE_LEAVE_TO_CONTEXT

// SAVE_REGS: everything, also what a callback wrote into its pt_regs. popfq costs as much as the rest of the stub, so
// it runs only if regs.flags, bp or ip changed, or if the program came with DF set (against the psABI, 3.2.1).
#define FTRACE_RESTORE_AND_LEAVE_ALL                                       \
    FTRACE_RESTORE_REST                                                    \
    FTRACE_JUMP_IF_DIFFERENT(FTRACE_FLAGS, FTRACE_RFLAGS, "2f")            \
    "  testl $0x400, %%eax\n" /* DF */                                     \
    "  jne 2f\n"                                                           \
    FTRACE_JUMP_IF_DIFFERENT(FTRACE_BP, FTRACE_PROGRAM_BP, "2f")           \
    FTRACE_JUMP_IF_DIFFERENT(FTRACE_IP, FTRACE_RETURN, "2f")               \
    FTRACE_RESTORE_ARGUMENTS                                               \
    FTRACE_RESTORE_STATUS_AND_AX                                           \
    FTRACE_CFI("remember_state")                                           \
    FTRACE_LEAVE                                                           \
    "2:\n"                                                                 \
    FTRACE_CFI("restore_state")                                            \
    FTRACE_COPY(FTRACE_BP, FTRACE_PROGRAM_BP)                              \
    FTRACE_COPY(FTRACE_IP, FTRACE_CONTEXT)                                 \
    FTRACE_RESTORE_ARGUMENTS                                               \
    "  movq " FTRACE_AX "(%%rbp), %%rax\n"                                 \
    "  pushq " FTRACE_FLAGS "(%%rbp)\n"                                    \
    "  popfq\n"                                                            \
    FTRACE_LEAVE_TO_CONTEXT

#define FTRACE_ENTRY_STUBS(vectors, width, save_vectors, restore_vectors)                                    \
    FTRACE_ENTRY_STUB(saved_set::arguments, vectors, FTRACE_FRAME_ENTER("", width, "0"), save_vectors, "",   \
                      restore_vectors, FTRACE_RESTORE_AND_LEAVE_ARGS);                                       \
    FTRACE_ENTRY_STUB(saved_set::all, vectors, FTRACE_FRAME_ENTER(FTRACE_SAVE_RFLAGS, width, "1"),           \
                      save_vectors, FTRACE_SAVE_REST("0x33", "0x2b"), restore_vectors,                       \
                      FTRACE_RESTORE_AND_LEAVE_ALL)

FTRACE_ENTRY_STUBS(vector_width::none, "0", FTRACE_SAVE_NO_VECTORS, "");
FTRACE_ENTRY_STUBS(vector_width::xmm, "16", FTRACE_SAVE_VECTORS("movaps", "xmm", "16", 8),
                   FTRACE_RESTORE_VECTORS("movaps", "xmm", "16", 8));
FTRACE_ENTRY_STUBS(vector_width::ymm, "32", FTRACE_SAVE_VECTORS("vmovaps", "ymm", "32", 8),
                   FTRACE_RESTORE_VECTORS("vmovaps", "ymm", "32", 8));
FTRACE_ENTRY_STUBS(vector_width::zmm, "64", FTRACE_SAVE_VECTORS("vmovaps", "zmm", "64", 8),
                   FTRACE_RESTORE_VECTORS("vmovaps", "zmm", "64", 8));
// clang-format on

static_assert(user_cs == 0x33 && user_ss == 0x2b);

#undef FTRACE_ENTRY_STUB
#undef FTRACE_ENTRY_STUBS
#undef FTRACE_RESTORE_AND_LEAVE_ARGS
#undef FTRACE_RESTORE_AND_LEAVE_ALL

}  // namespace ftrace::inline v0::arch
