#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <thread>
#include "hand_hooked.hpp"
#include "sanitizers.hpp"

using namespace hand_hooked;

namespace {

HOOKED int returns_int(int x) {
    HOOK_RETURN(gops(), 1);
    return x + 1;
}
HOOKED int inner(std::uintptr_t& caller) {
    caller = reinterpret_cast<std::uintptr_t>(__builtin_return_address(0));
    __asm__ volatile("" : "+m"(caller));  // read before it is replaced
    HOOK_RETURN(gops(), 10);
    return 1;
}
HOOKED int outer(std::uintptr_t& caller_of_inner) {
    HOOK_RETURN(gops(), 11);
    int result = opaque(inner)(caller_of_inner);
    __asm__ volatile("" : "+r"(result));  // no call in the tail
    return result + 1;
}
HOOKED long deeper_on_the_stack(long (*call)()) {
    volatile char room[4096];
    room[0] = 0;
    return call() + room[0];
}
HOOKED int hooked_by(fgraph_ops& by, int x) {
    HOOK_RETURN(by, 30);
    return x;
}
HOOKED int hooked_by_two(fgraph_ops& one, fgraph_ops& two) {
    hook(one, 99, static_cast<void**>(__builtin_frame_address(0)) + 1, &two);
    return 4;
}
HOOKED int hooked_while(void (*happens)()) {
    HOOK_RETURN(gops(), 90);
    happens();
    return 5;
}

HOOKED int hooked_by_leaving(fgraph_ops& by, void (*happens)()) {
    HOOK_RETURN(by, 95);
    happens();
    return 6;
}

}  // namespace

TEST_CASE("return trampoline: the entry callback is told caller and depth, and may decline",
          "[graph]") {
    const counts before;
    std::uintptr_t caller = 0;
    CHECK(outer(caller) == 2);
    CHECK(last_entry.func == 10);
    CHECK(last_entry.depth == 1);
    CHECK(last_entry.parent == caller);
    CHECK(last_return.func == 11);
    CHECK(last_return.depth == 0);
    CHECK(before.new_entries() == 2);
    CHECK(before.new_returns() == 2);

    static fgraph_ops& declines =
        make_ops([](const ftrace_graph_ent&, fgraph_ops&, ftrace_regs&) noexcept { return false; },
                 on_return);
    const counts declined;
    CHECK(hooked_by(declines, 3) == 3);
    CHECK(declined.new_returns() == 0);
    remove_ops(declines);
}

namespace {

// What a chain of calls in tails does: each function finds the return address of the one before.
HOOKED int tail_calls(int left) {
    void** const slot = static_cast<void**>(__builtin_frame_address(0)) + 1;
    HOOK_RETURN(gops(), 71);
    int depth = 0;
    for (int i = 0; i < left; ++i) {
        hook(gops(), 70 + static_cast<unsigned long>(i % 2), slot);
        depth = last_entry.depth;
    }
    return depth;
}
HOOKED long recurses(long left) {
    HOOK_RETURN(gops(), 80);
    if (left == 0) return 0;
    long below = recurses(left - 1);
    __asm__ volatile("" : "+m"(below));  // no loop in place of the recursion
    return below + 1;
}
}  // namespace

TEST_CASE("return trampoline: calls with one return address return once each", "[graph]") {
    std::vector<int> depths;
    return_depths = &depths;
    const counts before;
    CHECK(tail_calls(3) == 3);
    return_depths = nullptr;
    CHECK(before.new_returns() == 4);
    CHECK(depths == std::vector<int>{3, 2, 1, 0});

    const counts many;
    CHECK(tail_calls(1'000'000) == 15);
    CHECK(many.new_entries() == 1'000'001);
    CHECK(many.new_returns() == 1'000'001);
    CHECK(returns_int(1) == 2);
    CHECK(last_return.depth == 0);
}

namespace {
/// Runs `body` on a thread whose stack is larger than others.
void on_large_stack(void (*body)()) {
    pthread_attr_t attributes;
    REQUIRE(::pthread_attr_init(&attributes) == 0);
    REQUIRE(::pthread_attr_setstacksize(&attributes, std::size_t{512} << 20) == 0);
    pthread_t thread;
    const auto run = [](void* function) -> void* {
        reinterpret_cast<void (*)()>(function)();
        return nullptr;
    };
    REQUIRE(::pthread_create(&thread, &attributes, run, reinterpret_cast<void*>(body)) == 0);
    ::pthread_join(thread, nullptr);
    ::pthread_attr_destroy(&attributes);
}
}  // namespace

TEST_CASE("return trampoline: recursion is followed however deep it is", "[graph]") {
    // ThreadSanitizer follows 65,536 calls.
    static constexpr long deep = built_with::thread_sanitizer ? 30'000 : 100'000;
    const std::uint64_t overruns_before = overruns();
    static std::size_t entered, returned;
    static int depth_at_last;
    static bool right;
    on_large_stack([] {
        const counts before;
        right = recurses(deep) == deep;
        entered = before.new_entries();
        returned = before.new_returns();
        depth_at_last = last_entry.depth;
        right = right && returns_int(1) == 2 && last_return.depth == 0;
    });
    CHECK(right);
    CHECK(entered == deep + 1);
    CHECK(returned == deep + 1);
    CHECK(depth_at_last == deep);
    CHECK(overruns() == overruns_before);
}

TEST_CASE("return trampoline: threads come and go, and shadow stacks are used again", "[graph]") {
    std::atomic<int> wrong{0};
    for (int round = 0; round < 100; ++round) {
        std::thread threads[4];
        for (auto& thread : threads)
            thread = std::thread([&] {
                if (deeper_on_the_stack([] { return recurses(20); }) != 20 ||
                    last_return.depth != 0)
                    ++wrong;
                // What this leaves behind would be around the next thread's calls.
                hooked_while([] { ::pthread_exit(nullptr); });
            });
        for (auto& thread : threads) thread.join();
        // Every other round, the next threads are given these threads' places in the thread pool.
        if (round % 2 == 0) detail::process()->threads.release_dead();
    }
    CHECK(wrong == 0);
}

TEST_CASE("return trampoline: threads by the thousand, one after the other", "[graph]") {
    const std::uint64_t overruns_before = overruns();
    std::atomic<std::size_t> seen{0};
    const std::size_t threads = std::size_t{2000};
    for (std::size_t i = 0; i < threads; ++i)
        std::thread([&] {
            const counts before;
            if (recurses(3) == 3) seen += before.new_returns();
        }).join();
    CHECK(seen == 4 * threads);
    CHECK(overruns() == overruns_before);
}

TEST_CASE("return trampoline: a child of fork goes on, through frames of its parent too",
          "[graph]") {
    static pid_t child;
    static int status;
    const counts before;
    const int result = hooked_while([] { child = ::fork(); });
    const bool right =
        result == 5 && before.new_returns() == 1 && last_return.func == 90 && recurses(10) == 10;
    if (child == 0) ::_exit(right ? 3 : 4);
    ::waitpid(child, &status, 0);
    CHECK(right);
    CHECK((WIFEXITED(status) && WEXITSTATUS(status) == 3));
}

TEST_CASE("return trampoline: an ops that went away is not called, and the call returns",
          "[graph]") {
    static int calls;
    static fgraph_ops* leaving;
    calls = 0;
    const auto counting = [](const ftrace_graph_ret&, fgraph_ops&, ftrace_regs&) noexcept {
        ++calls;
    };
    leaving = &make_ops(nullptr, counting);
    CHECK(hooked_by_leaving(*leaving, [] {}) == 6);
    CHECK(calls == 1);
    CHECK(hooked_by_leaving(*leaving, [] { remove_ops(*leaving); }) == 6);
    CHECK(calls == 1);
    // Even if others fill the table by then, its own place too.
    static std::vector<fgraph_ops*> others;
    leaving = &make_ops(nullptr, counting);
    CHECK(hooked_by_leaving(*leaving, [] {
              remove_ops(*leaving);
              do {
                  others.push_back(&make_ops(nullptr, [](const ftrace_graph_ret&, fgraph_ops&,
                                                         ftrace_regs&) noexcept { ++calls; }));
              } while (detail::graph_access::ticket(*others.back()) != 0);
          }) == 6);
    CHECK(others.size() > 10);
    CHECK(calls == 1);
    for (fgraph_ops* const other : others)
        if (detail::graph_access::ticket(*other) != 0) remove_ops(*other);
}

TEST_CASE("return trampoline: two ops on one call get one return each, at one depth", "[graph]") {
    static fgraph_ops& second = make_ops(on_entry, on_return);
    std::vector<int> depths;
    return_depths = &depths;
    CHECK(hooked_by_two(gops(), second) == 4);
    return_depths = nullptr;
    CHECK(depths == std::vector<int>{0, 0});
    remove_ops(second);
}
