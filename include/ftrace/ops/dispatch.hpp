// The C++ side of the stubs: from registers on the stack to callbacks. All of it runs inside traced
// programs: no locks, no memory, no exceptions, no functions that could be traced themselves.
#pragma once

#include <cstddef>
#include <cstdint>
#include <ftrace/arch/abi_registers.hpp>
#include <ftrace/args/regs_views.hpp>
#include <ftrace/core/sanitizer.hpp>
#include <ftrace/core/thread_state.hpp>
#include <ftrace/ops/ftrace_ops.hpp>
#include <type_traits>

namespace ftrace::inline v0::detail {

/// The parts of an ops that the library's other files use.
struct ops_access {
    FTRACE_STUB_INLINE static ftrace_func_t func(const ftrace_ops& op) noexcept { return op.func_; }
    FTRACE_STUB_INLINE static unsigned flags(const ftrace_ops& op) noexcept { return op.flags_; }
    FTRACE_STUB_INLINE static save_policy policy(const ftrace_ops& op) noexcept {
        return op.policy_;
    }
    FTRACE_NOTRACE static const own_stubs* own(const ftrace_ops& op) noexcept { return op.own_; }
    FTRACE_NOTRACE static const static_set*& set(ftrace_ops& op) noexcept { return op.set_; }
    FTRACE_NOTRACE static unsigned& set_index(ftrace_ops& op) noexcept { return op.set_index_; }
    FTRACE_NOTRACE static const void*& direct(ftrace_ops& op) noexcept { return op.direct_; }
    FTRACE_NOTRACE static const void* direct(const ftrace_ops& op) noexcept { return op.direct_; }
    FTRACE_NOTRACE static ops_state*& state(ftrace_ops& op) noexcept { return op.state_; }
    FTRACE_NOTRACE static const ops_state* state(const ftrace_ops& op) noexcept {
        return op.state_;
    }
};

/// What a site with several ops calls: all of them, in this order, which is that of their
/// registration. An entry is cleared when its ops is unregistered; the list itself stays for ever,
/// since a thread may be on its way to it.
struct ops_list {
    std::size_t count;
    const void* direct;  ///< where the call goes on, unless a callback sends it elsewhere; or null
    FTRACE_STUB_INLINE ftrace_ops** entries() noexcept {
        return reinterpret_cast<ftrace_ops**>(this + 1);
    }
};

/// acquire: pairs with the release that published the ops.
[[nodiscard]] FTRACE_STUB_INLINE ftrace_ops* load_entry(ftrace_ops* const* entry) noexcept {
    return __atomic_load_n(entry, __ATOMIC_ACQUIRE);
}

/// The type of registers a policy gives its callbacks.
template <save_policy Policy>
using regs_of =
    std::conditional_t<Policy == SAVE_REGS, full_regs,
                       std::conditional_t<Policy == ARGS_INTEGER, integer_regs, args_regs>>;

template <auto Callback, class Regs>
inline constexpr bool accepts =
    std::is_invocable_v<decltype(Callback), unsigned long, unsigned long, ftrace_ops&, Regs&>;

/// Around a callback whose stub saved vector registers: for ThreadSanitizer, else nothing. The
/// first pairs with the publication of the ops, the second with synchronize_callbacks().
FTRACE_STUB_INLINE void order_begin_of_callback(ftrace_ops& op) noexcept { sanitizer_acquire(&op); }
FTRACE_STUB_INLINE void order_end_of_callback() noexcept {
    sanitizer_release(&current_thread->section);
}

/// Calls `Callback` with the registers as its policy's type; one written for args_regs serves
/// SAVE_REGS too.
template <auto Callback, save_policy Policy>
FTRACE_STUB_INLINE void call(unsigned long ip, unsigned long parent_ip, ftrace_ops& op,
                             ftrace_regs& regs) noexcept {
    if constexpr (Policy != ARGS_INTEGER) order_begin_of_callback(op);
    if constexpr (accepts<Callback, regs_of<Policy>>)
        Callback(ip, parent_ip, op, static_cast<regs_of<Policy>&>(regs));
    else
        Callback(ip, parent_ip, op, static_cast<args_regs&>(regs));
    if constexpr (Policy != ARGS_INTEGER) order_end_of_callback();
}

/// The same as a function of the common type, for lists.
template <auto Callback, save_policy Policy>
FTRACE_NO_INSTRUMENTATION void erased(unsigned long ip, unsigned long parent_ip, ftrace_ops& op,
                                      ftrace_regs& regs) noexcept {
    call<Callback, Policy>(ip, parent_ip, op, regs);
}

/// What stubs call.
template <class Context>
using stub_callee = void (*)(unsigned long, unsigned long, Context, ftrace_regs&) noexcept;

/// The thread's section word, or an odd number if it has no slot yet.
[[nodiscard]] FTRACE_STUB_INLINE std::uint64_t section_or_none(
    const thread_state* thread) noexcept {
    return __builtin_expect(thread != nullptr, 1) ? section_of(*thread) : 1;
}

/// What a stub calls on a thread that has no slot yet, or is inside a section. Calls the stub's C++
/// side again, once the thread has a slot, or the section proved to be left; else `nested`, its C++
/// side inside sections. A function of its own, so that the others need no frame. Without a slot
/// nothing is called.
template <class Context>
FTRACE_LOCAL FTRACE_NO_INSTRUMENTATION FTRACE_GENERAL_REGS_ONLY __attribute__((noinline)) void
claim_or_nest(unsigned long ip, unsigned long parent_ip, Context context, ftrace_regs& regs,
              stub_callee<Context> callee, stub_callee<Context> nested) noexcept {
    thread_state* const thread = this_thread();
    if (thread == nullptr) return;
    const std::uint64_t section = section_at(*thread, arch::stack_pointer(regs));
    (is_inside(section) ? nested : callee)(ip, parent_ip, context, regs);
}

/// Begins a stub's section. It is below the stack pointer of the call, with which claim_or_nest()
/// compares it: so a section that was left is found by the next call from the same function.
FTRACE_STUB_INLINE void enter_stub_section(thread_state& thread, std::uint64_t outside,
                                           const ftrace_regs& regs) noexcept {
    enter_section(thread, outside, reinterpret_cast<std::uintptr_t>(&regs));
}

/// One ops with a callback known while compiling: what its own stub calls.
template <auto Callback, save_policy Policy>
FTRACE_STUB_INLINE void run_one(unsigned long ip, unsigned long parent_ip, ftrace_ops* const* entry,
                                ftrace_regs& regs, thread_state& thread) noexcept {
    ftrace_ops* const op = load_entry(entry);
    if (__builtin_expect(op == nullptr, 0)) return;
    const int saved = *thread.program_errno;
    call<Callback, Policy>(ip, parent_ip, *op, regs);
    *thread.program_errno = saved;
}
/// The same inside a section.
template <auto Callback, save_policy Policy, unsigned Flags>
FTRACE_STUB_INLINE void run_one_nested(unsigned long ip, unsigned long parent_ip,
                                       ftrace_ops* const* entry, ftrace_regs& regs) noexcept {
    thread_state& thread = *current_thread;
    if constexpr ((Flags & FTRACE_OPS_FL_RECURSION) != 0)
        ++thread.missed;
    else
        run_one<Callback, Policy>(ip, parent_ip, entry, regs, thread);
}

/// A callback known at run time.
FTRACE_STUB_INLINE void call_listed(unsigned long ip, unsigned long parent_ip, ftrace_ops& op,
                                    ftrace_regs& regs) noexcept {
    const bool ordered = thread_sanitizer && ops_access::policy(op) != ARGS_INTEGER;
    if (ordered) order_begin_of_callback(op);
    ops_access::func(op)(ip, parent_ip, op, regs);
    if (ordered) order_end_of_callback();
}

/// Any number of ops with callbacks known at run time.
template <bool Outermost>
FTRACE_STUB_INLINE void run_list(unsigned long ip, unsigned long parent_ip, ops_list& list,
                                 ftrace_regs& regs, thread_state& thread) noexcept {
    const int saved = *thread.program_errno;
    for (std::size_t i = 0; i < list.count; ++i) {
        ftrace_ops* const op = load_entry(list.entries() + i);
        if (op == nullptr) continue;
        if (!Outermost && (ops_access::flags(*op) & FTRACE_OPS_FL_RECURSION) != 0)
            ++thread.missed;
        else
            call_listed(ip, parent_ip, *op, regs);
    }
    *thread.program_errno = saved;
}
/// Where the call goes on, behind all of them.
FTRACE_STUB_INLINE void go_to_direct(const ops_list& list, ftrace_regs& regs) noexcept {
    const void* const direct = __atomic_load_n(&list.direct, __ATOMIC_RELAXED);
    if (direct != nullptr && !arch::is_redirected(regs))
        arch::set_instruction_pointer(regs, reinterpret_cast<unsigned long>(direct));
}

}  // namespace ftrace::inline v0::detail
