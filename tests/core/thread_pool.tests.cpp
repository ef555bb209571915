#include <ftrace/core/thread_pool.hpp>

#include <sys/syscall.h>
#include <unistd.h>
#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "tests/patch/child.hpp"

using ftrace::detail::thread_pool;
using ftrace::detail::thread_state;

namespace {

pid_t my_tid() { return static_cast<pid_t>(::syscall(SYS_gettid)); }

/// What a thread that ended had.
thread_state* claim_in_thread(thread_pool& pool, std::uint64_t* generation = nullptr,
                              pid_t* tid = nullptr) {
    thread_state* slot = nullptr;
    std::thread([&] {
        slot = pool.claim();
        if (generation != nullptr) *generation = slot->generation;
        if (tid != nullptr) *tid = my_tid();
    }).join();
    return slot;
}

/// A joined thread may be known to the kernel for a moment more.
void wait_until_gone(pid_t tid) {
    while (thread_pool::alive(tid)) std::this_thread::yield();
}

}  // namespace

TEST_CASE("thread_pool: a thread has one slot, and finds it again", "[core][threads]") {
    thread_pool pool;
    REQUIRE(pool.usable());
    CHECK(pool.used() == 0);
    thread_state* const mine = pool.claim();
    REQUIRE(mine != nullptr);
    CHECK(pool.used() == 1);
    CHECK(pool.claim() == mine);
    CHECK(pool.used() == 1);
    CHECK(pool.owner(0) == my_tid());
    CHECK(&pool[0] == mine);
    CHECK(mine->section == 0);
    CHECK(claim_in_thread(pool) != mine);
    CHECK(pool.used() == 2);
}

TEST_CASE("thread_pool: slots of threads that are gone are released and used again",
          "[core][threads]") {
    thread_pool pool;
    thread_state* const mine = pool.claim();
    std::uint64_t first_generation = 0, second_generation = 0;
    pid_t first_tid = 0;
    thread_state* const first = claim_in_thread(pool, &first_generation, &first_tid);
    first->section = 5;  // as if it had been killed inside a callback
    wait_until_gone(first_tid);
    CHECK(pool.release_dead() == 1);
    CHECK(pool.owner(1) == 0);
    CHECK(pool.owner(0) == my_tid());
    CHECK(pool.release_dead() == 0);

    thread_state* const second = claim_in_thread(pool, &second_generation);
    CHECK(second == first);
    CHECK(second->section == 0);
    CHECK(second_generation > first_generation);
    CHECK(pool.used() == 2);
    CHECK(pool.claim() == mine);
}

TEST_CASE("thread_pool: many threads at once, no slot twice", "[core][threads]") {
    thread_pool pool;
    constexpr int count = 100;
    std::vector<thread_state*> slots(count);
    std::atomic<int> ready{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < count; ++i)
        threads.emplace_back([&, i] {
            slots[static_cast<std::size_t>(i)] = pool.claim();
            ++ready;
            while (ready < count) std::this_thread::yield();
        });
    for (std::thread& thread : threads) thread.join();
    CHECK(std::set<thread_state*>(slots.begin(), slots.end()).size() == count);
    CHECK(pool.used() == count);
}

TEST_CASE("thread_pool: threads that come and go take no more slots than live at once",
          "[core][threads]") {
    thread_pool pool;
    thread_state* const mine = pool.claim();
    for (int i = 0; i < 1000; ++i) {
        pid_t tid = 0;
        thread_state* const slot = claim_in_thread(pool, nullptr, &tid);
        REQUIRE(slot != nullptr);
        REQUIRE(slot != mine);
        wait_until_gone(tid);
    }
    CHECK(pool.used() <= 65);
    CHECK(pool.owner(0) == my_tid());
}

TEST_CASE("thread_pool: a full pool takes the slots of the dead, or says there is none",
          "[core][threads]") {
    thread_pool pool;
    // Threads that never were: the kernel's ids end at 4194304 (PID_MAX_LIMIT).
    constexpr pid_t nobody = 5'000'000;
    REQUIRE_FALSE(thread_pool::alive(nobody));
    thread_state* const first = pool.claim();
    for (std::size_t i = 1; i < thread_pool::capacity; ++i) pool[i].tid = my_tid();
    pool[thread_pool::capacity - 1].tid = nobody;
    // The last slot was never handed out, so nobody knows that its owner is gone.
    CHECK(pool.used() == 1);
    CHECK(claim_in_thread(pool) == nullptr);
    pool[1].tid = 0;
    CHECK(claim_in_thread(pool) == &pool[1]);
    CHECK(claim_in_thread(pool) == &pool[1]);  // released: its thread has ended
    CHECK(pool.claim() == first);
}

TEST_CASE("thread_pool: where asking is forbidden every thread lives", "[core][threads]") {
    const child::outcome seen = child::run([](int) -> std::string {
        thread_pool pool;
        if (!pool.usable()) return "no pool";
        pid_t ended = 0;
        claim_in_thread(pool, nullptr, &ended);
        wait_until_gone(ended);
        if (!child::forbid({SYS_tgkill})) return "unsupported";
        if (!thread_pool::alive(ended)) return "taken for dead";
        return std::to_string(pool.release_dead());
    });
    CHECK(seen.status == 0);
    if (seen.text == "unsupported")
        WARN("not tested: no seccomp");
    else
        CHECK(seen.text == "0");
}
