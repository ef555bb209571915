// Where the psABI puts the parameters of a call: registers are handed out from left to right, then
// stack slots.
#pragma once

#include <ftrace/arch/abi_classify.hpp>
#include <ftrace/arch/registers.hpp>

namespace ftrace::inline v0::arch {

enum class place : std::uint8_t { unknown, nothing, integer, vector, stack, memory, x87 };

/// Where a value is. One machine word, so that a table of them is read and written without tearing.
///
///     lo = stack, hi = nothing      all bytes, `offset` bytes above the return address' slot
///     lo = memory           a result: all bytes, where the hidden pointer points
///     lo = x87              a result: `lo_index` values on the x87 stack
///     lo = vector, hi = nothing     all bytes, in one vector register
///     hi = memory           lo holds the address of the bytes
///     else                  bytes 0 to 7 in lo, bytes 8 to 15 in hi (either on the stack: at `offset`)
///
/// Integer registers are numbered rdi rsi rdx rcx r8 r9 (0 to 5), rax (6), rdx as a result (7).
struct alignas(8) location {
    place lo = place::unknown;
    place hi = place::unknown;
    std::uint8_t lo_index = 0;
    std::uint8_t hi_index = 0;
    std::uint32_t offset = 0;

    FTRACE_NOTRACE friend constexpr bool operator==(const location&, const location&) = default;
};
static_assert(sizeof(location) == 8);

inline constexpr int integer_argument_registers = 6;
inline constexpr std::uint8_t result_integer = 6;

FTRACE_NO_INSTRUMENTATION FTRACE_GENERAL_REGS_ONLY constexpr std::uint32_t round_up(
    std::uint32_t value, std::uint32_t to) noexcept {
    return (value + to - 1) / to * to;
}

/// Hands out registers and stack slots, parameter by parameter.
struct call_allocator {
    int integers = 0;
    int vectors = 0;
    std::uint32_t stack = 0;

    /// Where the next parameter goes; c is known.
    FTRACE_NO_INSTRUMENTATION FTRACE_GENERAL_REGS_ONLY constexpr location next(
        const type_class& c) noexcept {
        if (!c.memory) {
            const int need_integers = (c.lo == eightbyte::integer) + (c.hi == eightbyte::integer);
            const int need_vectors = (c.lo == eightbyte::sse) + (c.hi == eightbyte::sse);
            if (need_integers + need_vectors == 0)
                return {.lo = place::nothing, .hi = place::nothing};
            // All of a value's eightbytes get a register, or none does.
            if (integers + need_integers <= integer_argument_registers &&
                vectors + need_vectors <= vector_argument_registers) {
                location at{};
                take(c.lo, at.lo, at.lo_index);
                take(c.hi, at.hi, at.hi_index);
                return at;
            }
        }
        stack = round_up(stack, c.align > 8 ? c.align : 8);
        const location at{.lo = place::stack, .hi = place::nothing, .offset = stack};
        stack += round_up(c.size, 8);
        return at;
    }

private:
    FTRACE_NO_INSTRUMENTATION FTRACE_GENERAL_REGS_ONLY constexpr void take(
        eightbyte e, place& where, std::uint8_t& index) noexcept {
        where = place::nothing;
        if (e == eightbyte::integer) {
            where = place::integer;
            index = static_cast<std::uint8_t>(integers++);
        } else if (e == eightbyte::sse) {
            where = place::vector;
            index = static_cast<std::uint8_t>(vectors++);
        }
    }
};

/// Where a result of class c is when the function returns; unknown where c is.
FTRACE_NO_INSTRUMENTATION constexpr location result_location(const type_class& c) noexcept {
    if (!c.known) return {};
    if (c.memory) return {.lo = place::memory, .hi = place::nothing};
    if (c.x87 != 0) return {.lo = place::x87, .hi = place::nothing, .lo_index = c.x87};
    location at{.lo = place::nothing, .hi = place::nothing};
    std::uint8_t integers = result_integer;
    std::uint8_t vectors = 0;
    if (c.lo == eightbyte::integer)
        at = {.lo = place::integer, .hi = place::nothing, .lo_index = integers++};
    if (c.lo == eightbyte::sse)
        at = {.lo = place::vector, .hi = place::nothing, .lo_index = vectors++};
    if (c.hi == eightbyte::integer) at.hi = place::integer, at.hi_index = integers;
    if (c.hi == eightbyte::sse) at.hi = place::vector, at.hi_index = vectors;
    return at;
}

/// A vector that needs more than an xmm register. clang passes the named ones of a variadic
/// function on the stack, gcc and the psABI in a register.
FTRACE_NOTRACE constexpr bool is_wide_vector(const type_class& c) noexcept {
    return c.lo == eightbyte::sse && c.hi == eightbyte::none && c.size > 16;
}

/// Where parameter N of Result(P...) is: `unknown` where a class by value at or before it, or as
/// the result, leaves it open.
template <std::size_t N, bool Variadic, typename Result, typename... P>
FTRACE_NOTRACE consteval location static_location() {
    constexpr type_class result = classify_result<Result>();
    constexpr type_class classes[] = {classify<P>()...};
    call_allocator registers{};
    registers.integers = result.memory ? 1 : 0;
    location at{};
    bool known = result.known;
    for (std::size_t i = 0; i <= N; ++i) {
        known = known && classes[i].known && !(Variadic && is_wide_vector(classes[i]));
        if (known) at = registers.next(classes[i]);
    }
    return known ? at : location{};
}

}  // namespace ftrace::inline v0::arch
