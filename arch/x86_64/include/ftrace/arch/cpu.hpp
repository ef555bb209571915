// What object files call this machine, and which vector registers its CPU and kernel keep.
#pragma once

#include <cpuid.h>
#include <elf.h>

#include <cstdint>
#include <ftrace/arch/registers.hpp>
#include <ftrace/core/config.hpp>

namespace ftrace::inline v0::arch {

inline constexpr std::uint16_t elf_machine = EM_X86_64;

/// The widest vector register a function of this process can receive an argument in (SDM volume
/// 1, 14.3 and 15.2: the CPU has it and the operating system enabled its state in XCR0).
[[nodiscard]] FTRACE_NOTRACE inline vector_width widest_vector_register() noexcept {
    std::uint32_t a, b, c, d;
    constexpr std::uint32_t osxsave = 1u << 27, avx = 1u << 28, avx512f = 1u << 16;
    if (__get_cpuid(1, &a, &b, &c, &d) == 0 || (c & osxsave) == 0 || (c & avx) == 0)
        return vector_width::xmm;
    std::uint32_t enabled, high;
    __asm__("xgetbv" : "=a"(enabled), "=d"(high) : "c"(0));
    constexpr std::uint32_t ymm_state = 0x06, zmm_state = 0xe6;
    if ((enabled & ymm_state) != ymm_state) return vector_width::xmm;
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (b & avx512f) != 0 &&
        (enabled & zmm_state) == zmm_state)
        return vector_width::zmm;
    return vector_width::ymm;
}

}  // namespace ftrace::inline v0::arch
