// The registers that may hold arguments, as words: what a tracer records without knowing the
// function's type.
#pragma once

#include <ftrace/arch/registers.hpp>
#include <ftrace/core/config.hpp>

#include <cstdint>

namespace ftrace::inline v0::arch {

/// psABI 3.2.3: rdi rsi rdx rcx r8 r9, then the low 64 bits of xmm0-7. Arguments on the stack are
/// left out: how many there are is not known, and reading beyond them may leave the stack.
inline constexpr int integer_argument_words = 6;
inline constexpr int vector_argument_words = 8;
inline constexpr int argument_words = integer_argument_words + vector_argument_words;

/// Copies them, for a callback under ARGS or SAVE_REGS.
FTRACE_NO_INSTRUMENTATION inline void copy_argument_words(const ftrace_regs& regs,
                                                          std::uint64_t* out) noexcept {
    const saved_registers& saved = arch_access::saved(regs);
    out[0] = saved.gpr.di;
    out[1] = saved.gpr.si;
    out[2] = saved.gpr.dx;
    out[3] = saved.gpr.cx;
    out[4] = saved.gpr.r8;
    out[5] = saved.gpr.r9;
    for (std::size_t i = 0; i < vector_argument_words; ++i)
        __builtin_memcpy(&out[integer_argument_words + i], arch_access::vector(regs, i),
                         sizeof(std::uint64_t));
}

}  // namespace ftrace::inline v0::arch
