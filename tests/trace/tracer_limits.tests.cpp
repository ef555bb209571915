// Full buffers, several tracers at once, reading while tracing, and mistakes.
#include <ftrace/trace/tracer.hpp>

#include <pthread.h>

#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_all.hpp>
#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

namespace traced {
volatile int one = 1;  // else a compiler reuses the result of an earlier call
__attribute__((noinline)) int step(int n) { return n + one; }
__attribute__((noinline)) int other(int n) { return n + 2; }
}  // namespace traced

namespace {

thread_local volatile int sink = 0;

void run(int times) {
    for (int i = 0; i < times; ++i) sink = traced::step(i);
}

std::string message(const ftrace::result<std::size_t>& r) { return r ? "" : r.error().message; }
std::string message(const ftrace::result<void>& r) { return r ? "" : r.error().message; }

}  // namespace

TEST_CASE("tracer: a full buffer keeps the newest calls, or the first ones", "[trace]") {
    // 4 KiB are 128 slots; without arguments an event takes one.
    ftrace::tracer newest("function", {.arguments = false, .buffer_kb = 4});
    ftrace::tracer first("function", {.buffer_kb = 4, .when_full = ftrace::overflow::drop});
    REQUIRE(newest.set_filter("traced::step"));
    REQUIRE(first.set_filter("traced::step"));
    REQUIRE(newest.start());
    REQUIRE(first.start());
    run(1000);
    REQUIRE(newest.stop());
    REQUIRE(first.stop());

    const auto new_ones = newest.read();
    CHECK(new_ones.events.size() == 128);
    CHECK(new_ones.written == 1000);
    CHECK(new_ones.overwritten == 872);
    CHECK(new_ones.events[0].lost_before == 872);
    CHECK(new_ones.events[1].lost_before == 0);

    // With arguments an event takes six slots: 21 fit.
    const auto first_ones = first.read();
    REQUIRE(first_ones.events.size() == 21);
    CHECK(first_ones.dropped == 979);
    CHECK(first_ones.threads[0].lost_after == 979);
    for (std::size_t i = 0; i < 21; ++i)
        CHECK(static_cast<std::uint32_t>(
                  first_ones.argument_words[first_ones.events[i].arguments]) == i);
}

TEST_CASE("tracer: many tracers come and go, each with its own events", "[trace]") {
    for (int round = 0; round < 300; ++round) {
        ftrace::tracer a("function", {.arguments = false, .buffer_kb = 4});
        ftrace::tracer b("function", {.arguments = false, .buffer_kb = 4});
        REQUIRE(a.set_filter("traced::step"));
        REQUIRE(b.set_filter("traced::other"));
        REQUIRE(a.start());
        REQUIRE(b.start());
        run(3);
        sink = traced::other(1);
        REQUIRE(a.read().events.size() == 3);
        REQUIRE(b.read().events.size() == 1);
    }
}

TEST_CASE("tracer: a thread that gets the slot of an ended one has a buffer of its own",
          "[trace]") {
    ftrace::tracer tracer("function", {.arguments = false, .buffer_kb = 4});
    REQUIRE(tracer.set_filter("traced::step"));
    REQUIRE(tracer.start());
    for (int i = 1; i <= 3; ++i) {
        std::thread([i] { run(i); }).join();
        // join() returns a moment before the kernel forgets the thread.
        std::size_t released = 0;
        for (int tries = 0; released == 0 && tries < 1'000'000; ++tries) {
            released = ftrace::detail::process()->threads.release_dead();
            std::this_thread::yield();
        }
        CHECK(released == 1);
    }
    REQUIRE(tracer.stop());
    const auto trace = tracer.read();
    std::multiset<std::size_t> counts;
    std::set<pid_t> ids;
    for (std::uint32_t thread = 0; thread < trace.threads.size(); ++thread) {
        std::size_t count = 0;
        for (const auto& event : trace.events) count += event.thread == thread;
        if (count != 0) counts.insert(count);
        if (count != 0) ids.insert(trace.threads[thread].tid);
    }
    CHECK(counts == std::multiset<std::size_t>{1, 2, 3});
    CHECK(ids.size() == 3);
}

TEST_CASE("tracer: a trace can be read while threads record", "[trace]") {
    ftrace::tracer tracer("function", {.buffer_kb = 64});
    REQUIRE(tracer.set_filter("traced::step"));
    REQUIRE(tracer.start());
    std::atomic<bool> stop = false;
    std::thread worker([&] {
        while (!stop.load(std::memory_order_relaxed)) run(100);
    });
    std::size_t seen = 0;
    for (int i = 0; i < 50 || seen == 0; ++i) {
        const auto trace = tracer.read();
        seen += trace.events.size();
        for (const auto& event : trace.events)
            if (trace.symbols.at(event.ip) != "_ZN6traced4stepEi") FAIL("torn event");
    }
    stop = true;
    worker.join();
    CHECK(seen > 0);
}

TEST_CASE("tracer: mistakes get answers that help", "[trace]") {
    using Catch::Matchers::ContainsSubstring;
    ftrace::tracer misspelt("functoin");
    CHECK_THAT(
        message(misspelt.start()),
        ContainsSubstring(
            "no tracer 'functoin': did you mean 'function'? (function_graph, function, nop)"));
    CHECK_THAT(message(misspelt.set_filter("x")), ContainsSubstring("no tracer"));
    ftrace::tracer plain("function");
    CHECK_THAT(message(plain.set_filter("traced::stp")), ContainsSubstring("traced::step"));
    CHECK_THAT(message(plain.set_max_depth(3)), ContainsSubstring("function_graph"));
    ftrace::tracer graph("function_graph");
    CHECK_THAT(message(graph.set_graph_function("traced::stp")), ContainsSubstring("traced::step"));
    CHECK_THAT(message(graph.set_max_depth(-1)), ContainsSubstring("-1"));
    ftrace::tracer nothing("nop");
    REQUIRE(nothing.start());
    run(10);
    REQUIRE(nothing.stop());
    CHECK(nothing.read().events.empty());
}

TEST_CASE("tracer: what one tracer does is in no other's trace", "[trace]") {
    ftrace::tracer everything("function", {.arguments = false});
    ftrace::tracer graph("function_graph", {.arguments = false});
    REQUIRE(everything.start());
    REQUIRE(graph.set_filter("traced::*"));
    REQUIRE(graph.set_notrace("traced::other"));
    REQUIRE(graph.set_graph_function("traced::step"));
    REQUIRE(graph.set_max_depth(3));
    REQUIRE(graph.start());
    run(2);
    REQUIRE(graph.stop());
    const auto of_graph = graph.read();
    REQUIRE(everything.stop());
    CHECK(of_graph.events.size() == 4);

    const auto trace = everything.read();
    std::size_t steps = 0;
    std::set<std::string> callers;
    for (const auto& event : trace.events) {
        steps += trace.symbols.at(event.ip) == "_ZN6traced4stepEi";
        const std::string caller = ftrace::demangle(trace.callers.at(event.parent_ip).linker_name);
        if (caller.starts_with("ftrace::")) callers.insert(caller);
    }
    CHECK(steps == 2);
    CHECK(callers == std::set<std::string>{});
}

TEST_CASE("tracer: calls that cannot be hooked are counted until they are cleared", "[trace]") {
    ftrace::fgraph_ops ops(nullptr, nullptr);
    ftrace::detail::unhooked_calls calls(ops);
    CHECK(calls.count() == 0);
    ftrace::detail::graph_access::miss(ops);
    ftrace::detail::graph_access::miss(ops);
    CHECK(calls.count() == 2);
    calls.clear();
    CHECK(calls.count() == 0);
    ftrace::detail::graph_access::miss(ops);
    CHECK(calls.count() == 1);
}

TEST_CASE("tracer: more than a thousand threads at a time are followed", "[trace]") {
    constexpr int count = 1200;
    ftrace::tracer tracer("function_graph", {.arguments = false, .buffer_kb = 4});
    REQUIRE(tracer.set_filter("traced::step"));
    REQUIRE(tracer.start());
    pthread_barrier_t all;
    ::pthread_barrier_init(&all, nullptr, count);
    pthread_attr_t small;
    ::pthread_attr_init(&small);
    ::pthread_attr_setstacksize(&small, std::size_t{256} << 10);
    std::vector<pthread_t> threads(count);
    int made = 0;
    for (pthread_t& each : threads)
        made += ::pthread_create(
                    &each, &small,
                    [](void* barrier) -> void* {
                        // Once more when all have called: no thread has ended by then.
                        volatile int result = traced::step(1);
                        ::pthread_barrier_wait(static_cast<pthread_barrier_t*>(barrier));
                        result = traced::step(result);
                        ::pthread_barrier_wait(static_cast<pthread_barrier_t*>(barrier));
                        return nullptr;
                    },
                    &all) == 0;
    REQUIRE(made == count);
    for (const pthread_t each : threads) ::pthread_join(each, nullptr);
    REQUIRE(tracer.stop());
    const auto trace = tracer.read();
    CHECK(trace.dropped == 0);
    CHECK(trace.events.size() == 2 * 2 * count);
    ::pthread_barrier_destroy(&all);
    ::pthread_attr_destroy(&small);
}

TEST_CASE("tracer: calls of more tracers than a thread has buffers for are counted", "[trace]") {
    constexpr std::size_t most = ftrace::detail::buffer_directory::capacity;
    std::vector<std::unique_ptr<ftrace::tracer>> tracers;
    for (std::size_t i = 0; i < most + 4; ++i) {
        tracers.push_back(std::make_unique<ftrace::tracer>(
            "function", ftrace::tracer_options{.arguments = false, .buffer_kb = 4}));
        REQUIRE(tracers.back()->set_filter("traced::step"));
        REQUIRE(tracers.back()->start());
    }
    run(3);
    std::size_t recorded = 0, dropped = 0;
    for (const auto& each : tracers) {
        REQUIRE(each->stop());
        const auto trace = each->read();
        recorded += trace.events.size();
        dropped += trace.dropped;
        CHECK(each->unrecorded().threads == trace.dropped);
    }
    CHECK(recorded == most * 3);
    CHECK(dropped == 4 * 3);
}

TEST_CASE("tracer: clear() frees the buffers of threads that have ended", "[trace]") {
    ftrace::tracer tracer("function", {.arguments = false, .buffer_kb = 4});
    REQUIRE(tracer.set_filter("traced::step"));
    REQUIRE(tracer.start());
    run(1);
    std::atomic<int> phase = 0;
    std::thread stays([&] {
        run(1);
        phase = 1;
        while (phase == 1) std::this_thread::yield();
        run(2);
    });
    std::vector<std::thread> threads;
    for (int i = 0; i < 20; ++i) threads.emplace_back([] { run(3); });
    for (auto& each : threads) each.join();
    while (phase == 0) std::this_thread::yield();
    CHECK(tracer.read().threads.size() == 22);
    // join() returns a moment before the kernel forgets the thread.
    for (int tries = 0; tracer.read().threads.size() != 2 && tries < 10'000; ++tries) {
        tracer.clear();
        std::this_thread::yield();
    }
    CHECK(tracer.read().threads.size() == 2);
    phase = 2;
    stays.join();
    run(1);
    std::thread([] { run(5); }).join();
    REQUIRE(tracer.stop());
    const auto trace = tracer.read();
    CHECK(trace.threads.size() == 3);
    CHECK(trace.events.size() == 8);
}

TEST_CASE("tracer: buffers are cleared while threads come and go, and somebody reads", "[trace]") {
    ftrace::tracer tracer("function", {.arguments = false, .buffer_kb = 4});
    REQUIRE(tracer.set_filter("traced::step"));
    REQUIRE(tracer.start());
    std::atomic<bool> stop = false;
    std::thread reader([&] {
        // trace_reader walks the list by plain loads.
        while (!stop.load(std::memory_order_relaxed))
            for (const auto& event : tracer.read().events)
                if (event.ip == 0) stop = true;
    });
    std::vector<std::thread> workers;
    for (int i = 0; i < 2; ++i)
        workers.emplace_back([&] {
            while (!stop.load(std::memory_order_relaxed)) std::thread([] { run(10); }).join();
        });
    for (int i = 0; i < 200; ++i) {
        tracer.clear();
        std::this_thread::yield();
    }
    CHECK_FALSE(stop);
    stop = true;
    for (auto& each : workers) each.join();
    reader.join();
    REQUIRE(tracer.stop());
}
