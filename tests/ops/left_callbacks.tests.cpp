// A signal handler that interrupts a callback, or the stub around it, and never returns there: the
// thread goes on elsewhere, and is traced again from where the call was made.
#include <setjmp.h>
#include <signal.h>
#include <ucontext.h>
#include <unistd.h>
#include <x86intrin.h>

#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <cstddef>
#include <ftrace/ftrace.hpp>
#include <ftrace/graph/fgraph.hpp>
#include <ftrace/probe/probe.hpp>
#include <thread>
#include <vector>

#include "../patch/program.hpp"
#include "sanitizers.hpp"

using namespace ftrace;

namespace program {

PROGRAM int helper() {
    TOUCH_MEMORY;
    return 3;
}
PROGRAM int outer() {
    TOUCH_MEMORY;
    return 1 + helper();
}

}  // namespace program

namespace {

sigjmp_buf back;
volatile int calls, nested_calls;
volatile bool raise_signal, call_helper;
volatile bool raise_nested;

void raising(unsigned long, unsigned long, ftrace_ops&, ftrace_regs&) noexcept {
    calls = calls + 1;
    if (call_helper) program::helper();
    if (raise_signal) ::raise(SIGUSR1);
}
FTRACE_GENERAL_REGS_ONLY void raising_integer(unsigned long, unsigned long, ftrace_ops&,
                                              integer_regs&) noexcept {
    calls = calls + 1;
    if (raise_signal) ::raise(SIGUSR1);
}
void nested(unsigned long, unsigned long, ftrace_ops&, ftrace_regs&) noexcept {
    nested_calls = nested_calls + 1;
    if (raise_nested) ::raise(SIGUSR1);
}

/// A siglongjmp to this callback, out of a handler that calls traced functions.
volatile int missed_inside;
void returned_to(unsigned long, unsigned long, ftrace_ops&, ftrace_regs&) noexcept {
    calls = calls + 1;
    const std::uint64_t before = detail::this_thread()->missed;
    if (::sigsetjmp(back, 1) == 0) ::raise(SIGUSR1);
    program::helper();
    if (detail::this_thread()->missed == before + 2) missed_inside = missed_inside + 1;
}
void call_and_leave(int) {
    program::helper();
    ::siglongjmp(back, 1);
}

int waits_for[2];
std::atomic<int> waits;
void waiting(unsigned long, unsigned long, ftrace_ops& op, ftrace_regs&) noexcept {
    waits = 1;
    char byte;
    if (::read(waits_for[0], &byte, 1) == 1) ++*static_cast<int*>(op.private_data);
}

void leave(int) { ::siglongjmp(back, 1); }

/// Installs a handler for as long as it lives.
class handled {
public:
    handled(int signal, void (*handler)(int), int flags = 0) : signal_(signal) {
        struct sigaction action = {};
        action.sa_handler = handler;
        action.sa_flags = flags;
        ::sigaction(signal, &action, &before_);
    }
    ~handled() { ::sigaction(signal_, &before_, nullptr); }
    handled(const handled&) = delete;
    handled& operator=(const handled&) = delete;

private:
    int signal_;
    struct sigaction before_ = {};
};

/// A signal stack of the thread for as long as it lives.
class signal_stack {
public:
    signal_stack(char* memory, std::size_t size) : memory_(memory), size_(size) {
        stack_t stack = {};
        stack.ss_sp = memory;
        stack.ss_size = size;
        ::sigaltstack(&stack, &before_);
    }
    ~signal_stack() { ::sigaltstack(&before_, nullptr); }
    signal_stack(const signal_stack&) = delete;
    signal_stack& operator=(const signal_stack&) = delete;
    bool contains(const void* address) const {
        return address >= memory_ && address < memory_ + size_;
    }

private:
    char* memory_;
    std::size_t size_;
    stack_t before_ = {};
};

registration must_register(ftrace_ops& op, const char* filter) {
    REQUIRE(op.set_filter(filter, true));
    auto handle = register_ftrace_function(op);
    if (!handle) FAIL(handle.error().message);
    calls = 0;
    nested_calls = 0;
    return std::move(*handle);
}

/// Whether `work` was left, to here.
template <class Work>
__attribute__((noinline)) bool leaves(Work work) {
    if (::sigsetjmp(back, 1) != 0) return true;
    work();
    return false;
}
/// Calls `first`, which is left, then `second` from the same frame.
__attribute__((noinline)) void leave_then(int (*first)(), int (*second)()) {
    if (::sigsetjmp(back, 1) == 0) {
        raise_signal = true;
        first();
    }
    raise_signal = false;
    second();
}
/// Calls helper(), whose callback is left.
__attribute__((noinline)) void leave_a_callback() {
    raise_signal = true;
    CHECK(leaves([] { program::helper(); }));
    raise_signal = false;
}
/// The same, from a frame of a few pages on the true stack.
FTRACE_NO_INSTRUMENTATION __attribute__((noinline)) void leave_a_callback_below() {
    char room[20000];
    __asm__ volatile("" : : "r"(room) : "memory");
    leave_a_callback();
    __asm__ volatile("" : : "r"(room) : "memory");
}

void check_traced_after_leaving() {
    calls = 0;
    for (int i = 1; i <= 3; ++i) {
        leave_a_callback();
        CHECK(calls == 2 * i - 1);
        program::helper();
        CHECK(calls == 2 * i);
    }
    // From the same place each time.
    calls = 0;
    volatile int round = 0;
    raise_signal = true;
    ::sigsetjmp(back, 1);
    round = round + 1;
    if (round <= 4) program::helper();
    raise_signal = false;
    CHECK(calls == 4);
}

void wait_for(std::atomic<int>& value, int wanted) {
    while (value != wanted) std::this_thread::yield();
}

}  // namespace

TEST_CASE("a callback that is left by siglongjmp is over", "[ops][left]") {
    const handled signal(SIGUSR1, leave);
    SECTION("ARGS") {
        ops<raising> op;
        const registration handle = must_register(op, "program::helper");
        check_traced_after_leaving();
    }
    SECTION("SAVE_REGS") {
        ops<raising, SAVE_REGS> op;
        const registration handle = must_register(op, "program::helper");
        check_traced_after_leaving();
    }
    SECTION("ARGS_INTEGER") {
        ops<raising_integer, ARGS_INTEGER> op;
        const registration handle = must_register(op, "program::helper");
        check_traced_after_leaving();
    }
    SECTION("not protected from recursion") {
        ops<raising, ARGS, 0> op;
        const registration handle = must_register(op, "program::helper");
        check_traced_after_leaving();
    }
    SECTION("in a list") {
        ftrace_ops first(raising), second(nested);
        const registration handle = must_register(first, "program::helper");
        const registration second_handle = must_register(second, "program::helper");
        check_traced_after_leaving();
        CHECK(nested_calls == 3);
    }
    SECTION("in a compiled registry") {
        static registry<ops<raising>, ops<nested>> compiled;
        const registration handle = must_register(compiled.get<0>(), "program::helper");
        const registration second_handle = must_register(compiled.get<1>(), "program::helper");
        check_traced_after_leaving();
        CHECK(nested_calls == 3);
    }
    SECTION("found by an ops of another kind") {
        ops<raising> op;
        ops<raising, SAVE_REGS> other;
        const registration handle = must_register(op, "program::helper");
        const registration other_handle = must_register(other, "program::outer");
        leave_then(program::helper, program::outer);
        CHECK(calls == 3);  // and helper() by outer()
        leave_then(program::outer, program::helper);
        CHECK(calls == 5);
    }
    CHECK_FALSE(detail::in_section(*detail::this_thread()));
}

TEST_CASE("handlers of probes that are left by siglongjmp are over", "[ops][left]") {
    const handled signal(SIGUSR1, leave);
    static volatile int entered, left;
    static volatile bool raise_on_leave;
    raise_on_leave = false;
    entered = 0;
    left = 0;
    auto probe = ftrace::probe<&program::helper>(
        [] {
            entered = entered + 1;
            if (raise_signal) ::raise(SIGUSR1);
        },
        [](int&) {
            left = left + 1;
            if (raise_on_leave) ::raise(SIGUSR1);
        });
    REQUIRE(probe);
    for (int i = 0; i < 3; ++i) {
        leave_a_callback();
        program::helper();
    }
    CHECK(entered == 6);
    CHECK(left == 3);
    raise_on_leave = true;
    for (int i = 0; i < 3; ++i) CHECK(leaves([] { program::helper(); }));
    raise_on_leave = false;
    CHECK(entered == 9);
    CHECK(left == 6);
    program::helper();
    CHECK(left == 7);
    // And ops find what was left in a probe, and the other way round.
    ops<raising> op;
    const registration handle = must_register(op, "program::outer");
    leave_then(program::helper, program::outer);
    CHECK(calls == 1);
    CHECK(entered == 12);
    leave_then(program::outer, program::helper);
    CHECK(calls == 2);
    CHECK(entered == 13);
}

TEST_CASE("exit callbacks of graphs that are left by siglongjmp are over", "[ops][left]") {
    const handled signal(SIGUSR1, leave);
    static volatile int returned;
    returned = 0;
    fgraph_ops graph(nullptr, [](const ftrace_graph_ret&, fgraph_ops&, ftrace_regs&) noexcept {
        returned = returned + 1;
        if (raise_signal) ::raise(SIGUSR1);
    });
    REQUIRE(graph.ops.set_filter("program::helper"));
    auto handle = register_ftrace_graph(graph);
    if (!handle) {
        WARN("not tested: " << handle.error().message);
        return;
    }
    for (int i = 0; i < 3; ++i) {
        leave_a_callback();
        program::helper();
    }
    CHECK(returned == 6);
}

TEST_CASE("a stub that is left at any instruction", "[ops][left]") {
    if (built_with::thread_sanitizer) return;  // it delays signals
    static volatile unsigned steps, leave_at;
    struct stepping {
        FTRACE_NO_INSTRUMENTATION FTRACE_NOTRACE static void on_step(int) {
            steps = steps + 1;
            if (steps == leave_at) ::siglongjmp(back, 1);
        }
        FTRACE_NO_INSTRUMENTATION FTRACE_NOTRACE static void set(bool on) {
            constexpr unsigned long long trap = 0x100;
            __writeeflags(on ? __readeflags() | trap : __readeflags() & ~trap);
        }
    };
    const handled signal(SIGTRAP, stepping::on_step);
    ops<raising, SAVE_REGS> own;
    ftrace_ops listed(raising);
    unsigned most = 0, wrong = 0, wrong_at = 0;
    for (ftrace_ops* const op : {static_cast<ftrace_ops*>(&own), &listed}) {
        const registration handle = must_register(*op, "program::helper");
        program::helper();
        for (unsigned at = 1;; ++at) {
            steps = 0;
            leave_at = at;
            const bool left = leaves([] {
                stepping::set(true);
                program::helper();
                stepping::set(false);
            });
            calls = 0;
            program::helper();
            if (calls != 1 && wrong++ == 0) wrong_at = at;
            if (at > most) most = at;
            if (!left) break;
        }
        CHECK_FALSE(detail::in_section(*detail::this_thread()));
    }
    CHECK(wrong == 0);
    CHECK(wrong_at == 0);
    CHECK(most > 60);  // the stub alone has more
}

TEST_CASE("a callback that is left from a signal stack is over", "[ops][left]") {
    static const signal_stack* stack;
    static volatile bool on_it;
    static volatile int called_by_handler;
    const auto on_signal = [](int) {
        on_it = stack->contains(__builtin_frame_address(0));
        const int before = calls;
        program::helper();  // missed: the callback below goes on, for all that is known
        called_by_handler = calls - before;
        ::siglongjmp(back, 1);
    };
    const auto check = [&](const signal_stack& used) {
        stack = &used;
        ops<raising> op;
        const registration handle = must_register(op, "program::helper");
        const handled signal(SIGUSR1, on_signal, SA_ONSTACK);
        for (int i = 1; i <= 3; ++i) {
            on_it = false;
            leave_a_callback();
            CHECK(on_it);
            CHECK(called_by_handler == 0);
            program::helper();
            CHECK(calls == 2 * i);
        }
        // Calls of the handler itself, where it interrupts no callback.
        calls = 0;
        CHECK(leaves([] { ::raise(SIGUSR1); }));
        CHECK(called_by_handler == 1);
        program::helper();
        CHECK(calls == 2);
    };
    constexpr std::size_t size = std::size_t{256} << 10;
    SECTION("memory of its own") {
        std::vector<char> memory(size);
        check({memory.data(), size});
    }
    SECTION("a part of the thread's stack, above the callback") {
        char memory[size];
        check({memory, size});
    }
}

TEST_CASE("a callback inside another's that is left takes both along", "[ops][left]") {
    const handled signal(SIGUSR1, leave);
    ops<raising> protecting;
    ops<nested, ARGS, 0> open;
    const registration handle = must_register(protecting, "program::outer");
    const registration open_handle = must_register(open, "program::helper");
    for (int i = 1; i <= 3; ++i) {
        call_helper = true;
        raise_nested = true;
        CHECK(leaves([] { program::outer(); }));
        call_helper = false;
        raise_nested = false;
        CHECK(calls == 2 * i - 1);
        CHECK(nested_calls == 2 * i - 1);
        program::outer();
        CHECK(calls == 2 * i);
        CHECK(nested_calls == 2 * i);
    }
}

TEST_CASE("a callback in which a siglongjmp ends goes on", "[ops][left]") {
    missed_inside = 0;
    const handled signal(SIGUSR1, call_and_leave);
    ops<returned_to> op;
    const registration handle = must_register(op, "program::helper");
    for (int i = 0; i < 3; ++i) program::helper();
    CHECK(calls == 3);
    CHECK(missed_inside == 3);
}

TEST_CASE("a callback that a handler puts aside for another stack goes on", "[ops][left]") {
    if (built_with::thread_sanitizer || built_with::address_sanitizer) return;  // contexts
    static ucontext_t here, fiber;
    struct switching {
        static void body() { program::helper(); }
        static void on_signal(int) { ::swapcontext(&fiber, &here); }
    };
    std::vector<char> memory(std::size_t{256} << 10);
    const handled signal(SIGUSR1, switching::on_signal, SA_NODEFER);
    ops<raising> op;
    const registration handle = must_register(op, "program::helper");
    ::getcontext(&fiber);
    fiber.uc_stack.ss_sp = memory.data();
    fiber.uc_stack.ss_size = memory.size();
    fiber.uc_link = &here;
    ::makecontext(&fiber, switching::body, 0);
    raise_signal = true;
    ::swapcontext(&here, &fiber);
    raise_signal = false;
    CHECK(calls == 1);
    program::helper();
    CHECK(calls == 1);
    ::swapcontext(&here, &fiber);
    program::helper();
    CHECK(calls == 2);
}

TEST_CASE("unregister does not wait for a callback that was left", "[ops][left][lifetime]") {
    const handled signal(SIGUSR1, leave);
    ops<raising> op;
    SECTION("of a thread that makes other calls") {
        ops<nested> other;
        registration handle = must_register(op, "program::helper");
        const registration other_handle = must_register(other, "program::outer");
        std::atomic<int> state{0};
        std::thread thread([&state] {
            leave_a_callback();
            state = 1;
            while (state == 1) program::outer();
        });
        wait_for(state, 1);
        CHECK(handle.unregister());
        state = 2;
        thread.join();
    }
    SECTION("of a thread that waits, above it") {
        registration handle = must_register(op, "program::helper");
        int pipes[2];
        REQUIRE(::pipe(pipes) == 0);
        std::atomic<int> state{0};
        std::thread thread([&] {
            leave_a_callback_below();
            state = 1;
            char byte;
            if (::read(pipes[0], &byte, 1) == 1) state = 2;
        });
        wait_for(state, 1);
        CHECK(handle.unregister());
        CHECK(state == 1);
        CHECK(::write(pipes[1], "", 1) == 1);
        thread.join();
        CHECK(state == 2);
        ::close(pipes[0]);
        ::close(pipes[1]);
    }
    SECTION("of the thread itself, above it") {
        registration handle = must_register(op, "program::helper");
        leave_a_callback_below();
        CHECK(handle.unregister());
    }
    SECTION("of a thread that has ended") {
        registration handle = must_register(op, "program::helper");
        std::thread([] { leave_a_callback(); }).join();
        CHECK(handle.unregister());
    }
    CHECK_FALSE(op.registered());
}

TEST_CASE("unregister waits for a callback that waits, and was not left", "[ops][left][lifetime]") {
    REQUIRE(::pipe(waits_for) == 0);
    waits = 0;
    int ended_callbacks = 0;
    ops<waiting> op;
    op.private_data = &ended_callbacks;
    registration handle = must_register(op, "program::helper");
    std::thread thread([] { program::helper(); });
    wait_for(waits, 1);
    std::atomic<bool> ended{false};
    std::thread ending([&] {
        (void)handle.unregister();
        ended = true;
    });
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    CHECK_FALSE(ended);
    CHECK(::write(waits_for[1], "", 1) == 1);
    ending.join();
    CHECK(ended_callbacks == 1);
    thread.join();
    ::close(waits_for[0]);
    ::close(waits_for[1]);
}

TEST_CASE("threads find what was left on stacks of any size", "[ops][left]") {
    const handled signal(SIGUSR1, leave);
    ops<raising> op;
    const registration handle = must_register(op, "program::helper");
    for (const std::size_t size : {std::size_t{256} << 10, std::size_t{64} << 20}) {
        pthread_attr_t attributes;
        ::pthread_attr_init(&attributes);
        ::pthread_attr_setstacksize(&attributes, size);
        pthread_t thread;
        REQUIRE(::pthread_create(
                    &thread, &attributes,
                    [](void*) -> void* {
                        check_traced_after_leaving();
                        return nullptr;
                    },
                    nullptr) == 0);
        ::pthread_join(thread, nullptr);
        ::pthread_attr_destroy(&attributes);
    }
}
