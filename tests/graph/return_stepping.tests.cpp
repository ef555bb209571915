#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <unwind.h>
#include <x86intrin.h>

#include <catch2/catch_test_macros.hpp>

#include "hand_hooked.hpp"

using namespace hand_hooked;

namespace {

// What an unwinder sees from a signal at each single instruction of a hooked call.
struct findings {
    std::uintptr_t caller;     // in the function that called the hooked one
    std::uintptr_t outermost;  // where a backtrace ends
    std::uintptr_t stub;
    unsigned steps, in_trampoline, in_stub, wrong;
    std::uintptr_t wrong_at;
    int result, returned;
    bool throws;  // of an exception's way only what is in trampolines counts
    bool left;    // back in the caller
};
/// Shared with child processes, each of which has a return stub of its own.
findings& stepping = *static_cast<findings*>(
    ::mmap(nullptr, sizeof(findings), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));

int stepped(fgraph_ops& by);
int stepped_throw(fgraph_ops& by);

enum class frame { other, function, trampoline };
struct backtrace {
    std::uintptr_t last = 0;
    frame before = frame::other;
    bool right = false, wrong = false;
    unsigned frames = 0;
};

/// Behind the hooked function may stand its two trampolines; behind them the caller.
// Not instrumented: a sanitizer's runtime is not made to be entered between any two instructions.
FTRACE_NO_INSTRUMENTATION _Unwind_Reason_Code visit(_Unwind_Context* context, void* data) {
    auto& trace = *static_cast<backtrace*>(data);
    trace.last = ::_Unwind_GetIP(context);
    frame now = frame::other;
    if (detail::shared_graph()->blocks.contains(trace.last))
        now = frame::trampoline;
    else if (::_Unwind_GetRegionStart(context) == reinterpret_cast<std::uintptr_t>(&stepped) ||
             ::_Unwind_GetRegionStart(context) == reinterpret_cast<std::uintptr_t>(&stepped_throw))
        now = frame::function;
    if (trace.before != frame::other && now != frame::trampoline) {
        // From a trampoline the unwinder comes one byte in front of it: see return_unwind.hpp.
        const bool caller = trace.last == stepping.caller || trace.last + 1 == stepping.caller;
        (caller ? trace.right : trace.wrong) = true;
    }
    trace.before = now;
    return ++trace.frames < 200 ? _URC_NO_REASON : _URC_NORMAL_STOP;
}

FTRACE_NO_INSTRUMENTATION void on_step(int, siginfo_t*, void* context) {
    const auto at = static_cast<std::uintptr_t>(
        static_cast<const ucontext_t*>(context)->uc_mcontext.gregs[REG_RIP]);
    if (at == stepping.caller) stepping.left = true;
    if (stepping.left) return;  // what switches the flag off has no exact unwind table
    ++stepping.steps;
    const bool in_trampoline = detail::shared_graph()->blocks.contains(at);
    if (in_trampoline) ++stepping.in_trampoline;
    if (stepping.throws && !in_trampoline) return;
    if (at - stepping.stub < 256) ++stepping.in_stub;
    backtrace trace;
    ::_Unwind_Backtrace(visit, &trace);
    if (trace.right && !trace.wrong && trace.last == stepping.outermost) return;
    if (stepping.wrong++ == 0) stepping.wrong_at = at;
}

FTRACE_NO_INSTRUMENTATION HOOKED void step(bool on) {
    constexpr unsigned long long trap = 0x100;
    __writeeflags(on ? __readeflags() | trap : __readeflags() & ~trap);
}

FTRACE_NO_INSTRUMENTATION void on_stepped_return(const ftrace_graph_ret&, fgraph_ops&,
                                                 ftrace_regs&) noexcept {
    ++stepping.returned;
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

// Two trampolines behind each other: for the unwinder the second has the stack pointer of the
// first, and of the caller with the handler, so that the exception lands in it (docs/return-hooks.md).
FTRACE_NO_INSTRUMENTATION HOOKED int stepped_throw(fgraph_ops& by) {
    stepping.caller = reinterpret_cast<std::uintptr_t>(__builtin_return_address(0));
    __asm__ volatile("" : : : "memory");
    HOOK_RETURN(by, 1);
    HOOK_RETURN(by, 2);
    backtrace whole;
    ::_Unwind_Backtrace(visit, &whole);
    stepping.outermost = whole.last;
    stepping.throws = true;
    step(true);
    throw 7;
}
FTRACE_NO_INSTRUMENTATION HOOKED int steps_through_throw(fgraph_ops& by) {
    int result = 0;
    try {
        result = opaque(stepped_throw)(by);
    } catch (int thrown) {
        result = thrown;
    }
    step(false);
    return result;
}

/// With the return stub for vector registers of `width`, in a process of its own.
void step_with(arch::vector_width width, int (*steps)(fgraph_ops&)) {
    stub_width = width;
    fgraph_ops& by = make_ops(nullptr, on_stepped_return);
    struct sigaction action{};
    action.sa_sigaction = on_step;
    action.sa_flags = SA_SIGINFO;
    if (::sigaction(SIGTRAP, &action, nullptr) != 0) return;
    steps(by);  // once for what is done only once
    stepping = {};
    stepping.stub = arch::return_stub_for<detail::graph_return>(width);
    stepping.result = steps(by);
}

/// The child's exit status.
int step_in_child(arch::vector_width width, int (*steps)(fgraph_ops&)) {
    stepping = {};
    const pid_t child = ::fork();
    if (child == 0) {
        step_with(width, steps);
        ::_exit(0);
    }
    int status = -1;
    return ::waitpid(child, &status, 0) == child ? status : -1;
}

}  // namespace

TEST_CASE("return trampoline: unwinding is right at every instruction, at every vector width",
          "[graph]") {
    REQUIRE(static_cast<void*>(&stepping) != MAP_FAILED);
    using enum arch::vector_width;
    for (const arch::vector_width width : {xmm, ymm, zmm}) {
        if (width > arch::widest_vector_register()) continue;
        const int status = step_in_child(width, steps_through);
        CAPTURE(static_cast<unsigned>(width), stepping.steps);
        INFO("first wrong at " << detail::hex(stepping.wrong_at) << ", in a stub at "
                               << detail::hex(stepping.stub));
        CHECK(status == 0);
        CHECK(stepping.result == 7);
        CHECK(stepping.returned == 2);
        CHECK(stepping.left);
        CHECK(stepping.in_trampoline == 2 * 4);
        CHECK(stepping.in_stub > 40);
        CHECK(stepping.wrong == 0);
    }
}

TEST_CASE("return trampoline: unwinding is right at every instruction of the landing pad",
          "[graph]") {
    REQUIRE(static_cast<void*>(&stepping) != MAP_FAILED);
    const int status = step_in_child(arch::vector_width::xmm, steps_through_throw);
    CAPTURE(stepping.steps);
    INFO("first wrong at " << detail::hex(stepping.wrong_at));
    CHECK(status == 0);
    CHECK(stepping.result == 7);
    CHECK(stepping.returned == 2);
    CHECK(stepping.in_trampoline == 4);
    CHECK(stepping.wrong == 0);
}
