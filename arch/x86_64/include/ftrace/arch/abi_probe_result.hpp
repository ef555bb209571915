// Where the compiler itself expects a class returned by value: a call of a producer that leaves
// tags in every result register, compiled here, is made once; the tags that arrive in the
// object tell.
#pragma once

#include <ftrace/arch/abi_probe.hpp>

namespace ftrace::inline v0::arch {

// clang-format off
// rax, rdx: bytes of "a" and "b". xmm0: "c" and "d"; xmm1: "e" and "f", each 0x11 higher in the second pass.
#define FTRACE_PRODUCER(a, b, c, d, e, f)                                                          \
    asm("movabsq $0x" c c c c c c c c ", %rax\n"                                                   \
        "movabsq $0x" d d d d d d d d ", %rdx\n"                                                   \
        "movq %rax, %xmm0\n"                                                                       \
        "movq %rdx, %xmm1\n"                                                                       \
        "punpcklqdq %xmm1, %xmm0\n"                                                                \
        "movabsq $0x" e e e e e e e e ", %rax\n"                                                   \
        "movabsq $0x" f f f f f f f f ", %rdx\n"                                                   \
        "movq %rax, %xmm1\n"                                                                       \
        "movq %rdx, %xmm2\n"                                                                       \
        "punpcklqdq %xmm2, %xmm1\n"                                                                \
        "movabsq $0x" a a a a a a a a ", %rax\n"                                                   \
        "movabsq $0x" b b b b b b b b ", %rdx\n"                                                   \
        "ret\n")

/// Functions that return tags in all integer and vector result registers, and write no memory.
FTRACE_PROBE_FUNCTION __attribute__((naked)) inline void produce_first() {
    FTRACE_PRODUCER("21", "22", "23", "24", "25", "26");
}
FTRACE_PROBE_FUNCTION __attribute__((naked)) inline void produce_second() {
    FTRACE_PRODUCER("32", "33", "34", "35", "36", "37");
}
/// A function that returns the 80-bit value 0xc123'a1a2a3a4a5a6a7a8 in st(0).
FTRACE_PROBE_FUNCTION __attribute__((naked)) inline void produce_x87() {
    asm("movabsq $0xa1a2a3a4a5a6a7a8, %rax\n"
        "movq %rax, -16(%rsp)\n"
        "movl $0xc123, -8(%rsp)\n"
        "fldt -16(%rsp)\n"
        "ret\n");
}
/// Pops st(0).
FTRACE_PROBE_FUNCTION __attribute__((naked)) inline void x87_drop() {
    asm("fstp %st(0)\n"
        "ret\n");
}
// clang-format on
#undef FTRACE_PRODUCER

inline constexpr unsigned char produced_first = 0x21;
inline constexpr unsigned char produced_step = 0x11;
inline constexpr std::uint64_t produced_mantissa = 0xa1a2a3a4a5a6a7a8;

/// The top of the x87 stack, 0 to 7.
FTRACE_PROBE_FUNCTION inline unsigned x87_top() noexcept {
    unsigned short status;
    asm volatile("fnstsw %0" : "=a"(status));
    return (status >> 11) & 7U;
}

/// The first 16 bytes of what a caller takes for the result of `producer`.
template <typename T>
FTRACE_PROBE_FUNCTION inline void consume_result(void (*producer)(),
                                                 unsigned char* bytes) noexcept {
    // Memory that a producer does not write stays as it is: never a tag.
    __builtin_memset(bytes, 0, 16);
    const T value = reinterpret_cast<T (*)()>(producer)();
    const auto* const from = reinterpret_cast<const unsigned char*>(__builtin_addressof(value));
    for (unsigned i = 0; i < sizeof(T) && i < 16; ++i) bytes[i] = from[i];
}

/// The register whose tag stands in one half of a result.
FTRACE_PROBE_FUNCTION inline void probe_decode_result(const unsigned char (&seen)[2][16],
                                                      unsigned half, std::uint32_t size,
                                                      location& at) noexcept {
    for (unsigned i = 8 * half; i < 8 * half + 8 && i < size; ++i) {
        const unsigned tag = unsigned(seen[0][i]) - produced_first;
        if (tag > 5 || seen[1][i] != seen[0][i] + produced_step) continue;
        if (tag >= 2 && tag % 2 == 1) return;  // the upper half of the register of `lo`
        const place where = tag < 2 ? place::integer : place::vector;
        const auto index =
            static_cast<std::uint8_t>(tag < 2 ? result_integer + tag : (tag - 2) / 2);
        (half == 0 ? at.lo : at.hi) = where;
        (half == 0 ? at.lo_index : at.hi_index) = index;
        return;
    }
}

/// A function with result T and one parameter. It makes its result by calling `producer` in its
/// place, so that T needs no accessible constructor.
template <typename T, bool X87>
struct probe_result_target {
    FTRACE_PROBE_FUNCTION static T function(const void* p) noexcept {
        const void* const addresses[] = {__builtin_addressof(p), nullptr};
        const auto* const stack = static_cast<probe_result* const*>(__builtin_dwarf_cfa());
        probe_record(*stack[1], addresses);
        return reinterpret_cast<T (*)()>(X87 ? produce_x87 : produce_first)();
    }
};

/// Locates a result of class type T.
template <typename T>
FTRACE_PROBE_FUNCTION inline location probe_result_location() noexcept {
    constexpr bool may_be_x87 = sizeof(T) == sizeof(long double);
    const probe_request request{
        .target = reinterpret_cast<void (*)()>(&probe_result_target<T, may_be_x87>::function),
        .sizes = probe_sizes<>,
        .count = 1,
        .words = 1};
    location parameter{};
    // The target is called thrice: what it leaves on the x87 stack is taken away again.
    unsigned top = x87_top();
    probe_parameters(request, &parameter);
    while (x87_top() != top) x87_drop();
    // A hidden pointer to the result comes first and moves the parameter on.
    if (parameter.lo_index == 1) return {.lo = place::memory, .hi = place::nothing};

    unsigned char seen[2][16];
    if constexpr (may_be_x87) {
        top = x87_top();
        consume_result<T>(produce_x87, seen[0]);
        std::uint64_t mantissa;
        __builtin_memcpy(&mantissa, seen[0], sizeof mantissa);
        if (x87_top() != top) {
            x87_drop();  // the caller did not take it
        } else if (mantissa == produced_mantissa) {
            return {.lo = place::x87, .hi = place::nothing, .lo_index = 1};
        }
    }
    consume_result<T>(produce_first, seen[0]);
    consume_result<T>(produce_second, seen[1]);
    location at{.lo = place::nothing, .hi = place::nothing};
    probe_decode_result(seen, 0, sizeof(T), at);
    probe_decode_result(seen, 1, sizeof(T), at);
    return at;
}

}  // namespace ftrace::inline v0::arch
