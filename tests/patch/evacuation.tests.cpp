// Asking threads where they stand: whatever they do, and whatever the system forbids.
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_all.hpp>
#include <ftrace/ftrace.hpp>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "child.hpp"
#include "fresh_functions.hpp"
#include "program.hpp"
#include "text.hpp"

using namespace ftrace;
using Catch::Matchers::ContainsSubstring;

namespace program {

const std::vector<function> all = functions(std::make_integer_sequence<int, 200>());

}  // namespace program

namespace {

std::atomic<long> calls;
FTRACE_NOTRACE void count(unsigned long, unsigned long, ftrace_ops&, ftrace_regs&) noexcept {
    calls.fetch_add(1, std::memory_order_relaxed);
}

result<registration> trace(ftrace_ops& op, program::function function) {
    auto filtered = op.set_filter_ip(text::site_of(function));
    if (!filtered) return std::move(filtered).error();
    return register_ftrace_function(op);
}

/// "" or what went wrong with one registration and its end.
std::string trace_once(program::function function) {
    ftrace_ops op(count);
    auto handle = trace(op, function);
    if (!handle) return std::string(to_string(handle.error().code)) + ": " + handle.error().message;
    calls = 0;
    function(1);
    const long called = calls;
    if (auto ended = handle->unregister(); !ended) return ended.error().message;
    return called == 1 ? "" : "called " + std::to_string(called) + " times";
}

/// Threads that compute, without a system call.
class busy_threads {
public:
    explicit busy_threads(int count) {
        for (int i = 0; i < count; ++i)
            threads_.emplace_back([this]() FTRACE_NOTRACE {
                tid = static_cast<pid_t>(::syscall(SYS_gettid));
                started_.fetch_add(1);
                while (!stop_.load(std::memory_order_relaxed)) {
                }
            });
        while (started_.load() != count) std::this_thread::yield();
    }
    ~busy_threads() {
        stop_ = true;
        for (std::thread& thread : threads_) thread.join();
    }
    busy_threads(const busy_threads&) = delete;
    busy_threads& operator=(const busy_threads&) = delete;

    std::atomic<pid_t> tid{0};

private:
    std::atomic<int> started_{0};
    std::atomic<bool> stop_{false};
    std::vector<std::thread> threads_;
};

bool limit_pending_signals() {
    const rlimit none{0, 0};
    return ::setrlimit(RLIMIT_SIGPENDING, &none) == 0;
}
bool nothing() { return true; }
bool forbid_marked_signals() { return child::forbid({SYS_rt_tgsigqueueinfo}); }
bool forbid_signals() { return child::forbid({SYS_rt_tgsigqueueinfo, SYS_tgkill}); }
bool forbid_membarrier() { return child::forbid({SYS_membarrier}); }
/// /proc/self/task/*/syscall is root's then.
bool become_nobody() { return ::setuid(65534) == 0; }

std::string traced_under(bool (*restriction)()) {
    if (!restriction()) return "unsupported";
    const busy_threads threads(2);
    for (std::size_t i = 0; i < 5; ++i)
        if (std::string failure = trace_once(program::all[i]); !failure.empty()) return failure;
    return "traced";
}

}  // namespace

TEST_CASE("evacuation: more busy threads than CPUs", "[patch][evacuation]") {
    const busy_threads threads(24);
    for (std::size_t i = 100; i < 103; ++i) CHECK(trace_once(program::all[i]) == "");
}

TEST_CASE("evacuation: signals without our mark are recognised", "[patch][evacuation]") {
    // The limit on queued signals lets a signal lose what it carries.
    for (const auto restriction :
         {nothing, limit_pending_signals, forbid_marked_signals, become_nobody}) {
        const child::outcome seen = child::run([&](int) { return traced_under(restriction); });
        CHECK(seen.status == 0);
        if (seen.text != "unsupported") CHECK(seen.text == "traced");
    }
}

TEST_CASE("evacuation: a thread that cannot be asked is an error, and nothing has happened",
          "[patch][evacuation]") {
    if (text::read_site(text::site_of(program::all[7])) == arch::nop_site) {
        WARN("not tested: this compiler leaves one nop, which no thread stands inside");
        return;
    }
    const child::outcome seen = child::run([](int) -> std::string {
        if (!forbid_signals()) return "unsupported";
        calls = 0;
        std::atomic<bool> stop{false};
        std::atomic<long> rounds{0};
        std::thread calling([&]() FTRACE_NOTRACE {
            for (; !stop; ++rounds) program::all[7](1);
        });
        while (rounds == 0) std::this_thread::yield();
        const text::site_bytes before = text::read_site(text::site_of(program::all[7]));
        std::string message;
        for (int i = 0; i < 20; ++i) {
            ftrace_ops op(count);
            const auto handle = trace(op, program::all[7]);
            message = handle ? "registered" : handle.error().message;
        }
        stop = true;
        calling.join();
        if (!(text::read_site(text::site_of(program::all[7])) == before)) return "text was changed";
        return std::to_string(calls) + " calls, " + message;
    });
    CHECK(seen.status == 0);
    CHECK_THAT(seen.text, ContainsSubstring("0 calls, cannot send SIGTRAP to thread "));
    CHECK_THAT(seen.text, ContainsSubstring("tgkill"));
}

TEST_CASE("evacuation: a main thread that ended is no thread to wait for", "[patch][evacuation]") {
    const child::outcome seen = child::run([](int out) -> std::string {
        static int to;
        to = out;
        pthread_t other;
        const auto run = [](void*) -> void* {
            ::usleep(50'000);
            const std::string failure = trace_once(program::all[9]);
            const std::string text = failure.empty() ? "traced" : failure;
            [[maybe_unused]] const ssize_t written = ::write(to, text.data(), text.size());
            ::_exit(0);
        };
        ::pthread_create(&other, nullptr, run, nullptr);
        ::syscall(SYS_exit, 0);  // of this thread alone: a zombie, as after pthread_exit()
        return "";
    });
    CHECK(seen.status == 0);
    CHECK(seen.text == "traced");
}

TEST_CASE("evacuation: system calls of other threads are not interrupted", "[patch][evacuation]") {
    std::atomic<bool> stop{false};
    std::atomic<long> polls{0}, interrupted{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 6; ++i)
        threads.emplace_back([&]() FTRACE_NOTRACE {
            while (!stop) {
                for (int j = 0; j < 3000; ++j) TOUCH_MEMORY;
                ++polls;
                if (::poll(nullptr, 0, 1) < 0 && errno == EINTR) ++interrupted;
            }
        });
    while (polls < 100) std::this_thread::yield();
    for (std::size_t i = 10; i < 100; ++i) {
        CHECK(trace_once(program::all[i]) == "");
        ::usleep(500);
    }
    stop = true;
    for (std::thread& thread : threads) thread.join();
    // One that computes for milliseconds and then happens to make a call when it is asked.
    CHECK(interrupted * 200 <= polls);
}

TEST_CASE("evacuation: without membarrier() the threads serialise when asked",
          "[patch][evacuation]") {
    const child::outcome seen = child::run([](int) -> std::string {
        if (!forbid_membarrier()) return "unsupported";
        busy_threads threads(1);
        if (std::string failure = trace_once(program::all[110]); !failure.empty()) return failure;
        // Not the question of the first change, whose list this one replaces.
        detail::text_state& state = *detail::shared_state()->text;
        const detail::question_list* const first = state.questions;
        std::string text;
        {
            const detail::lock_guard guard(detail::shared_state()->lock);
            detail::synchronize_cores();
            const detail::thread_question* const question = state.questions->find(threads.tid);
            text = question == nullptr        ? "not asked"
                   : question->answered == 0  ? "not answered"
                   : state.questions == first ? "no second question"
                                              : "serialised";
        }
        for (int i = 0; i < 20; ++i)
            if (std::string failure = trace_once(program::all[110]); !failure.empty())
                return failure;
        return text;
    });
    CHECK(seen.status == 0);
    if (seen.text != "unsupported") CHECK(seen.text == "serialised");
}
