// After unregister returned no callback runs, and the memory of the ops may go.
#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <ftrace/ftrace.hpp>
#include <memory>
#include <thread>
#include <vector>

#include "../patch/program.hpp"
#include "../patch/text.hpp"

using namespace ftrace;

namespace program {

PROGRAM int slow() {
    TOUCH_MEMORY;
    return 1;
}
PROGRAM int quick() {
    TOUCH_MEMORY;
    return 2;
}

}  // namespace program

namespace {

std::atomic<bool> inside, may_go;
/// Looks at its ops at the end: it must still be there.
void blocks(unsigned long, unsigned long, ftrace_ops& op, ftrace_regs&) noexcept {
    inside = true;
    while (!may_go) std::this_thread::yield();
    ++*static_cast<int*>(op.private_data);
}
void touches(unsigned long, unsigned long, ftrace_ops& op, ftrace_regs&) noexcept {
    static_cast<std::atomic<long>*>(op.private_data)->fetch_add(1, std::memory_order_relaxed);
}

/// Gives others time to do what they must not do.
void some_time() {
    for (int i = 0; i < 200; ++i) std::this_thread::yield();
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
}

/// `end(ops)` ends a registration in another thread, while slow() is in the callback.
template <class End>
void waits_for_callback(std::unique_ptr<ftrace_ops> op, End end) {
    inside = may_go = false;
    int calls = 0;
    op->private_data = &calls;
    REQUIRE(op->set_filter("program::slow"));
    auto handle = register_ftrace_function(*op);
    REQUIRE(handle);

    std::thread program_thread([] { program::slow(); });
    while (!inside) std::this_thread::yield();
    std::atomic<bool> ended{false};
    std::thread ending([&] {
        end(*handle, op);
        ended = true;
    });
    while (!(text::read_site(text::site_of(program::slow)) == arch::nop_site))
        std::this_thread::yield();
    some_time();
    CHECK_FALSE(ended);
    CHECK(calls == 0);
    may_go = true;
    ending.join();
    CHECK(calls == 1);
    op.reset();
    program_thread.join();
    CHECK(program::slow() == 1);
    CHECK(calls == 1);
}

void by_handle(registration& handle, std::unique_ptr<ftrace_ops>&) { (void)handle.unregister(); }
void by_destructor(registration&, std::unique_ptr<ftrace_ops>& op) { op.reset(); }
void by_filter(registration&, std::unique_ptr<ftrace_ops>& op) {
    (void)op->set_filter("program::quick", true);
    (void)unregister_ftrace_function(*op);
}

}  // namespace

TEST_CASE("unregister waits for a callback of another thread", "[ops][lifetime]") {
    SECTION("an ops with its own stub, by its registration") {
        waits_for_callback(std::make_unique<ops<blocks>>(), by_handle);
    }
    SECTION("an ops with its own stub, by its destructor") {
        waits_for_callback(std::make_unique<ops<blocks, SAVE_REGS>>(), by_destructor);
    }
    SECTION("a dynamic ops, by its registration") {
        waits_for_callback(std::make_unique<ftrace_ops>(blocks), by_handle);
    }
    SECTION("a dynamic ops, after its filter moved away") {
        waits_for_callback(std::make_unique<ftrace_ops>(blocks), by_filter);
    }
}

TEST_CASE("unregister does not wait for threads that come back to callbacks all the time",
          "[ops][lifetime]") {
    std::atomic<long> kept_calls{0}, calls{0};
    ops<touches> kept;
    kept.private_data = &kept_calls;
    REQUIRE(kept.set_filter("program::quick"));
    const auto kept_handle = register_ftrace_function(kept);
    REQUIRE(kept_handle);
    std::atomic<bool> stop{false};
    std::vector<std::thread> threads;
    for (int i = 0; i < 2; ++i)
        threads.emplace_back([&stop] {
            while (!stop) program::quick();
        });
    for (int i = 0; i < 50; ++i) {
        auto op = std::make_unique<ftrace_ops>(touches, ARGS, &calls);
        REQUIRE(op->set_filter("program::quick"));
        auto handle = register_ftrace_function(*op);
        REQUIRE(handle);
        for (const long before = calls; calls < before + 5;) std::this_thread::yield();
        REQUIRE(handle->unregister());
        op.reset();
        const long after = calls;
        for (const long before = kept_calls; kept_calls < before + 20;) std::this_thread::yield();
        CHECK(calls == after);
    }
    stop = true;
    for (std::thread& thread : threads) thread.join();
}

TEST_CASE("ops come and go under running threads, each with memory of its own", "[ops][lifetime]") {
    std::atomic<bool> stop{false};
    std::atomic<int> wrong{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 2; ++i)
        threads.emplace_back([&] {
            while (!stop)
                if (program::quick() != 2 || program::slow() != 1) ++wrong;
        });
    for (int i = 0; i < 150; ++i) {
        // The counters go with the ops: a late callback would be seen by a sanitizer.
        auto first_calls = std::make_unique<std::atomic<long>>(0);
        auto second_calls = std::make_unique<std::atomic<long>>(0);
        auto first = std::make_unique<ops<touches>>();
        auto second = std::make_unique<ftrace_ops>(touches, SAVE_REGS, second_calls.get());
        first->private_data = first_calls.get();
        REQUIRE(first->set_filter("program::*"));
        REQUIRE(second->set_filter("program::quick"));
        auto first_handle = register_ftrace_function(*first);
        auto second_handle = register_ftrace_function(*second);
        REQUIRE(first_handle);
        REQUIRE(second_handle);
        while (*second_calls == 0) std::this_thread::yield();
        if (i % 2 == 0) REQUIRE(first_handle->unregister());
        first.reset();
        first_calls.reset();
        second.reset();
    }
    stop = true;
    for (std::thread& thread : threads) thread.join();
    CHECK(wrong == 0);
}
