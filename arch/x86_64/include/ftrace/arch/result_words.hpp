// The registers that may hold a result, as words: what a tracer records without knowing the
// function's type.
#pragma once

#include <ftrace/arch/registers.hpp>
#include <ftrace/core/config.hpp>

#include <cstdint>

namespace ftrace::inline v0::arch {

/// psABI 3.2.3: rax, rdx, then the low 64 bits of xmm0. Left out are what is wider, a second vector
/// register and the x87 stack; a result in memory has its address in the first word.
inline constexpr int integer_result_words = 2;
inline constexpr int result_words = integer_result_words + 1;

/// Copies them, for a callback at a return.
FTRACE_NO_INSTRUMENTATION inline void copy_result_words(const ftrace_regs& regs,
                                                        std::uint64_t* out) noexcept {
    const saved_registers& saved = arch_access::saved(regs);
    out[0] = saved.gpr.ax;
    out[1] = saved.gpr.dx;
    __builtin_memcpy(&out[integer_result_words], arch_access::vector(regs, 0),
                     sizeof(std::uint64_t));
}

}  // namespace ftrace::inline v0::arch
