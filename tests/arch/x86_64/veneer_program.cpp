// Steps through a veneer under the unwinder this program was built with, and says nothing if every backtrace on the way
// finds the caller. A list of ops is always called through a veneer.
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

/// One call site, which the compiler does not copy.
__attribute__((noinline)) int calls_veneered() {
    step_count = 0;
    stepping = true;
    __writeeflags(__readeflags() | 0x100);
    int result = veneered(1);
    __asm__ volatile("" : "+r"(result));
    stepping = false;
    return result;
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

    // The first call finds the site and its caller.
    unsigned in_veneer = 0, wrong = 0;
    if (calls_veneered() != 2 || calls_veneered() != 2) return 3;
    for (unsigned i = 0; i < step_count; ++i) {
        if (ftrace::symbol_of(steps[i]).name != ftrace::detail::hex(steps[i])) continue;
        ++in_veneer;
        wrong += !right[i];
    }
    if (in_veneer == 2 && wrong == 0) return 0;
    std::printf("%u steps in the veneer, %u wrong\n", in_veneer, wrong);
    return 4;
}
