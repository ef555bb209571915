// Functions that hook their own return: trampolines and shadow stacks without sites and patching.
#pragma once

#include <errno.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <ftrace/arch/cpu.hpp>
#include <ftrace/graph/hooks.hpp>
#include <ftrace/graph/unwinding.hpp>
#include <utility>
#include <vector>

namespace hand_hooked {

using namespace ftrace;

/// How wide the vector registers are that the return stub keeps; to be changed before the first state().
inline arch::vector_width stub_width = arch::widest_vector_register();

/// The process's graph, made once.
inline detail::graph_state& state() {
    static detail::graph_state* const made = [] {
        auto graph = detail::make_graph(
            *detail::process(),
            {arch::return_stub_for<detail::graph_return>(stub_width),
             detail::trampoline_personality::address(), &detail::graph_thread::ended});
        if (!graph) std::abort();
        return graph.value();
    }();
    return *made;
}

/// An fgraph_ops in the table. Kept to the end of the process: hooked calls may outlive the test.
inline fgraph_ops& make_ops(fgraph_ops::entry_func entry, fgraph_ops::return_func ret,
                            void* data = nullptr) {
    static auto& kept = *new std::vector<fgraph_ops*>;
    auto* const ops = new fgraph_ops(entry, ret, data);
    kept.push_back(ops);
    detail::graph_access::ticket(*ops) = state().table.add(*ops);
    return *ops;
}
inline void remove_ops(fgraph_ops& ops) { state().table.remove(detail::graph_access::ticket(ops)); }

/// Hooks the return of the function whose return address lies at `slot`; for a second ops too, if
/// there is one, as where two are called for one site.
__attribute__((noinline)) inline void hook(fgraph_ops& ops, unsigned long func, void* slot,
                                           fgraph_ops* second = nullptr) {
    alignas(64) std::byte bytes[sizeof(ftrace_regs)]{};
    auto& regs = *reinterpret_cast<ftrace_regs*>(bytes);
    detail::thread_state& thread = *detail::this_thread();
    const std::uint64_t section = detail::section_of(thread);
    detail::enter_section(thread, section, detail::this_frame());
    detail::hook_call(ops, func, static_cast<std::uintptr_t*>(slot), regs);
    if (second != nullptr)
        detail::hook_call(*second, func, static_cast<std::uintptr_t*>(slot), regs);
    detail::leave_section(thread, section);
}

// What the callbacks of gops() saw.
struct seen {
    unsigned long func, retval, parent;
    int depth;
    graph_end end;
};
inline thread_local std::size_t entries, returns;
inline thread_local seen last_entry, last_return;
inline thread_local std::vector<int>* return_depths;

// Destroys every register that a callback may destroy, and uses all of the x87 stack.
__attribute__((noinline)) inline void destroy_registers() {
    __asm__ volatile(
        ".rept 8\n fldpi\n .endr\n"
        ".rept 8\n fstp %%st(0)\n .endr\n" ::
            : "st", "st(1)", "st(2)", "st(3)", "st(4)", "st(5)", "st(6)", "st(7)");
    __asm__ volatile(
        "xor %%eax, %%eax\n not %%rax\n mov %%rax, %%rcx\n mov %%rax, %%rdx\n mov %%rax, %%rsi\n"
        "mov %%rax, %%rdi\n mov %%rax, %%r8\n mov %%rax, %%r9\n mov %%rax, %%r10\n"
        "mov %%rax, %%r11\n pcmpeqd %%xmm0, %%xmm0\n pcmpeqd %%xmm1, %%xmm1\n"
        "pcmpeqd %%xmm2, %%xmm2\n" ::
            : "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "xmm0", "xmm1", "xmm2",
              "cc");
    static const bool wide = arch::widest_vector_register() != arch::vector_width::xmm;
    if (wide)
        __asm__ volatile(
            "vxorps %%ymm0, %%ymm0, %%ymm0\n vcmpps $15, %%ymm0, %%ymm0, %%ymm1\n"
            "vmovaps %%ymm1, %%ymm0\n" ::
                : "xmm0", "xmm1");
}

inline bool on_entry(const ftrace_graph_ent& call, fgraph_ops&, ftrace_regs&) noexcept {
    ++entries;
    last_entry = {call.func, 0, call.parent_ip, call.depth, graph_end::returned};
    return true;
}
inline void on_return(const ftrace_graph_ret& call, fgraph_ops&, ftrace_regs&) noexcept {
    ++returns;
    last_return = {call.func, call.retval, 0, call.depth, call.end};
    if (return_depths != nullptr) return_depths->push_back(call.depth);
    errno = 77;
    destroy_registers();
}

inline fgraph_ops& gops() {
    static fgraph_ops& made = make_ops(on_entry, on_return);
    return made;
}

struct counts {
    std::size_t e = entries, r = returns;
    std::size_t new_entries() const { return entries - e; }
    std::size_t new_returns() const { return returns - r; }
};

inline std::uint64_t unreturned() {
    std::uint64_t sum = 0;
    state().for_each([&](detail::shadow_stack& stack) { sum += stack.unreturned(); });
    return sum;
}
inline std::uint64_t overruns() {
    std::uint64_t sum = state().unhooked;
    state().for_each([&](detail::shadow_stack& stack) { sum += stack.overruns(); });
    return sum;
}

}  // namespace hand_hooked

#define HOOKED __attribute__((noinline))

/// Hides which function is called, so that the compiler does not work out its result.
template <class Function>
__attribute__((always_inline)) inline Function* opaque(Function* function) {
    __asm__ volatile("" : "+r"(function));
    return function;
}

/// In a function: hooks its return. The slot is just above the saved frame pointer, which
/// __builtin_frame_address makes the compiler keep.
#define HOOK_RETURN(ops, func) \
    hand_hooked::hook(ops, func, static_cast<void**>(__builtin_frame_address(0)) + 1)
