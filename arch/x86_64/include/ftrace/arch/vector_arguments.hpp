// Which vector register a by-value vector travels in.
#pragma once

#include <cstddef>
#include <ftrace/arch/registers.hpp>
#include <ftrace/core/config.hpp>

namespace ftrace::inline v0::arch {

/// What every function may use for its float and double arguments.
inline constexpr vector_width scalar_width = vector_width::xmm;
/// What a function may use of which nothing is known.
inline constexpr vector_width unknown_width = vector_width::zmm;

/// The register for a vector of `bytes` bytes (psABI, 3.2.3: __m256 in ymm, __m512 in zmm, smaller
/// ones in xmm or memory; longer ones in memory, which compilers do not agree on).
[[nodiscard]] FTRACE_NOTRACE constexpr vector_width width_of_vector(std::size_t bytes) noexcept {
    if (bytes <= 16) return vector_width::xmm;
    if (bytes <= 32) return vector_width::ymm;
    return vector_width::zmm;
}

/// The wider one.
[[nodiscard]] FTRACE_NOTRACE constexpr vector_width wider(vector_width a, vector_width b) noexcept {
    return a < b ? b : a;
}

}  // namespace ftrace::inline v0::arch
