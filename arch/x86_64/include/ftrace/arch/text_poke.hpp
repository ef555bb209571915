// Changing the instruction at many sites while other threads execute them.
#pragma once

#include <signal.h>
#include <ucontext.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <ftrace/arch/insn.hpp>
#include <ftrace/arch/site_layout.hpp>
#include <ftrace/core/config.hpp>

namespace ftrace::inline v0::arch {

/// One site on its way from one instruction to another.
struct text_edit {
    std::uintptr_t site;
    site_bytes before;
    site_bytes after;
    /// The first edit of a site may find more than one instruction there (gcc's five nops), or one
    /// that reaches beyond the five bytes (clang's long nop): `nops` bytes of nops in all. Later
    /// ones find site_size.
    std::uint16_t nops = site_size;
    /// A thread may stand between them.
    bool several_nops = false;

    FTRACE_NOTRACE text_edit() noexcept = default;

    [[nodiscard]] FTRACE_NO_INSTRUMENTATION std::uintptr_t end() const noexcept {
        return site + nops;
    }
};

/// The nops that a site's five bytes are, or begin.
struct nop_run {
    std::size_t length;  ///< in bytes, up to the end of the last one that begins within the site;
                         ///< 0: no nops
    std::size_t count;
};
[[nodiscard]] FTRACE_NOTRACE inline nop_run nops_at(std::uintptr_t site) noexcept {
    constexpr std::size_t longest_instruction = 15;
    nop_run run{0, 0};
    while (run.length < site_size) {
        const std::size_t length = nop_length(
            reinterpret_cast<const unsigned char*>(site + run.length), longest_instruction);
        if (length == 0) return {0, 0};
        run.length += length;
        ++run.count;
    }
    return run;
}

// clang-format off
// A site, before and after:
//
//     f:  90 90 90 90 90             five nops (gcc)
//     f:  e8 xx xx xx xx             call of a stub
//
//     f:  0f 1f 44 00 08             one nop (clang, and what this library leaves)
//     f:  e9 xx xx xx xx             jump to a function that takes the call's place
//
//     f:  0f 1f 84 00 00 02 00 00    one nop of eight bytes (clang)
//     f:  e8 xx xx xx xx 90 90 90    call, and what is left of the nop
// clang-format on
//
// Order of writes, for all sites of a transaction together (kernel: smp_text_poke_batch_finish):
//
//     1. first byte   <- int3        then every core serialises
//     2. other bytes  <- new tail    then every core serialises
//     3. first byte   <- new first   then every core serialises
//
// Who may be executing: anybody, all the time. Before 1 a thread runs the old instruction, between
// 1 and 3 it traps and emulate() does an instruction's work, after 3 it runs the new one. Until 2
// the old instruction's work is done, from then on the new one's. The other bytes change only while
// nobody can decode past the int3. A thread that stands between gcc's five nops is moved out
// between 1 and 2: patch/evacuation.hpp.

// Not FTRACE_NOTRACE only: ThreadSanitizer keeps no shadow for text.
FTRACE_NO_INSTRUMENTATION inline void write_byte(std::uintptr_t at, std::uint8_t byte) noexcept {
    __atomic_store_n(reinterpret_cast<std::uint8_t*>(at), byte, __ATOMIC_RELEASE);
}
/// Step 1.
FTRACE_NO_INSTRUMENTATION inline void poke_trap(const text_edit& edit) noexcept {
    write_byte(edit.site, int3_opcode);
}
/// Step 2. No call of memcpy: the program's libc may be what is patched.
FTRACE_NO_INSTRUMENTATION inline void poke_tail(const text_edit& edit,
                                                const site_bytes& bytes) noexcept {
    for (std::size_t i = 1; i < site_size; ++i) write_byte(edit.site + i, bytes.byte[i]);
    constexpr std::uint8_t one_byte_nop = 0x90;
    for (std::uintptr_t at = edit.site + site_size; at < edit.end(); ++at)
        write_byte(at, one_byte_nop);
}
/// Step 3.
FTRACE_NO_INSTRUMENTATION inline void poke_head(const text_edit& edit,
                                                const site_bytes& bytes) noexcept {
    write_byte(edit.site, bytes.byte[0]);
}

/// Makes this core decode anew what it executes next (SDM volume 3, 9.3: CPUID serialises).
FTRACE_NO_INSTRUMENTATION inline void serialize_core() noexcept {
    std::uint32_t a = 0, b, c = 0, d;
    __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d) : : "memory");
}

/// Where the thread of a signal frame goes on.
[[nodiscard]] FTRACE_NO_INSTRUMENTATION inline std::uintptr_t program_counter(
    const ucontext_t& context) noexcept {
    return static_cast<std::uintptr_t>(context.uc_mcontext.gregs[REG_RIP]);
}
FTRACE_NO_INSTRUMENTATION inline void set_program_counter(ucontext_t& context,
                                                          std::uintptr_t pc) noexcept {
    context.uc_mcontext.gregs[REG_RIP] = static_cast<greg_t>(pc);
}
/// Whether a SIGTRAP is an int3's: Linux reports those as SI_KERNEL, debuggers' as TRAP_BRKPT.
[[nodiscard]] FTRACE_NO_INSTRUMENTATION inline bool is_breakpoint(const siginfo_t& info) noexcept {
    return info.si_code == SI_KERNEL || info.si_code == TRAP_BRKPT;
}
[[nodiscard]] FTRACE_NO_INSTRUMENTATION inline bool is_trap(std::uintptr_t at) noexcept {
    return __atomic_load_n(reinterpret_cast<const std::uint8_t*>(at), __ATOMIC_ACQUIRE) ==
           int3_opcode;
}
/// The address of the int3 that raised this SIGTRAP.
[[nodiscard]] FTRACE_NO_INSTRUMENTATION inline std::uintptr_t trap_address(
    const ucontext_t& context) noexcept {
    return program_counter(context) - 1;
}

/// Does in a signal frame what the instruction would have done. A call pushes its return address:
/// nothing lives below the stack pointer at a function's first instruction, so no red zone is hurt.
FTRACE_NO_INSTRUMENTATION inline void emulate(ucontext_t& context, std::uintptr_t site,
                                              const site_bytes& bytes) noexcept {
    std::uintptr_t next = site + site_size;
    constexpr call_insn call;
    constexpr jump_insn jump;
    if (bytes.byte[0] == call.opcode) {
        greg_t& stack_pointer = context.uc_mcontext.gregs[REG_RSP];
        stack_pointer -= static_cast<greg_t>(sizeof next);
        *reinterpret_cast<std::uintptr_t*>(stack_pointer) = next;
    }
    if (bytes.byte[0] == call.opcode || bytes.byte[0] == jump.opcode) {
        std::int32_t distance;
        __builtin_memcpy(&distance, bytes.byte + offsetof(jump_insn, displacement),
                         sizeof distance);
        next += static_cast<std::uintptr_t>(static_cast<std::int64_t>(distance));
    }
    set_program_counter(context, next);
}

}  // namespace ftrace::inline v0::arch
