// What is registered makes no unwinder take a lock: children of fork that throw, and signal handlers that call
// backtrace(), wait for nobody. Who waits for ever is ended by SIGALRM.
#include <execinfo.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <ftrace/ftrace.hpp>
#include <ftrace/graph/fgraph.hpp>
#include <stdexcept>
#include <thread>
#include <vector>

#include "sanitizers.hpp"

namespace program {

__attribute__((noinline)) int throws(int x) {
    __asm__ volatile("" : "+r"(x));
    if (x > 0) throw std::runtime_error("from below");
    return x;
}
__attribute__((noinline)) int catches(int x) {
    int result = 0;
    try {
        result = throws(x);
    } catch (const std::runtime_error&) {
        result = -1;
    }
    __asm__ volatile("" : "+r"(result));
    return result;
}

}  // namespace program

namespace {

std::atomic<unsigned> returns;
void note(unsigned long, unsigned long, ftrace::ftrace_ops&, ftrace::ftrace_regs&) noexcept {}
void also_note(unsigned long, unsigned long, ftrace::ftrace_ops&, ftrace::ftrace_regs&) noexcept {}
void returned(const ftrace::ftrace_graph_ret&, ftrace::fgraph_ops&, ftrace::ftrace_regs&) noexcept {
    returns.fetch_add(1, std::memory_order_relaxed);
}

/// Hooked returns, lists, and a stub of its own: trampolines and veneers of every kind.
struct everything {
    ftrace::fgraph_ops graph{nullptr, returned};
    ftrace::ops<note> first;
    ftrace::ops<also_note, ftrace::SAVE_REGS> second;
    ftrace::graph_registration graph_handle;
    ftrace::registration first_handle, second_handle;

    bool start() {
        if (!graph.ops.set_filter("program::*") || !first.set_filter("program::*") ||
            !second.set_filter("program::*"))
            return false;
        auto one = ftrace::register_ftrace_graph(graph);
        auto two = ftrace::register_ftrace_function(first);
        auto three = ftrace::register_ftrace_function(second);
        if (!one || !two || !three) return false;
        graph_handle = std::move(*one);
        first_handle = std::move(*two);
        second_handle = std::move(*three);
        returns = 0;
        return program::catches(1) == -1 && returns != 0;
    }
};

/// Threads that throw all the time.
class throwers {
public:
    explicit throwers(unsigned count) {
        for (unsigned i = 0; i < count; ++i)
            threads_.emplace_back([this] {
                while (!stop_) wrong_ += program::catches(1) != -1;
            });
    }
    throwers(const throwers&) = delete;
    throwers& operator=(const throwers&) = delete;
    unsigned stop() {
        stop_ = true;
        for (std::thread& thread : threads_) thread.join();
        return wrong_;
    }
    std::thread& operator[](std::size_t i) { return threads_[i]; }

private:
    std::atomic<bool> stop_{false};
    std::atomic<unsigned> wrong_{0};
    std::vector<std::thread> threads_;
};

/// The status of a child that runs `scenario`, for so many seconds at most.
template <class Scenario>
int status_of(unsigned seconds, Scenario scenario) {
    const pid_t child = ::fork();
    if (child == 0) {
        ::signal(SIGALRM, SIG_DFL);  // Catch2 has a handler
        ::alarm(seconds);
        ::_exit(scenario());
    }
    int status = -1;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    return status;
}

bool not_here() {
    if (!built_with::address_sanitizer && !built_with::thread_sanitizer) return false;
    WARN("not tested: sanitizers have locks of their own, which fork() does not give back");
    return true;
}

std::atomic<unsigned> traces, frames;
void trace(int) {
    void* addresses[100];
    frames = static_cast<unsigned>(::backtrace(addresses, 100));
    ++traces;
}

}  // namespace

TEST_CASE("unwinding: a child of fork throws while its parent's threads did", "[graph]") {
    if (not_here()) return;
    everything registered;
    REQUIRE(registered.start());
    throwers threads(4);
    int ended_otherwise = 0;
    for (int i = 0; i < 300 && ended_otherwise == 0; ++i)
        ended_otherwise = status_of(20, [] { return program::catches(1) == -1 ? 0 : 1; });
    CHECK(ended_otherwise == 0);
    CHECK(threads.stop() == 0);
}

TEST_CASE("unwinding: a signal handler calls backtrace() while its thread throws", "[graph]") {
    if (not_here()) return;
    // In a process of its own, which may hang.
    const int status = status_of(60, [] {
        void* addresses[8];
        ::backtrace(addresses, 8);  // loads the unwinder, which takes locks
        everything registered;
        if (!registered.start()) return 1;
        ::signal(SIGUSR1, trace);
        throwers threads(1);
        for (unsigned i = 1; i <= 5000; ++i) {
            ::pthread_kill(threads[0].native_handle(), SIGUSR1);
            while (traces < i) std::this_thread::yield();
            if (frames < 3) return 2;  // this handler, the signal's frame, and who was interrupted
        }
        return threads.stop() == 0 ? 0 : 3;
    });
    CHECK(status == 0);
}
