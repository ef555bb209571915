// Results: where a call leaves them, and functions that return at once with a result that the
// stub's frame has no room for.
#pragma once

#include <ftrace/arch/abi_access.hpp>
#include <ftrace/arch/abi_registers.hpp>
#include <ftrace/arch/x87_results.hpp>

namespace ftrace::inline v0::arch {

// clang-format off
// A callback sets regs.ip to one of these to skip the body of the traced function: they run in its place, the return
// address on top of the stack. Input: the integer registers named, which the callback sets in pt_regs, and which a
// call may change. Clobbers: nothing but the result registers.
#if defined(__CET__) && (__CET__ & 1)
#define FTRACE_BRANCH_TARGET "endbr64\n"
#else
#define FTRACE_BRANCH_TARGET
#endif
#define FTRACE_PUSH(reg) "pushq " reg "\n" FTRACE_CFI("adjust_cfa_offset 8")
#define FTRACE_POP(bytes) "leaq " bytes "(%rsp), %rsp\n" FTRACE_CFI("adjust_cfa_offset -" bytes)

/// Returns what is in the result registers.
FTRACE_PROBE_FUNCTION __attribute__((naked)) inline void return_at_once() {
    asm(FTRACE_BRANCH_TARGET
        "ret\n");
}
/// xmm0 = rcx (low), r8 (high); xmm1 = r9.
FTRACE_PROBE_FUNCTION __attribute__((naked)) inline void return_xmm() {
    asm(FTRACE_BRANCH_TARGET
        "movq %rcx, %xmm0\n"
        "movq %r8, %xmm1\n"
        "punpcklqdq %xmm1, %xmm0\n"
        "movq %r9, %xmm1\n"
        "ret\n");
}
/// ymm0 = rax, rdx, rcx, r8, the low word first.
FTRACE_PROBE_FUNCTION __attribute__((naked)) inline void return_ymm() {
    asm(FTRACE_BRANCH_TARGET
        FTRACE_PUSH("%r8") FTRACE_PUSH("%rcx") FTRACE_PUSH("%rdx") FTRACE_PUSH("%rax")
        "vmovups (%rsp), %ymm0\n"
        FTRACE_POP("32")
        "ret\n");
}
/// zmm0 = rax, rdx, rcx, r8, r9, rdi, rsi, r10, the low word first.
FTRACE_PROBE_FUNCTION __attribute__((naked)) inline void return_zmm() {
    asm(FTRACE_BRANCH_TARGET
        FTRACE_PUSH("%r10") FTRACE_PUSH("%rsi") FTRACE_PUSH("%rdi") FTRACE_PUSH("%r9")
        FTRACE_PUSH("%r8") FTRACE_PUSH("%rcx") FTRACE_PUSH("%rdx") FTRACE_PUSH("%rax")
        "vmovups (%rsp), %zmm0\n"
        FTRACE_POP("64")
        "ret\n");
}
/// st(0) = rax (mantissa), rdx (sign and exponent).
FTRACE_PROBE_FUNCTION __attribute__((naked)) inline void return_x87() {
    asm(FTRACE_BRANCH_TARGET
        FTRACE_PUSH("%rdx") FTRACE_PUSH("%rax")
        "fldt (%rsp)\n"
        FTRACE_POP("16")
        "ret\n");
}
/// st(0) = rax, rdx; st(1) = rcx, r8.
FTRACE_PROBE_FUNCTION __attribute__((naked)) inline void return_x87_pair() {
    asm(FTRACE_BRANCH_TARGET
        FTRACE_PUSH("%r8") FTRACE_PUSH("%rcx") FTRACE_PUSH("%rdx") FTRACE_PUSH("%rax")
        "fldt 16(%rsp)\n"
        "fldt (%rsp)\n"
        FTRACE_POP("32")
        "ret\n");
}
// clang-format on
#undef FTRACE_BRANCH_TARGET
#undef FTRACE_PUSH
#undef FTRACE_POP

FTRACE_STUB_INLINE std::size_t x87_bytes(location at, std::size_t size) noexcept {
    const std::size_t registers = at.lo_index * sizeof(x87_saved::extended);
    return size < registers ? size : registers;
}
FTRACE_PROBE_FUNCTION FTRACE_GENERAL_REGS_ONLY inline void load_located_result(
    const ftrace_regs& regs, location at, void* to, std::size_t size) noexcept {
    if (at.lo == place::x87) {
        const x87_saved& saved = x87_saved::of(regs);
        zero_string(to, size);
        if (saved.count >= at.lo_index) copy_string(to, saved.values, x87_bytes(at, size));
    } else {
        load_located(regs, at, to, size);
    }
}
FTRACE_PROBE_FUNCTION FTRACE_GENERAL_REGS_ONLY inline void store_located_result(
    ftrace_regs& regs, location at, const void* from, std::size_t size) noexcept {
    if (at.lo == place::x87) {
        x87_saved& saved = x87_saved::of(regs);
        if (saved.count >= at.lo_index) copy_string(saved.values, from, x87_bytes(at, size));
    } else {
        store_located(regs, at, from, size);
    }
}

/// Copies a result of type T out of what a return stub saved. A result in memory is where
/// rax points.
template <typename T>
FTRACE_STUB_INLINE void load_result(const ftrace_regs& regs, void* to) noexcept {
    constexpr location at = result_location(classify_result<T>());
    if constexpr (at.lo == place::unknown)
        load_located_result(regs, table_result_location<T>(vectors_saved(regs)), to, sizeof(T));
    else if constexpr (at.lo == place::x87)
        load_located_result(regs, at, to, sizeof(T));
    else
        load_at<at, sizeof(T)>(regs, to);
}
template <typename T>
FTRACE_STUB_INLINE void store_result(ftrace_regs& regs, const void* from) noexcept {
    constexpr location at = result_location(classify_result<T>());
    if constexpr (at.lo == place::unknown)
        store_located_result(regs, table_result_location<T>(vectors_saved(regs)), from, sizeof(T));
    else if constexpr (at.lo == place::x87)
        store_located_result(regs, at, from, sizeof(T));
    else
        store_at<at, sizeof(T)>(regs, from);
}

/// A result that is an immovable T.
template <typename T>
FTRACE_STUB_INLINE T& result_object(const ftrace_regs& regs) noexcept {
    return located_object<T>(regs, table_result_location<T>(vectors_saved(regs)));
}

/// Leaves the traced function without running its body.
FTRACE_STUB_INLINE void skip_body(ftrace_regs& regs, void (*by)() = return_at_once) noexcept {
    set_instruction_pointer(regs, reinterpret_cast<std::uint64_t>(by));
}

/// Where the caller wants a result in memory, while the function is being entered. Result
/// registers: rax holds it.
FTRACE_STUB_INLINE void* hidden_result(ftrace_regs& regs) noexcept {
    pt_regs& gpr = arch_access::saved(regs).gpr;
    gpr.ax = gpr.di;
    return reinterpret_cast<void*>(gpr.di);
}

/// Makes the traced function return at once the `size` bytes at `from`.
FTRACE_PROBE_FUNCTION FTRACE_GENERAL_REGS_ONLY inline void skip_body_located(
    ftrace_regs& regs, location at, const void* from, std::size_t size) noexcept {
    saved_registers& saved = arch_access::saved(regs);
    pt_regs& gpr = saved.gpr;
    if (at.lo == place::memory) {
        copy_string(hidden_result(regs), from, size);
        return skip_body(regs);
    }
    const bool vectors = at.lo == place::vector || at.hi == place::vector;
    if (at.lo != place::x87 && (!vectors || std::size_t(saved.width) >= (size < 16 ? 16 : size))) {
        store_located(regs, at, from, size);
        return skip_body(regs);
    }
    // Not in the frame: through the integer registers.
    std::uint64_t w[8];
    if (size > sizeof w) return skip_body(regs);
    zero_string(w, sizeof w);
    copy_string(w, from, size);
    if (at.lo == place::x87 || size > 16) {
        gpr.ax = w[0], gpr.dx = w[1], gpr.cx = w[2], gpr.r8 = w[3];
        if (at.lo == place::x87)
            return skip_body(regs, at.lo_index == 2 ? return_x87_pair : return_x87);
        if (size <= 32) return skip_body(regs, return_ymm);
        gpr.r9 = w[4], gpr.di = w[5], gpr.si = w[6], gpr.r10 = w[7];
        return skip_body(regs, return_zmm);
    }
    if (at.lo == place::integer) gpr.ax = w[0], gpr.cx = w[1];
    if (at.hi == place::integer) gpr.ax = w[1], gpr.cx = w[0];
    if (at.lo == place::vector && at.hi == place::nothing) gpr.cx = w[0], gpr.r8 = w[1];
    if (at.lo == place::vector && at.hi == place::vector) gpr.cx = w[0], gpr.r9 = w[1];
    skip_body(regs, return_xmm);
}

/// Makes the traced function return at once the T at `from`.
template <typename T>
FTRACE_STUB_INLINE void skip_body_with(ftrace_regs& regs, const void* from) noexcept {
    constexpr location at = result_location(classify_result<T>());
    if constexpr (at.lo == place::unknown) {
        skip_body_located(regs, table_result_location<T>(true), from, sizeof(T));
    } else if constexpr (at.lo == place::integer && at.hi != place::vector) {
        store_at<at, sizeof(T)>(regs, from);
        skip_body(regs);
    } else {
        skip_body_located(regs, at, from, sizeof(T));
    }
}

}  // namespace ftrace::inline v0::arch
