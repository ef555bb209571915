// A child of fork has the parent's text as it was, and switches its own from there.
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <ftrace/ftrace.hpp>
#include <thread>

#include "program.hpp"
#include "sanitizers.hpp"
#include "text.hpp"

using namespace ftrace;

namespace program {

PROGRAM int work() {
    TOUCH_MEMORY;
    return 4;
}
PROGRAM int other() {
    TOUCH_MEMORY;
    return 5;
}

}  // namespace program

namespace {

std::atomic<int> calls;
void count(unsigned long, unsigned long, ftrace_ops&, ftrace_regs&) noexcept { ++calls; }

std::atomic<bool> inside, may_go;
void blocks(unsigned long, unsigned long, ftrace_ops&, ftrace_regs&) noexcept {
    inside = true;
    while (!may_go) std::this_thread::yield();
}

/// The exit code of a child that runs `scenario`.
template <class Scenario>
int code_of_child(Scenario scenario) {
    const pid_t child = ::fork();
    if (child == 0) ::_exit(scenario());
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    REQUIRE(WIFEXITED(status));
    return WEXITSTATUS(status);
}

}  // namespace

TEST_CASE("fork: a child goes on with its parent's ops, and ends them for itself", "[patch]") {
    ops<count> op;
    REQUIRE(op.set_filter("program::work"));
    auto handle = register_ftrace_function(op);
    REQUIRE(handle);
    calls = 0;
    const int code = code_of_child([&] {
        if (program::work() != 4 || calls != 1) return 1;
        if (!handle->unregister()) return 2;
        if (program::work() != 4 || calls != 1) return 3;
        ops<count, SAVE_REGS> own;
        if (!own.set_filter("program::other")) return 4;
        const auto own_handle = register_ftrace_function(own);
        if (!own_handle) return 5;
        if (program::other() != 5 || calls != 2) return 6;
        int seen = 0;
        std::thread([&seen] { seen = program::other(); }).join();
        return seen == 5 && calls == 3 ? 0 : 7;
    });
    CHECK(code == 0);
    // Nothing of it is the parent's.
    program::work();
    CHECK(calls == 1);
    program::other();
    CHECK(calls == 1);
    REQUIRE(handle->unregister());
    CHECK(text::read_site(text::site_of(program::work)) == arch::nop_site);
}

TEST_CASE("fork: a child does not wait for callbacks that its parent's threads were in",
          "[patch]") {
    ops<blocks> op;
    REQUIRE(op.set_filter("program::other"));
    auto handle = register_ftrace_function(op);
    REQUIRE(handle);
    inside = may_go = false;
    std::thread thread(program::other);
    while (!inside) std::this_thread::yield();
    CHECK(code_of_child([&] { return handle->unregister() ? 0 : 1; }) == 0);
    may_go = true;
    thread.join();
    CHECK(handle->unregister());
}

TEST_CASE("fork: a child waits for callbacks of the thread that forked", "[patch]") {
    ops<blocks> op;
    REQUIRE(op.set_filter("program::other"));
    auto handle = register_ftrace_function(op);
    REQUIRE(handle);
    may_go = true;
    program::other();  // the thread has its slot, and the slot its number, before the fork
    const int code = code_of_child([&] {
        inside = may_go = false;
        std::atomic<int> wrong{0};
        std::atomic<bool> unregistered{false};
        std::thread other([&] {
            while (!inside) std::this_thread::yield();
            std::thread lets_go([&] {
                std::this_thread::sleep_for(std::chrono::milliseconds(50));
                if (unregistered) ++wrong;
                may_go = true;
            });
            if (!handle->unregister()) ++wrong;
            unregistered = true;
            lets_go.join();
        });
        program::other();
        other.join();
        return wrong.load();
    });
    CHECK(code == 0);
    CHECK(handle->unregister());
}

TEST_CASE("fork: children are born while text changes in another thread", "[patch]") {
    // What fork copies is a state between two system calls of the patcher; the functions that are
    // not being changed must work in the child, and the child must be able to end.
    ops<count> op;
    REQUIRE(op.set_filter("program::work"));
    std::atomic<bool> stop{false};
    std::thread changing([&] {
        while (!stop) {
            auto handle = register_ftrace_function(op);
            if (!handle || !handle->unregister()) ::abort();
        }
    });
    int wrong = 0;
    for (int i = 0; i < 50; ++i)
        wrong +=
            code_of_child([] { return program::work() == 4 && program::other() == 5 ? 0 : 1; });
    stop = true;
    changing.join();
    CHECK(wrong == 0);
}

TEST_CASE("fork: while other threads list functions and choose some by name", "[patch]") {
    if (built_with::address_sanitizer) {
        WARN(
            "not tested: gcc 12's AddressSanitizer does not give back at fork() what other threads "
            "hold of its own memory");
        return;
    }
    ops<count> op;
    REQUIRE(op.set_filter("program::work"));
    auto handle = register_ftrace_function(op);
    REQUIRE(handle);
    std::atomic<bool> stop{false};
    std::atomic<long> listed{0};
    std::thread lists([&] {
        for (; !stop; ++listed) static_cast<void>(available_filter_functions());
    });
    std::thread chooses([&] {
        while (!stop) {
            ftrace_ops unregistered(count);
            static_cast<void>(unregistered.set_filter("program::*"));
        }
    });
    while (listed == 0) std::this_thread::yield();
    for (int i = 0; i < 20; ++i) {
        const int code = code_of_child([] {
            ::alarm(20);  // a lock that some other thread held at the fork would be waited for
            ops<count, SAVE_REGS> own;
            if (available_filter_functions().empty()) return 1;
            if (!own.set_filter("program::other")) return 2;
            return register_ftrace_function(own) ? 0 : 3;
        });
        CHECK(code == 0);
    }
    stop = true;
    lists.join();
    chooses.join();
    CHECK(handle->unregister());
}
