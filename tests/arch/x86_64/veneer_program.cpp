// Steps through veneers under the unwinder this program was built with, and says nothing if every backtrace on the way
// finds the caller. A list of ops is always called through a veneer; one of a jump is called as the function it leads to.
#include <signal.h>
#include <ucontext.h>
#include <unwind.h>
#include <x86intrin.h>

#include <cstdint>
#include <cstdio>
#include <ftrace/ftrace.hpp>

namespace {

constexpr unsigned most_steps = 4000;
std::uintptr_t steps[most_steps];
bool right[most_steps];
unsigned step_count;
volatile bool stepping;
std::uintptr_t site, caller;

void note(unsigned long ip, unsigned long parent_ip, ftrace::ftrace_ops&,
          ftrace::ftrace_regs&) noexcept {
    site = ip;
    caller = parent_ip;
}
void idle(unsigned long, unsigned long, ftrace::ftrace_ops&, ftrace::ftrace_regs&) noexcept {}

struct search {
    std::uintptr_t before = 0;
    bool found = false;
};
_Unwind_Reason_Code visit(_Unwind_Context* context, void* data) {
    auto& trace = *static_cast<search*>(data);
    const std::uintptr_t ip = ::_Unwind_GetIP(context);
    if (trace.before == site + 5 && ip == caller) trace.found = true;
    trace.before = ip;
    return _URC_NO_REASON;
}

void on_step(int, siginfo_t*, void* context) {
    auto& registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
    if (!stepping) {
        registers[REG_EFL] &= ~0x100;
        return;
    }
    if (step_count == most_steps) return;
    search trace;
    ::_Unwind_Backtrace(visit, &trace);
    steps[step_count] = static_cast<std::uintptr_t>(registers[REG_RIP]);
    right[step_count++] = trace.found;
}

}  // namespace

__attribute__((noinline)) int veneered(int x) {
    __asm__ volatile("" : "+r"(x));
    return x + 1;
}

__attribute__((noinline)) int jumped_to(int x) {
    caller = reinterpret_cast<std::uintptr_t>(__builtin_return_address(0));
    return x + 1;
}

/// One call site, which the compiler does not copy.
__attribute__((noinline)) int calls(int (*function)(int)) {
    step_count = 0;
    stepping = true;
    __writeeflags(__readeflags() | 0x100);
    int result = function(1);
    __asm__ volatile("" : "+r"(result));
    stepping = false;
    return result;
}

/// Calls `function`, and whether every backtrace in the `wanted` instructions of veneers was right.
bool backtraces_are_right(int (*function)(int), unsigned wanted) {
    // The first call finds the site and its caller.
    unsigned in_veneer = 0, wrong = 0;
    if (calls(function) != 2 || calls(function) != 2) return false;
    for (unsigned i = 0; i < step_count; ++i) {
        if (ftrace::symbol_of(steps[i]).name != ftrace::detail::hex(steps[i])) continue;
        ++in_veneer;
        wrong += !right[i];
    }
    if (in_veneer == wanted && wrong == 0) return true;
    std::printf("%u steps in the veneer, expected %u; %u wrong\n", in_veneer, wanted, wrong);
    return false;
}

int main() {
    struct sigaction action{};
    action.sa_sigaction = on_step;
    action.sa_flags = SA_SIGINFO;
    ::sigaction(SIGTRAP, &action, nullptr);
    ftrace::ops<note> first;
    ftrace::ops<idle> second;
    if (!first.set_filter("veneered") || !second.set_filter("veneered")) return 1;
    auto one = ftrace::register_ftrace_function(first);
    auto two = ftrace::register_ftrace_function(second);
    if (!one || !two) return 2;

    if (!backtraces_are_right(veneered, 2)) return 3;

    ftrace::detail::veneer_pool jumps(ftrace::arch::veneer_kind::jump);
    const auto near = reinterpret_cast<std::uintptr_t>(&jumped_to);
    const auto veneer = jumps.get(near, near, nullptr, reinterpret_cast<const void*>(&jumped_to));
    if (!veneer) return 4;
    site = *veneer - ftrace::arch::site_size;
    return backtraces_are_right(reinterpret_cast<int (*)(int)>(*veneer), 1) ? 0 : 5;
}
