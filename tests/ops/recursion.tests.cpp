// What a callback does is invisible to the program: it is not traced itself, also where a signal
// handler runs in the middle of it, and errno is the program's.
#include <errno.h>
#include <signal.h>
#include <sys/time.h>

#include <catch2/catch_test_macros.hpp>
#include <ctime>
#include <ftrace/ftrace.hpp>
#include <thread>

#include "../patch/program.hpp"

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

volatile int calls, nested_calls;
bool call_helper, raise_signal;

void busy(unsigned long, unsigned long, ftrace_ops&, ftrace_regs&) noexcept {
    calls = calls + 1;
    errno = ERANGE;
    if (call_helper) program::helper();
    if (raise_signal) ::raise(SIGUSR1);
}
void unprotected(unsigned long, unsigned long, ftrace_ops&, ftrace_regs&) noexcept {
    nested_calls = nested_calls + 1;
    errno = EDOM;
}

std::uint64_t missed() { return detail::this_thread()->missed; }

void on_signal(int) { program::helper(); }

/// Installs a handler for as long as it lives.
class handled {
public:
    handled(int signal, void (*handler)(int)) : signal_(signal) {
        struct sigaction action = {};
        action.sa_handler = handler;
        ::sigaction(signal, &action, &before_);
    }
    ~handled() { ::sigaction(signal_, &before_, nullptr); }
    handled(const handled&) = delete;
    handled& operator=(const handled&) = delete;

private:
    int signal_;
    struct sigaction before_ = {};
};

registration must_register(ftrace_ops& op, const char* filter) {
    REQUIRE(op.set_filter(filter, true));
    auto handle = register_ftrace_function(op);
    if (!handle) FAIL(handle.error().message);
    calls = 0;
    nested_calls = 0;
    return std::move(*handle);
}

}  // namespace

TEST_CASE("errno is the program's, whatever callbacks do to it", "[ops]") {
    ops<busy> own;
    ops<busy, SAVE_REGS> own_full;
    ftrace_ops listed(busy), second(unprotected);
    static registry<ops<busy>, ops<unprotected>> compiled;
    errno = ENOTTY;
    const auto check = [] {
        errno = ENOTTY;
        program::helper();
        CHECK(errno == ENOTTY);
        CHECK(calls == 1);
    };
    {
        const registration handle = must_register(own, "program::helper");
        check();
    }
    {
        const registration handle = must_register(own_full, "program::helper");
        check();
    }
    {
        const registration handle = must_register(listed, "program::helper");
        const registration second_handle = must_register(second, "program::helper");
        check();
        CHECK(nested_calls == 1);
    }
    {
        const registration handle = must_register(compiled.get<0>(), "program::helper");
        const registration second_handle = must_register(compiled.get<1>(), "program::helper");
        check();
        CHECK(nested_calls == 1);
    }
    // The first callback of a thread makes its slot, which asks the kernel.
    const registration handle = must_register(own, "program::helper");
    int seen = 0;
    std::thread([&seen] {
        errno = ENOTTY;
        program::helper();
        seen = errno;
    }).join();
    CHECK(seen == ENOTTY);
}

TEST_CASE("a callback that calls traced functions is not called for them, and it is counted",
          "[ops]") {
    ops<busy> own;
    ftrace_ops listed(busy);
    for (ftrace_ops* op : {static_cast<ftrace_ops*>(&own), &listed}) {
        const registration handle = must_register(*op, "program::*");
        call_helper = true;
        const std::uint64_t before = missed();
        CHECK(program::outer() == 4);
        call_helper = false;
        CHECK(calls == 2);  // outer() and its own helper()
        CHECK(missed() - before == 2);
    }
}

TEST_CASE("an unprotected ops sees what a protected callback calls", "[ops]") {
    ops<busy> protecting;
    ops<unprotected, ARGS, 0> open;
    const registration handle = must_register(protecting, "program::outer");
    const registration open_handle = must_register(open, "program::helper");
    call_helper = true;
    program::outer();
    call_helper = false;
    CHECK(calls == 1);
    CHECK(nested_calls == 2);
}

TEST_CASE("a signal handler that runs inside a callback does not recurse", "[ops]") {
    const handled signal(SIGUSR1, on_signal);
    ops<busy> op;
    const registration handle = must_register(op, "program::*");
    const std::uint64_t before = missed();
    raise_signal = true;
    program::helper();
    raise_signal = false;
    CHECK(calls == 1);
    CHECK(missed() - before == 1);

    // Outside of callbacks a handler's functions are traced like any others.
    ::raise(SIGUSR1);
    CHECK(calls == 2);
}

TEST_CASE("signals at any instruction of stubs and callbacks leave no trace", "[ops]") {
    static volatile int signals;
    const handled signal(SIGALRM, [](int) {
        signals = signals + 1;
        program::helper();
    });
    ops<busy, SAVE_REGS> op;
    ops<unprotected> other;
    const registration handle = must_register(op, "program::*");
    const registration other_handle = must_register(other, "program::helper");
    signals = 0;
    const std::uint64_t before = missed();
    const itimerval every = {{0, 200}, {0, 200}};
    ::setitimer(ITIMER_REAL, &every, nullptr);
    int rounds = 0, wrong = 0;
    for (const std::clock_t end = std::clock() + CLOCKS_PER_SEC / 2; std::clock() < end; ++rounds)
        for (int i = 0; i < 100; ++i) {
            errno = ENOTTY;
            if (program::outer() != 4 || errno != ENOTTY) ++wrong;
        }
    constexpr itimerval never = {};
    ::setitimer(ITIMER_REAL, &never, nullptr);
    CHECK(wrong == 0);
    CHECK(signals > 0);
    // Each call of a function ran both callbacks, or was missed by both, or by one whose neighbour
    // was just running; nothing is counted twice.
    CHECK(static_cast<std::uint64_t>(calls) >= 200u * static_cast<unsigned>(rounds));
    CHECK(static_cast<std::uint64_t>(calls) + (missed() - before) >=
          200u * static_cast<unsigned>(rounds) + static_cast<unsigned>(signals));
    CHECK(static_cast<std::uint64_t>(calls) <=
          200u * static_cast<unsigned>(rounds) + static_cast<unsigned>(signals));
}
