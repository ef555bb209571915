// Where the compiler itself takes a class by value from. C++20 shows no member of a class to a
// template (a base, a bit-field, an anonymous union look like something else or break the build),
// so its eightbytes cannot be classified. Instead a function of the same parameters, compiled here,
// is called once with a tag in every argument register and stack word; the tags that arrive in its
// parameters tell where each was passed. Results likewise.
//
// It runs before main, or at the latest on the first access. It changes registers a call may change
// and nothing else, takes no lock and allocates nothing; two threads doing it at once write the
// same answers.
#pragma once

#include <ftrace/arch/abi_locate.hpp>
#include <ftrace/arch/asm.hpp>
#include <ftrace/arch/registers.hpp>

#include <utility>

#define FTRACE_PROBE_TARGET "0"
#define FTRACE_PROBE_STACK "8"
#define FTRACE_PROBE_STACK_WORDS "16"
#define FTRACE_PROBE_INTEGERS "24"
#define FTRACE_PROBE_VECTORS "128"

#if defined(__clang__)
#define FTRACE_PROBE_FUNCTION FTRACE_NO_INSTRUMENTATION __attribute__((noinline))
#else
#define FTRACE_PROBE_FUNCTION FTRACE_NO_INSTRUMENTATION __attribute__((noipa))
#endif

namespace ftrace::inline v0::arch {

/// What the registers and the stack hold when the probed function is entered.
struct probe_call {
    void (*target)();
    const std::uint64_t* stack;
    std::uint64_t stack_words;
    std::uint64_t integers[integer_argument_registers];
    alignas(64) unsigned char vectors[vector_argument_registers][64];
};
// clang-format off
static_assert(offsetof(probe_call, target) == 0 && offsetof(probe_call, stack) == 8 &&
              offsetof(probe_call, stack_words) == 16 && offsetof(probe_call, integers) == 24 &&
              offsetof(probe_call, vectors) == 128);

// probe_call* in rdi.   r11 = call; copy the stack image to a 64-byte aligned place; the vector registers by `load`;
// the integer ones; call.
#define FTRACE_PROBE_THUNK(load, after)                                                            \
    asm("pushq %rbp\n"                                                                             \
        FTRACE_CFI("def_cfa_offset 16")                                                            \
        FTRACE_CFI("offset 6, -16")                                                                \
        "movq %rsp, %rbp\n"                                                                        \
        FTRACE_CFI("def_cfa_register 6")                                                           \
        "movq %rdi, %r11\n"                                                                        \
        "movq " FTRACE_PROBE_STACK_WORDS "(%r11), %rcx\n"                                          \
        "leaq (,%rcx,8), %rax\n"                                                                   \
        "subq %rax, %rsp\n"                                                                        \
        "andq $-64, %rsp\n"                                                                        \
        "movq " FTRACE_PROBE_STACK "(%r11), %rsi\n"                                                \
        "1: decq %rcx\n" /* no rep movsq: a stub may run with DF set */                            \
        "js 2f\n"                                                                                  \
        "movq (%rsi,%rcx,8), %rax\n"                                                               \
        "movq %rax, (%rsp,%rcx,8)\n"                                                               \
        "jmp 1b\n"                                                                                 \
        "2:\n"                                                                                     \
        load("0") load("1") load("2") load("3") load("4") load("5") load("6") load("7")            \
        "movq " FTRACE_PROBE_INTEGERS "+0(%r11), %rdi\n"                                           \
        "movq " FTRACE_PROBE_INTEGERS "+8(%r11), %rsi\n"                                           \
        "movq " FTRACE_PROBE_INTEGERS "+16(%r11), %rdx\n"                                          \
        "movq " FTRACE_PROBE_INTEGERS "+24(%r11), %rcx\n"                                          \
        "movq " FTRACE_PROBE_INTEGERS "+32(%r11), %r8\n"                                           \
        "movq " FTRACE_PROBE_INTEGERS "+40(%r11), %r9\n"                                           \
        "call *" FTRACE_PROBE_TARGET "(%r11)\n"                                                    \
        after                                                                                      \
        "leave\n"                                                                                  \
        FTRACE_CFI("def_cfa 7, 8")                                                                 \
        "ret\n")
#define FTRACE_PROBE_XMM(n) "movups " FTRACE_PROBE_VECTORS "+64*" n "(%r11), %xmm" n "\n"
#define FTRACE_PROBE_YMM(n) "vmovups " FTRACE_PROBE_VECTORS "+64*" n "(%r11), %ymm" n "\n"
#define FTRACE_PROBE_ZMM(n) "vmovups " FTRACE_PROBE_VECTORS "+64*" n "(%r11), %zmm" n "\n"

/// Calls call.target with the registers and the stack of `call`, vectors as wide as the name says.
FTRACE_PROBE_FUNCTION __attribute__((naked)) inline void probe_thunk_xmm(probe_call*) {
    FTRACE_PROBE_THUNK(FTRACE_PROBE_XMM, "");
}
FTRACE_PROBE_FUNCTION __attribute__((naked)) inline void probe_thunk_ymm(probe_call*) {
    FTRACE_PROBE_THUNK(FTRACE_PROBE_YMM, "vzeroupper\n");
}
FTRACE_PROBE_FUNCTION __attribute__((naked)) inline void probe_thunk_zmm(probe_call*) {
    FTRACE_PROBE_THUNK(FTRACE_PROBE_ZMM, "vzeroupper\n");
}
// clang-format on
#undef FTRACE_PROBE_THUNK
#undef FTRACE_PROBE_XMM
#undef FTRACE_PROBE_YMM
#undef FTRACE_PROBE_ZMM

/// The thunk for what the compiler of this file passes in registers.
#if defined(__AVX512F__)
inline constexpr auto probe_thunk = probe_thunk_zmm;
#elif defined(__AVX__)
inline constexpr auto probe_thunk = probe_thunk_ymm;
#else
inline constexpr auto probe_thunk = probe_thunk_xmm;
#endif

/// The tags. Word numbers: 1 to 6 the integer registers; then eight words for each vector register;
/// then the stack. Three passes: every byte of a word holds the low byte of its number, then the
/// high one, then its own position.
inline constexpr unsigned probe_passes = 3;
inline constexpr unsigned probe_first_vector_word = 1 + integer_argument_registers;
inline constexpr unsigned probe_first_stack_word =
    probe_first_vector_word + 8 * vector_argument_registers;
inline constexpr std::uint64_t probe_every_byte = 0x0101010101010101;
inline constexpr std::uint64_t probe_positions = 0xa7a6a5a4a3a2a1a0;

FTRACE_NO_INSTRUMENTATION constexpr std::uint64_t probe_tag(unsigned word, unsigned pass) noexcept {
    if (pass == 2) return probe_positions;
    return probe_every_byte * ((pass == 0 ? word : word >> 8) & 0xff);
}

/// The first bytes of one parameter, as they arrived in each pass.
struct probe_bytes {
    unsigned char seen[probe_passes][16];
    bool is_address;  ///< they are not the parameter's but its address'
};

/// Where a probed function leaves what arrived; the word behind the tagged stack points here.
struct probe_result {
    probe_bytes* parameters;
    const std::uint32_t* sizes;
    unsigned count;
    unsigned pass;
};

FTRACE_PROBE_FUNCTION inline void probe_record(const probe_result& out,
                                               const void* const* addresses) noexcept {
    for (unsigned n = 0; n < out.count; ++n) {
        const auto* bytes = static_cast<const unsigned char*>(addresses[n]);
        std::uint32_t size = out.sizes[n];
        // A class that is passed by address is where a tag points: nowhere. The last tag does so
        // for certain.
        const auto address = reinterpret_cast<std::uint64_t>(bytes);
        if (address == 0 || address >> 56 != 0) {
            out.parameters[n].is_address = true;
            bytes = reinterpret_cast<const unsigned char*>(&addresses[n]);
            size = sizeof addresses[n];
        }
        for (std::uint32_t i = 0; i < size && i < 16; ++i) {
            out.parameters[n].seen[out.pass][i] = bytes[i];
        }
    }
}

#pragma GCC diagnostic push
#if !defined(__clang__)
#pragma GCC diagnostic ignored "-Wignored-attributes"  // __m128 as a template argument
#endif

/// The probed function: takes its parameters from where the compiler says they are.
template <bool Variadic, unsigned StackWords, typename... P>
struct probe_target {
    FTRACE_PROBE_FUNCTION static void function(P... p) noexcept {
        const void* const addresses[] = {__builtin_addressof(p)..., nullptr};
        // The stack arguments start at the CFA, and end with the pointer to the result.
        const auto* const stack = static_cast<probe_result* const*>(__builtin_dwarf_cfa());
        probe_record(*stack[StackWords], addresses);
    }
};
template <unsigned StackWords, typename... P>
struct probe_target<true, StackWords, P...> {
    FTRACE_PROBE_FUNCTION static void function(P... p, ...) noexcept {
        const void* const addresses[] = {__builtin_addressof(p)..., nullptr};
        // The stack arguments start at the CFA, and end with the pointer to the result.
        const auto* const stack = static_cast<probe_result* const*>(__builtin_dwarf_cfa());
        probe_record(*stack[StackWords], addresses);
    }
};

/// Tells from the tags in one half of a parameter where it came from.
FTRACE_PROBE_FUNCTION inline void probe_decode(const probe_bytes& bytes, unsigned half,
                                               std::uint32_t size, unsigned words,
                                               location& at) noexcept {
    for (unsigned i = 8 * half; i < 8 * half + 8 && i < size; ++i) {
        const unsigned word = bytes.seen[0][i] | unsigned(bytes.seen[1][i]) << 8;
        // Padding need not arrive: what stands there fits in all three passes by chance only.
        if (bytes.seen[2][i] != 0xa0 + i % 8 || word == 0 || word >= words) continue;
        place& where = half == 0 ? at.lo : at.hi;
        std::uint8_t& index = half == 0 ? at.lo_index : at.hi_index;
        if (word >= probe_first_stack_word) {
            const std::uint32_t offset = 8 * (word - probe_first_stack_word);
            if (half == 0) {
                at.lo = place::stack;
                at.offset = offset;
            } else if (at.lo == place::nothing) {  // the lower half is padding
                at.lo = place::stack;
                at.offset = offset - 8;
            } else if (at.lo != place::stack) {  // torn apart
                at.hi = place::stack;
                at.offset = offset;
            }
        } else if (word >= probe_first_vector_word) {
            const unsigned vector = word - probe_first_vector_word;
            if (half == 1 && vector % 8 == 1) return;  // the upper half of the register of `lo`
            where = place::vector;
            index = static_cast<std::uint8_t>(vector / 8);
        } else {
            where = place::integer;
            index = static_cast<std::uint8_t>(word - 1);
        }
        return;
    }
}

/// What a probe is to find out: where `count` parameters of these sizes, on at most `words` stack
/// words, are.
struct probe_request {
    void (*target)();
    const std::uint32_t* sizes;
    unsigned count;
    unsigned words;
};

/// Calls the target with tags in all places and decodes what arrived in its parameters.
FTRACE_PROBE_FUNCTION inline void probe_parameters(const probe_request& request,
                                                   location* where) noexcept {
    const unsigned words = request.words;
    auto* const stack =
        static_cast<std::uint64_t*>(__builtin_alloca((words + 1) * sizeof(std::uint64_t)));
    auto* const bytes =
        static_cast<probe_bytes*>(__builtin_alloca(request.count * sizeof(probe_bytes)));
    __builtin_memset(bytes, 0, request.count * sizeof(probe_bytes));
    probe_result out{
        .parameters = bytes, .sizes = request.sizes, .count = request.count, .pass = 0};
    probe_call call;
    call.target = request.target;
    call.stack = stack;
    call.stack_words = words + 1;
    stack[words] = reinterpret_cast<std::uint64_t>(&out);
    for (out.pass = 0; out.pass < probe_passes; ++out.pass) {
        for (unsigned i = 0; i < integer_argument_registers; ++i)
            call.integers[i] = probe_tag(1 + i, out.pass);
        for (unsigned i = 0; i < 8 * vector_argument_registers; ++i) {
            const std::uint64_t tag = probe_tag(probe_first_vector_word + i, out.pass);
            __builtin_memcpy(&call.vectors[i / 8][i % 8 * 8], &tag, 8);
        }
        for (unsigned i = 0; i < words; ++i)
            stack[i] = probe_tag(probe_first_stack_word + i, out.pass);
        probe_thunk(&call);
    }
    for (unsigned n = 0; n < request.count; ++n) {
        where[n] = {.lo = place::nothing, .hi = place::nothing};
        const std::uint32_t size = bytes[n].is_address ? sizeof(void*) : request.sizes[n];
        probe_decode(bytes[n], 0, size, probe_first_stack_word + words, where[n]);
        probe_decode(bytes[n], 1, size, probe_first_stack_word + words, where[n]);
        if (bytes[n].is_address) where[n].hi = place::memory;
    }
}

/// The widest vector that the compiler of this file passes in a register.
#if defined(__AVX512F__)
inline constexpr std::size_t probe_vector_size = 64;
#elif defined(__AVX__)
inline constexpr std::size_t probe_vector_size = 32;
#else
inline constexpr std::size_t probe_vector_size = 16;
#endif

/// A vector that this file's code passes otherwise than a function compiled for such vectors
/// takes it.
template <typename T>
FTRACE_NOTRACE consteval bool too_wide() {
    if constexpr (is_vector<T>)
        return sizeof(T) > probe_vector_size;
    else
        return false;
}

/// The type that a probed function has in place of T: passed alike, and all bytes of it arrive.
/// (clang at -O0 keeps but one bit of a bool.)
template <typename T>
struct probed {
    using type = T;
};
template <typename T>
    requires is_address<T>
struct probed<T> {
    using type = const void*;
};
template <typename T>
    requires(!is_address<T> && (std::is_integral_v<T> || std::is_enum_v<T>) && sizeof(T) == 1)
struct probed<T> {
    using type = unsigned char;
};
template <typename T>
using probed_type = typename probed<T>::type;

/// A probed function may have a parameter declared as T.
template <typename T>
FTRACE_NOTRACE consteval bool can_probe() {
    if constexpr (is_address<T>)
        return true;
    else if constexpr (is_vector<T>)
        return !too_wide<T>();
    else
        return std::is_trivially_destructible_v<T>;
}

/// The stack words of parameters P... if each were on the stack, with the most padding in front.
template <typename... P>
inline constexpr unsigned probe_words =
    unsigned((0 + ... + (round_up(sizeof(P), 8) + (alignof(P) > 8 ? alignof(P) : 0))) / 8);

/// Their sizes, behind that of a hidden pointer.
template <typename... P>
inline constexpr std::uint32_t probe_sizes[] = {sizeof(void*), sizeof(P)...};
#pragma GCC diagnostic pop

}  // namespace ftrace::inline v0::arch
