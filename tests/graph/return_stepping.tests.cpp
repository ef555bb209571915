#include <signal.h>
#include <unwind.h>
#include <x86intrin.h>

#include <catch2/catch_all.hpp>

#include "hand_hooked.hpp"

using namespace hand_hooked;

namespace {

// What an unwinder sees from a signal at each single instruction of a hooked call.
struct {
    std::uintptr_t caller;     // in the function that called the hooked one
    std::uintptr_t outermost;  // where a backtrace ends
    unsigned steps, in_trampoline, in_stub, wrong;
    std::uintptr_t wrong_at;
    bool left;  // back in the caller
} stepping;

struct backtrace {
    std::uintptr_t last = 0;
    bool found = false;
    unsigned frames = 0;
};

// Not instrumented: a sanitizer's runtime is not made to be entered between any two instructions.
FTRACE_NO_INSTRUMENTATION _Unwind_Reason_Code visit(_Unwind_Context* context, void* data) {
    auto& trace = *static_cast<backtrace*>(data);
    trace.last = ::_Unwind_GetIP(context);
    if (trace.last == stepping.caller || trace.last + 1 == stepping.caller) trace.found = true;
    return ++trace.frames < 200 ? _URC_NO_REASON : _URC_NORMAL_STOP;
}

FTRACE_NO_INSTRUMENTATION void on_step(int, siginfo_t*, void* context) {
    const auto at = static_cast<std::uintptr_t>(
        static_cast<const ucontext_t*>(context)->uc_mcontext.gregs[REG_RIP]);
    if (at == stepping.caller) stepping.left = true;
    if (stepping.left) return;  // what switches the flag off has no exact unwind table
    ++stepping.steps;
    const bool in_trampoline = detail::shared_graph()->regions.contains(at);
    if (in_trampoline) ++stepping.in_trampoline;
    const std::uintptr_t stub =
        arch::return_stub_for<detail::graph_return>(arch::widest_vector_register());
    if (at - stub < 64) ++stepping.in_stub;
    backtrace trace;
    ::_Unwind_Backtrace(visit, &trace);
    if (trace.found && trace.last == stepping.outermost) return;
    if (stepping.wrong++ == 0) stepping.wrong_at = at;
}

FTRACE_NO_INSTRUMENTATION HOOKED void step(bool on) {
    constexpr unsigned long long trap = 0x100;
    __writeeflags(on ? __readeflags() | trap : __readeflags() & ~trap);
}

int returned;
FTRACE_NO_INSTRUMENTATION void on_stepped_return(const ftrace_graph_ret&, fgraph_ops&,
                                                 ftrace_regs&) noexcept {
    ++returned;
}

FTRACE_NO_INSTRUMENTATION HOOKED int stepped(fgraph_ops& by) {
    stepping.caller = reinterpret_cast<std::uintptr_t>(__builtin_return_address(0));
    __asm__ volatile("" : : : "memory");
    HOOK_RETURN(by, 1);
    HOOK_RETURN(by, 2);  // as a call in the tail would
    backtrace whole;
    ::_Unwind_Backtrace(visit, &whole);
    stepping.outermost = whole.last;
    step(true);
    return 7;
}
FTRACE_NO_INSTRUMENTATION HOOKED int steps_through(fgraph_ops& by) {
    int result = opaque(stepped)(by);
    __asm__ volatile("" : "+r"(result));
    step(false);
    return result;
}

}  // namespace

TEST_CASE("return trampoline: unwinding is right at every instruction", "[graph]") {
    fgraph_ops& by = make_ops(nullptr, on_stepped_return);
    struct sigaction action{}, before;
    action.sa_sigaction = on_step;
    action.sa_flags = SA_SIGINFO;
    REQUIRE(::sigaction(SIGTRAP, &action, &before) == 0);
    steps_through(by);  // once for what is done only once
    stepping = {};
    const int result = steps_through(by);
    ::sigaction(SIGTRAP, &before, nullptr);

    CHECK(result == 7);
    CHECK(returned == 4);
    CHECK(stepping.left);
    CHECK(stepping.in_trampoline == 4);
    CHECK(stepping.in_stub > 10);
    INFO("first wrong at " << detail::hex(stepping.wrong_at) << " of " << stepping.steps);
    CHECK(stepping.wrong == 0);
}
