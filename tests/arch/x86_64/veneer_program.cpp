// Steps through veneers under the unwinder this program was built with, and says nothing if every backtrace on the way
// finds the caller. A list of ops is always called through a veneer; one of a jump is called as the function it leads to.
#include <signal.h>
#include <sys/auxv.h>
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
std::uintptr_t own_frame = 1;  // so many bytes from site + 5 on are the frame that `caller` called

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
    if (trace.before - (site + 5) < own_frame && ip == caller) trace.found = true;
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

/// Where a veneer of a call leads in place of a stub.
__attribute__((naked)) FTRACE_NOTRACE void drops_context() {
    __asm__(
        "leaq 8(%%rsp), %%rsp\n"
        "jmp %P0" ::"X"(&jumped_to));
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

/// The program's own veneers, or a page of them.
struct veneer_range {
    std::uintptr_t begin, end;
};

/// Calls `function`, and whether every backtrace in the `wanted` instructions of veneers was right; or wrong, and
/// nothing else was.
bool backtraces_are(bool wanted_right, int (*function)(int), unsigned wanted,
                    const veneer_range& veneers) {
    // The first call finds the site and its caller.
    unsigned in_veneer = 0, wrong = 0;
    if (calls(function) != 2 || calls(function) != 2) return false;
    for (unsigned i = 0; i < step_count; ++i) {
        if (steps[i] < veneers.begin || steps[i] >= veneers.end) continue;
        ++in_veneer;
        wrong += !right[i];
    }
    if (in_veneer == wanted && wrong == (wanted_right ? 0 : wanted)) return true;
    std::printf("%u steps in the veneer, expected %u; %u wrong\n", in_veneer, wanted, wrong);
    return false;
}

/// Whether this is a static program, which no loader was loaded for.
bool is_static() { return ::getauxval(AT_BASE) == 0; }

/// LLVM's unwinder, if it is this program's.
extern "C" void __unw_add_dynamic_fde(unsigned long) __attribute__((weak));

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

    using namespace ftrace;
    const arch::object_veneers& own_calls = arch::own_call_veneers;
    const veneer_range own{own_calls.begin(),
                           own_calls.begin() + own_calls.count * sizeof(arch::veneer_code)};
    if (!backtraces_are(true, veneered, 2, own)) return 3;

    // Every one of the program's own, called as a function; and one of each kind in a page, which unwinders are told of
    // where that does no harm.
    const auto near = reinterpret_cast<std::uintptr_t>(&jumped_to);
    const auto check = [&](detail::veneer_pool& pool, const void* context, const void* target,
                           unsigned instructions, bool is_right) {
        const auto veneer = pool.get(near, near, context, target);
        if (!veneer) return false;
        site = *veneer - arch::site_size;
        own_frame = sizeof(arch::veneer_code);
        return backtraces_are(is_right, reinterpret_cast<int (*)(int)>(*veneer), instructions,
                              {*veneer, *veneer + own_frame});
    };
    const auto* const by_call = reinterpret_cast<const void*>(&drops_context);
    const auto* const by_jump = reinterpret_cast<const void*>(&jumped_to);
    detail::veneer_pool call_pool(arch::veneer_kind::call, &own_calls);
    while (*own_calls.taken < own_calls.count)
        if (!check(call_pool, &steps[*own_calls.taken], by_call, 2, true)) return 4;
    const arch::object_veneers& own_jumps = arch::own_jump_veneers;
    detail::veneer_pool jump_pool(arch::veneer_kind::jump, &own_jumps);
    while (*own_jumps.taken < own_jumps.count)
        if (!check(jump_pool, &steps[*own_jumps.taken], by_jump, 1, true)) return 5;
    const bool is_told = is_static() || __unw_add_dynamic_fde != nullptr;
    detail::veneer_pool calls_in_pages, jumps_in_pages(arch::veneer_kind::jump);
    if (!check(calls_in_pages, nullptr, by_call, 2, is_told)) return 6;
    return check(jumps_in_pages, nullptr, by_jump, 1, is_told) ? 0 : 7;
}
