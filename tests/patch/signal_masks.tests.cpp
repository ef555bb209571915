// Threads and handlers that block SIGTRAP: an int3 they run into would be the end of the process.
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_all.hpp>
#include <ftrace/ftrace.hpp>
#include <string>
#include <thread>

#include "child.hpp"
#include "program.hpp"
#include "text.hpp"

using namespace ftrace;
using Catch::Matchers::ContainsSubstring;

namespace program {

PROGRAM int work() {
    TOUCH_MEMORY;
    return 4;
}

}  // namespace program

namespace {

std::atomic<long> calls;
FTRACE_NOTRACE void count(unsigned long, unsigned long, ftrace_ops&, ftrace_regs&) noexcept {
    calls.fetch_add(1, std::memory_order_relaxed);
}

/// A thread that runs a traced function all the time, at first with all signals blocked.
class blocking_thread {
public:
    blocking_thread() {
        thread_ = std::thread([this]() FTRACE_NOTRACE {
            sigset_t all, before;
            ::sigfillset(&all);
            ::pthread_sigmask(SIG_SETMASK, &all, &before);
            ::pthread_setname_np(::pthread_self(), "blocks signals");
            tid = static_cast<pid_t>(::syscall(SYS_gettid));
            while (!unblock) program::work();
            ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
            unblocked = true;
            while (!stop_) program::work();
        });
        while (tid == 0) std::this_thread::yield();
    }
    ~blocking_thread() {
        unblock = stop_ = true;
        thread_.join();
    }
    blocking_thread(const blocking_thread&) = delete;
    blocking_thread& operator=(const blocking_thread&) = delete;

    std::atomic<pid_t> tid{0};
    std::atomic<bool> unblock{false}, unblocked{false};

private:
    std::atomic<bool> stop_{false};
    std::thread thread_;
};

FTRACE_NOTRACE void runs_traced_functions(int) {
    for (int i = 0; i < 2000; ++i) program::work();
}

void handle_with_full_mask(int signal, void (*handler)(int)) {
    struct sigaction action = {};
    action.sa_handler = handler;
    ::sigfillset(&action.sa_mask);
    ::sigaction(signal, &action, nullptr);
}
bool blocks_traps(int signal) {
    struct sigaction action = {};
    ::sigaction(signal, nullptr, &action);
    return ::sigismember(&action.sa_mask, SIGTRAP) == 1;
}

/// Why two cases say nothing there.
constexpr const char* sanitizer_runs_handlers =
    "ThreadSanitizer calls the program's handlers from its own, with all signals blocked";

}  // namespace

TEST_CASE("signal masks: a thread that blocks SIGTRAP is named, and nothing is changed",
          "[patch][signals]") {
    const child::outcome seen = child::run([](int) -> std::string {
        blocking_thread thread;
        const text::site_bytes before = text::read_site(text::site_of(program::work));
        ops<count> op;
        if (!op.set_filter("program::work")) return "filters do not work";
        const auto refused = register_ftrace_function(op);
        if (refused) return "registered";
        if (!(text::read_site(text::site_of(program::work)) == before)) return "text was changed";
        const std::string name =
            "thread " + std::to_string(thread.tid) + " (blocks signals) blocks SIGTRAP";
        if (refused.error().message.find(name) == std::string::npos) return refused.error().message;

        thread.unblock = true;
        while (!thread.unblocked) std::this_thread::yield();
        auto handle = register_ftrace_function(op);
        if (!handle) return handle.error().message;
        while (calls < 100) std::this_thread::yield();
        if (auto ended = handle->unregister(); !ended) return ended.error().message;
        return std::string(to_string(refused.error().code)) + ": " + refused.error().message;
    });
    CHECK(seen.status == 0);
    CHECK_THAT(seen.text, ContainsSubstring("busy: thread "));
    CHECK_THAT(seen.text, ContainsSubstring("pthread_sigmask"));
}

TEST_CASE("signal masks: one that blocks SIGTRAP for a moment is waited for", "[patch][signals]") {
    const child::outcome seen = child::run([](int) -> std::string {
        blocking_thread thread;
        std::thread releases([&] {
            ::usleep(20'000);
            thread.unblock = true;
        });
        ops<count> op;
        if (!op.set_filter("program::work")) return "filters do not work";
        const auto handle = register_ftrace_function(op);
        releases.join();
        return handle ? "registered" : handle.error().message;
    });
    CHECK(seen.status == 0);
    CHECK(seen.text == "registered");
}

TEST_CASE("signal masks: handlers that block all signals run traced functions meanwhile",
          "[patch][signals]") {
    if (detail::thread_sanitizer) {
        SUCCEED(sanitizer_runs_handlers);
        return;
    }
    const child::outcome seen = child::run([](int) -> std::string {
        handle_with_full_mask(SIGPROF, runs_traced_functions);
        std::atomic<bool> stop{false};
        std::thread busy([&]() FTRACE_NOTRACE {
            while (!stop) {
            }
        });
        const itimerval often{{0, 1000}, {0, 1000}};
        ::setitimer(ITIMER_PROF, &often, nullptr);
        ops<count> op;
        if (!op.set_filter("program::work")) return "filters do not work";
        std::string failure;
        for (int i = 0; i < 3000 && failure.empty(); ++i) {
            auto handle = register_ftrace_function(op);
            if (!handle) failure = handle.error().message;
        }
        const itimerval never{};
        ::setitimer(ITIMER_PROF, &never, nullptr);
        stop = true;
        busy.join();
        if (!failure.empty()) return failure;
        return blocks_traps(SIGPROF) ? "alive" : "the handler's mask was not given back";
    });
    CHECK(seen.status == 0);
    CHECK(seen.text == "alive");
}

TEST_CASE("signal masks: a handler that the program changes meanwhile stays as it wants it",
          "[patch][signals]") {
    if (detail::thread_sanitizer) {
        SUCCEED(sanitizer_runs_handlers);
        return;
    }
    const auto first = [](int) {};
    const auto second = [](int) {};
    handle_with_full_mask(SIGUSR1, first);
    handle_with_full_mask(SIGUSR2, first);
    {
        detail::unmasked_handlers handlers;
        handlers.unmask();
        CHECK_FALSE(blocks_traps(SIGUSR1));
        CHECK_FALSE(blocks_traps(SIGUSR2));
        struct sigaction action = {};
        action.sa_handler = second;
        REQUIRE(::sigaction(SIGUSR2, &action, nullptr) == 0);
    }
    CHECK(blocks_traps(SIGUSR1));
    CHECK_FALSE(blocks_traps(SIGUSR2));
    struct sigaction action = {};
    REQUIRE(::sigaction(SIGUSR2, nullptr, &action) == 0);
    CHECK(action.sa_handler == static_cast<void (*)(int)>(second));
    ::signal(SIGUSR1, SIG_DFL);
    ::signal(SIGUSR2, SIG_DFL);
}
