// Single registers by name, as far as the save policy has them.
#pragma once

#include <ftrace/arch/registers.hpp>
#include <ftrace/core/config.hpp>

namespace ftrace::inline v0 {

/// The registers of pt_regs, for regs_get_register.
enum class reg : std::uint8_t {
    r15,
    r14,
    r13,
    r12,
    bp,
    bx,
    r11,
    r10,
    r9,
    r8,
    ax,
    cx,
    dx,
    si,
    di,
    orig_ax,
    ip,
    cs,
    flags,
    sp,
    ss
};

namespace arch {

inline constexpr std::uint64_t pt_regs::* named_registers[] = {
    &pt_regs::r15,   &pt_regs::r14, &pt_regs::r13, &pt_regs::r12,     &pt_regs::bp, &pt_regs::bx,
    &pt_regs::r11,   &pt_regs::r10, &pt_regs::r9,  &pt_regs::r8,      &pt_regs::ax, &pt_regs::cx,
    &pt_regs::dx,    &pt_regs::si,  &pt_regs::di,  &pt_regs::orig_ax, &pt_regs::ip, &pt_regs::cs,
    &pt_regs::flags, &pt_regs::sp,  &pt_regs::ss};
static_assert(named_registers[int(reg::ss)] == &pt_regs::ss &&
              named_registers[int(reg::di)] == &pt_regs::di);

/// Fails to compile where `Register` is saved by SAVE_REGS only, naming it.
template <reg Register>
FTRACE_NOTRACE consteval bool saved_by_args() {
#define FTRACE_FULL_ONLY(name, text) \
    static_assert(                   \
        Register != reg::name,       \
        "ftrace: " text              \
        " is saved by SAVE_REGS only: take full_regs& and register the ops with SAVE_REGS")
    FTRACE_FULL_ONLY(bx, "rbx");
    FTRACE_FULL_ONLY(r12, "r12");
    FTRACE_FULL_ONLY(r13, "r13");
    FTRACE_FULL_ONLY(r14, "r14");
    FTRACE_FULL_ONLY(r15, "r15");
    FTRACE_FULL_ONLY(orig_ax, "orig_ax");
    FTRACE_FULL_ONLY(cs, "cs");
    FTRACE_FULL_ONLY(ss, "ss");
    FTRACE_FULL_ONLY(flags, "rflags");
#undef FTRACE_FULL_ONLY
    return true;
}

FTRACE_STUB_INLINE unsigned long instruction_pointer(const ftrace_regs& regs) noexcept {
    const saved_registers& saved = arch_access::saved(regs);
    return (saved.full | saved.moved) != 0 ? saved.gpr.ip : saved.return_address;
}
FTRACE_STUB_INLINE void set_instruction_pointer(ftrace_regs& regs, unsigned long ip) noexcept {
    arch_access::saved(regs).gpr.ip = ip;
    arch_access::saved(regs).moved = 1;
}
/// Whether a callback has sent the call elsewhere than to the function's body.
FTRACE_STUB_INLINE bool is_redirected(const ftrace_regs& regs) noexcept {
    return instruction_pointer(regs) != arch_access::saved(regs).return_address;
}
FTRACE_STUB_INLINE unsigned long stack_pointer(const ftrace_regs& regs) noexcept {
    return arch_access::stack_pointer(regs);
}

/// Where the register is: the frame pointer in its slot of the stub's frame, where there is no
/// full set.
template <reg Register>
FTRACE_STUB_INLINE std::uint64_t& named_register(ftrace_regs& regs) noexcept {
    saved_registers& saved = arch_access::saved(regs);
    if constexpr (Register == reg::bp)
        if (saved.full == 0) return saved.bp;
    return saved.gpr.*named_registers[int(Register)];
}
template <reg Register>
FTRACE_STUB_INLINE unsigned long read_register(const ftrace_regs& regs) noexcept {
    if constexpr (Register == reg::sp) return stack_pointer(regs);
    if constexpr (Register == reg::ip) return instruction_pointer(regs);
    return named_register<Register>(
        const_cast<ftrace_regs&>(regs));  // nothing is written through it
}
template <reg Register>
FTRACE_STUB_INLINE void write_register(ftrace_regs& regs, unsigned long value) noexcept {
    if constexpr (Register == reg::ip)
        set_instruction_pointer(regs, value);
    else
        named_register<Register>(regs) = value;
}

FTRACE_STUB_INLINE unsigned long frame_pointer(const ftrace_regs& regs) noexcept {
    return read_register<reg::bp>(regs);
}
/// On entry to a function the stack pointer points to its return address (psABI 3.2.2).
FTRACE_STUB_INLINE unsigned long return_address(const ftrace_regs& regs) noexcept {
    return *reinterpret_cast<const unsigned long*>(stack_pointer(regs));
}
FTRACE_STUB_INLINE unsigned long result_word(const ftrace_regs& regs) noexcept {
    return arch_access::saved(regs).gpr.ax;
}
FTRACE_STUB_INLINE void set_result_word(ftrace_regs& regs, unsigned long value) noexcept {
    arch_access::saved(regs).gpr.ax = value;
}

/// The full set, or nullptr.
FTRACE_STUB_INLINE pt_regs* full_set(ftrace_regs& regs) noexcept {
    saved_registers& saved = arch_access::saved(regs);
    return saved.full != 0 ? &saved.gpr : nullptr;
}

}  // namespace arch
}  // namespace ftrace::inline v0
