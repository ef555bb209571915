// Calls a function with every register set, and records what its body finds in them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <ftrace/arch/cpu.hpp>

/// Registers as they are at a call.
struct machine_state {
    enum gpr_index { ax, cx, dx, bx, sp, bp, si, di, r8, r9, r10, r11, r12, r13, r14, r15 };
    static constexpr std::uint64_t carry = 0x1, parity = 0x4, adjust = 0x10, zero = 0x40,
                                   sign = 0x80, direction = 0x400, overflow = 0x800,
                                   status_flags = carry | parity | adjust | zero | sign | overflow;

    std::uint64_t gpr[16];  // in the order of their encodings
    std::uint64_t flags;
    std::uint32_t mxcsr;
    std::uint16_t x87_control;
    std::uint16_t x87_status;
    long double st[2];
    alignas(64) std::byte vector[8][64];

    /// What a status flag's bit is in combination number `n` of 64.
    static std::uint64_t flags_of(unsigned n) {
        std::uint64_t all = 0;
        const std::uint64_t bits[] = {carry, parity, adjust, zero, sign, overflow};
        for (unsigned i = 0; i < 6; ++i)
            if ((n >> i & 1u) != 0) all |= bits[i];
        return all;
    }
};

#define STATE_FLAGS "128"
#define STATE_MXCSR "136"
#define STATE_X87_CONTROL "140"
#define STATE_X87_STATUS "142"
#define STATE_ST "144"
#define STATE_VECTOR "192"
static_assert(offsetof(machine_state, flags) == 128 && offsetof(machine_state, mxcsr) == 136 &&
              offsetof(machine_state, x87_control) == 140 &&
              offsetof(machine_state, x87_status) == 142 && offsetof(machine_state, st) == 144 &&
              offsetof(machine_state, vector) == 192);

extern "C" {
// What call_with_state() loads; what the body found; how much of a vector register counts.
__attribute__((used, visibility("hidden"))) inline machine_state state_loaded;
__attribute__((used, visibility("hidden"))) inline machine_state state_found;
__attribute__((used, visibility("hidden"))) inline std::uint32_t state_width = 16;
__attribute__((used, visibility("hidden"))) inline std::uint64_t state_scratch[2];
// Set by RECORD_STATE: which function ran.
__attribute__((used, visibility("hidden"))) inline std::uint64_t state_visited;
/// Loads state_loaded (but sp) and calls `target` with rsp % 16 == misalignment.
void call_with_state(void (*target)(), std::uint64_t misalignment);
}

// clang-format off
#define EACH_GPR_BUT_SP(form) \
    form("rax", "0") form("rcx", "8") form("rdx", "16") form("rbx", "24") form("rbp", "40") form("rsi", "48") \
    form("rdi", "56") form("r8", "64") form("r9", "72") form("r10", "80") form("r11", "88") form("r12", "96") \
    form("r13", "104") form("r14", "112") form("r15", "120")
#define LOAD_GPR(name, at) "movq state_loaded+" at "(%rip), %" name "\n"
#define FOUND_GPR(name, at) "movq %" name ", state_found+" at "(%rip)\n"

// Eight vector registers, by state_width. Changes flags.
#define EACH_VECTOR(line) ".irp n, 0, 1, 2, 3, 4, 5, 6, 7\n" line "\n.endr\n"
#define BY_WIDTH(xmm, ymm, zmm)          \
    "cmpl $32, state_width(%rip)\n"      \
    "je 1f\n"                            \
    "ja 2f\n"                            \
    EACH_VECTOR(xmm)                     \
    "jmp 3f\n"                           \
    "1:\n"                               \
    EACH_VECTOR(ymm)                     \
    "jmp 3f\n"                           \
    "2:\n"                               \
    EACH_VECTOR(zmm)                     \
    "3:\n"

__asm__(
    ".pushsection .text.call_with_state, \"axG\", @progbits, call_with_state, comdat\n"
    ".weak call_with_state\n"
    ".type call_with_state, @function\n"
    "call_with_state:\n"
    "pushq %rbx\n pushq %rbp\n pushq %r12\n pushq %r13\n pushq %r14\n pushq %r15\n"
    "subq $24, %rsp\n"
    "stmxcsr (%rsp)\n"
    "fnstcw 4(%rsp)\n"
    "movq %rsp, state_scratch(%rip)\n"
    "movq %rdi, state_scratch+8(%rip)\n"
    "andq $-16, %rsp\n"
    "subq %rsi, %rsp\n"
    "fninit\n"
    "fldcw state_loaded+" STATE_X87_CONTROL "(%rip)\n"
    "fldt state_loaded+" STATE_ST "+16(%rip)\n"
    "fldt state_loaded+" STATE_ST "(%rip)\n"
    "ldmxcsr state_loaded+" STATE_MXCSR "(%rip)\n"
    BY_WIDTH("movups state_loaded+" STATE_VECTOR "+64*\\n(%rip), %xmm\\n",
             "vmovups state_loaded+" STATE_VECTOR "+64*\\n(%rip), %ymm\\n",
             "vmovups state_loaded+" STATE_VECTOR "+64*\\n(%rip), %zmm\\n")
    "leaq -8(%rsp), %rax\n"
    "movq %rax, state_loaded+32(%rip)\n" // rsp at the function's first instruction
    "pushq state_loaded+" STATE_FLAGS "(%rip)\n"
    "popfq\n"
    EACH_GPR_BUT_SP(LOAD_GPR)
    "call *state_scratch+8(%rip)\n"
    "cld\n"
    "movq state_scratch(%rip), %rsp\n"
    "cmpl $16, state_width(%rip)\n"
    "je 4f\n"
    "vzeroupper\n"
    "4:\n"
    "ldmxcsr (%rsp)\n"
    "fninit\n"
    "fldcw 4(%rsp)\n"
    "addq $24, %rsp\n"
    "popq %r15\n popq %r14\n popq %r13\n popq %r12\n popq %rbp\n popq %rbx\n"
    "ret\n"
    ".size call_with_state, . - call_with_state\n"
    ".popsection\n");

/// The body of a naked function: state_found = registers, state_visited = number.
#define RECORD_STATE(number)                                                 \
    __asm__(                                                                 \
        "pushfq\n"                                                           \
        "popq state_found+" STATE_FLAGS "(%rip)\n"                              \
        EACH_GPR_BUT_SP(FOUND_GPR)                                           \
        "movq %rsp, state_found+32(%rip)\n"                                  \
        "cld\n"                                                              \
        "stmxcsr state_found+" STATE_MXCSR "(%rip)\n"                           \
        "fnstcw state_found+" STATE_X87_CONTROL "(%rip)\n"                      \
        "fnstsw state_found+" STATE_X87_STATUS "(%rip)\n"                       \
        "fstpt state_found+" STATE_ST "(%rip)\n"                                \
        "fstpt state_found+" STATE_ST "+16(%rip)\n"                             \
        BY_WIDTH("movups %xmm\\n, state_found+" STATE_VECTOR "+64*\\n(%rip)",   \
                 "vmovups %ymm\\n, state_found+" STATE_VECTOR "+64*\\n(%rip)",  \
                 "vmovups %zmm\\n, state_found+" STATE_VECTOR "+64*\\n(%rip)")  \
        "movq $" #number ", state_visited(%rip)\n"                           \
        "ret\n")
// clang-format on

/// A function whose body records what it found. `linker_name` tells of its arguments.
#define STATE_FUNCTION(name, linker_name, number) \
    extern "C" void name() __asm__(linker_name);  \
    __attribute__((naked, noinline, used)) void name() { RECORD_STATE(number); }

/// Fills state_loaded with values that are different at every call; flags as given.
inline void load_new_state(std::uint64_t flags) {
    static std::uint64_t random = 0x9e3779b97f4a7c15;
    const auto next = [] {
        random ^= random << 13, random ^= random >> 7, random ^= random << 17;
        return random;
    };
    for (std::uint64_t& reg : state_loaded.gpr) reg = next();
    state_loaded.flags = flags | 0x202;
    // Rounding up, denormals and underflow flushed; x87: rounding down, 53 bits; all masked.
    state_loaded.mxcsr = 0xdfc0;
    state_loaded.x87_control = 0x067f;
    state_loaded.st[0] = static_cast<long double>(next()) / 3;
    state_loaded.st[1] = -static_cast<long double>(next()) * 7;
    for (auto& vector : state_loaded.vector)
        for (std::size_t at = 0; at < sizeof vector; at += 8) {
            const std::uint64_t value = next();
            std::memcpy(vector + at, &value, sizeof value);
        }
    std::memset(static_cast<void*>(&state_found), 0xdb, sizeof state_found);
    state_visited = 0;
}

/// The first register that the function found changed; "" if none was.
inline const char* first_difference() {
    static constexpr const char* names[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                            "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
    static constexpr const char* vectors[] = {"vector 0", "vector 1", "vector 2", "vector 3",
                                              "vector 4", "vector 5", "vector 6", "vector 7"};
    for (int i = 0; i < 16; ++i)
        if (state_found.gpr[i] != state_loaded.gpr[i]) return names[i];
    constexpr std::uint64_t flags = machine_state::status_flags | machine_state::direction;
    if ((state_found.flags & flags) != (state_loaded.flags & flags)) return "flags";
    constexpr std::uint32_t mxcsr_status = 0x3f;
    if ((state_found.mxcsr & ~mxcsr_status) != (state_loaded.mxcsr & ~mxcsr_status)) return "mxcsr";
    if (state_found.x87_control != state_loaded.x87_control) return "x87 control word";
    constexpr unsigned x87_top = 0x3800;
    if ((state_found.x87_status & x87_top) != 6u << 11) return "x87 stack's depth";
    if (std::memcmp(state_found.st, state_loaded.st, 10) != 0) return "st0";
    if (std::memcmp(state_found.st + 1, state_loaded.st + 1, 10) != 0) return "st1";
    for (int i = 0; i < 8; ++i)
        if (std::memcmp(state_found.vector[i], state_loaded.vector[i], state_width) != 0)
            return vectors[i];
    return "";
}
