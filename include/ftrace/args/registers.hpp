// What every traced call has, whatever its signature: where it is, where it came from,
// its registers.
#pragma once

#include <ftrace/arch/abi_registers.hpp>
#include <ftrace/args/regs_views.hpp>
#include <ftrace/core/config.hpp>

#include <type_traits>

namespace ftrace::inline v0 {

/// In an entry callback: where the function goes on behind its site. In an exit callback: where it
/// returns to.
[[nodiscard]] FTRACE_STUB_INLINE unsigned long regs_get_instruction_pointer(
    const ftrace_regs& regs) noexcept {
    return arch::instruction_pointer(regs);
}

/// Makes the traced call go on at `address` instead, with the arguments as they are then: another
/// function's entry redirects the call (the kernel's livepatch). Works under every policy, in entry
/// callbacks. The last callback that sets it decides; FTRACE_OPS_FL_IPMODIFY declares it.
FTRACE_STUB_INLINE void regs_set_instruction_pointer(ftrace_regs& regs,
                                                     unsigned long address) noexcept {
    arch::set_instruction_pointer(regs, address);
}
/// The same for a function. A traced one is entered through its site, so its own callbacks run too.
template <typename Function>
    requires std::is_function_v<Function>
FTRACE_STUB_INLINE void regs_set_instruction_pointer(ftrace_regs& regs,
                                                     Function* function) noexcept {
    arch::set_instruction_pointer(regs, reinterpret_cast<unsigned long>(function));
}

/// The stack pointer at the entry of the function: it points to the return address.
[[nodiscard]] FTRACE_STUB_INLINE unsigned long regs_get_stack_pointer(
    const ftrace_regs& regs) noexcept {
    return arch::stack_pointer(regs);
}
/// The caller's frame pointer; a frame pointer only if the program keeps them.
[[nodiscard]] FTRACE_STUB_INLINE unsigned long regs_get_frame_pointer(
    const ftrace_regs& regs) noexcept {
    return arch::frame_pointer(regs);
}
/// The return address of the traced function. In entry callbacks only.
[[nodiscard]] FTRACE_STUB_INLINE unsigned long regs_get_return_address(
    const ftrace_regs& regs) noexcept {
    return arch::return_address(regs);
}

/// The full register set, or nullptr: all or nothing (the kernel's ftrace_get_regs). Whoever
/// registers with SAVE_REGS never gets nullptr; under another policy it may be there because
/// another ops on the site asked for it.
[[nodiscard]] FTRACE_STUB_INLINE pt_regs* get_regs(ftrace_regs& regs) noexcept {
    return arch::full_set(regs);
}
/// In a callback that takes full_regs& the set is there by type.
[[nodiscard]] FTRACE_STUB_INLINE pt_regs& get_regs(full_regs& regs) noexcept {
    return *arch::full_set(regs);
}

namespace detail {

template <reg Register, typename Regs>
FTRACE_NOTRACE consteval bool readable() {
    if constexpr (std::is_same_v<std::remove_const_t<Regs>, full_regs>)
        return true;
    else
        return arch::saved_by_args<Register>();
}

}  // namespace detail

/// One register. Of a full_regs each; of the others those that ARGS saves, and naming another does
/// not compile.
template <reg Register, typename Regs>
    requires std::is_base_of_v<ftrace_regs, Regs>
[[nodiscard]] FTRACE_STUB_INLINE unsigned long regs_get_register(const Regs& regs) noexcept {
    static_assert(detail::readable<Register, Regs>());
    return arch::read_register<Register>(regs);
}
/// Sets what the program finds in the register after the callbacks. A new stack pointer is
/// not honoured.
template <reg Register, typename Regs>
    requires std::is_base_of_v<ftrace_regs, Regs>
FTRACE_STUB_INLINE void regs_set_register(Regs& regs, unsigned long value) noexcept {
    static_assert(detail::readable<Register, Regs>());
    arch::write_register<Register>(regs, value);
}

}  // namespace ftrace::inline v0
