// Which calls function_graph leaves out: by their duration, without the time they slept, and by who
// called them.
#include <ftrace/export/text.hpp>
#include <ftrace/trace/tracer.hpp>

#include <time.h>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_all.hpp>
#include <cstdint>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "graph_shape.hpp"

using ftrace::event_kind;
using ftrace::graph_end;
using ftrace::trace_event;

namespace {

std::uint64_t now(clockid_t clock = CLOCK_MONOTONIC) {
    timespec t{};
    ::clock_gettime(clock, &t);
    return static_cast<std::uint64_t>(t.tv_sec) * 1'000'000'000 +
           static_cast<std::uint64_t>(t.tv_nsec);
}

}  // namespace

namespace traced {

volatile int sink = 0;

// At least so many microseconds, in which nothing runs, or the thread does.
__attribute__((noinline)) void sleeps(int microseconds) {
    const timespec wanted{0, microseconds * 1000L};
    ::clock_nanosleep(CLOCK_MONOTONIC, 0, &wanted, nullptr);
    sink = microseconds;
}
__attribute__((noinline)) void works(int microseconds) {
    const std::uint64_t end =
        now(CLOCK_THREAD_CPUTIME_ID) + static_cast<std::uint64_t>(microseconds) * 1000;
    while (now(CLOCK_THREAD_CPUTIME_ID) < end) {
    }
}
__attribute__((noinline)) int quick(int n) {
    sink = n;
    return n;
}
__attribute__((noinline)) void mixes(int n) {
    quick(n);
    sleeps(3000);
    quick(n + 1);
    sleeps(3000);
    sink = n;
}
__attribute__((noinline)) void sleeps_often(int times) {
    for (int i = 1; i <= times; ++i) sleeps(i);
    sink = times;
}
__attribute__((noinline)) void sleeps_and_throws(int microseconds) {
    sleeps(microseconds);
    throw std::runtime_error("after a sleep");
}

__attribute__((noinline)) void leaf(int n) { sink = n; }
__attribute__((noinline)) void hidden(int n) {
    leaf(n);
    if (n < 0) throw std::runtime_error("hidden");
    sink = n;
}
__attribute__((noinline)) void outer(int n) {
    leaf(n + 1);
    try {
        hidden(n);
    } catch (const std::runtime_error&) {
        sink = n;
    }
    leaf(n + 2);
}

}  // namespace traced

namespace {

constexpr std::uint64_t threshold = 2000;  // microseconds

// Whether all of `run` without its sleeps takes so little that no call of quick() can have been
// slow: else somebody else had the processor.
template <class Run>
ftrace::trace_snapshot undisturbed(ftrace::tracer& tracer, std::uint64_t asleep, Run run) {
    REQUIRE(tracer.set_filter("traced::*"));
    for (;;) {
        tracer.clear();
        REQUIRE(tracer.start());
        const std::uint64_t begin = now();
        run();
        const std::uint64_t took = now() - begin;
        REQUIRE(tracer.stop());
        if (took < (asleep + threshold / 2) * 1000) return tracer.read();
    }
}

std::string message(const ftrace::result<void>& r) { return r ? "" : r.error().message; }
std::string message(const ftrace::result<std::size_t>& r) { return r ? "" : r.error().message; }

}  // namespace

TEST_CASE("options: with a threshold only long calls are written, callers around callees",
          "[trace]") {
    ftrace::tracer tracer("function_graph", {.tracing_thresh = threshold});
    const auto trace = undisturbed(tracer, 6000, [] { traced::mixes(7); });
    ftrace::text_options options;
    options.funcgraph_retval = true;
    const std::string text = shape(trace, options);
    CAPTURE(text);
    CHECK(text.find("              |  traced::mixes(7) {\n"
                    "  D us|    traced::sleeps(3000); /* ret=0x") == 0);
    CHECK(text.find("quick") == std::string::npos);
    REQUIRE(trace.events.size() == 6);
    for (const trace_event& event : trace.events) {
        CHECK(event.cpu < trace.cpus);
        if (event.kind != event_kind::graph_return) CHECK(event.parent_ip != 0);
        if (event.kind == event_kind::graph_return) CHECK(event.duration >= threshold * 1000);
    }
    CHECK(trace.written == 6);
}

TEST_CASE("options: a threshold is at the duration itself, and exceptions are held back, too",
          "[trace]") {
    ftrace::tracer tracer("function_graph", {.arguments = false, .tracing_thresh = threshold});
    const auto trace = undisturbed(tracer, 3000, [] {
        try {
            traced::sleeps_and_throws(3000);
        } catch (const std::runtime_error&) {
            traced::quick(1);
        }
    });
    const std::string text = shape(trace);
    CAPTURE(text);
    CHECK(text.find("              |  traced::sleeps_and_throws() {\n"
                    "  D us|    traced::sleeps();\n"
                    "  D us|  } /* traced::sleeps_and_throws ! std::runtime_error") == 0);

    using ftrace::detail::is_long_enough;
    ftrace::detail::recorder wanted;
    wanted.threshold = 1000;
    wanted.threshold_ticks = 2600;
    constexpr std::uint64_t unknown = ftrace::detail::unknown_ticks;
    CHECK(is_long_enough(wanted, 2600, unknown));
    CHECK_FALSE(is_long_enough(wanted, 2599, unknown));
    CHECK(is_long_enough(wanted, 5000, 1000));
    CHECK_FALSE(is_long_enough(wanted, 5000, 999));
}

TEST_CASE("options: a call that is held back is written whole or not at all", "[trace]") {
    // 4 KiB are 128 slots; a call takes six here, and its return two: sixteen calls fit.
    ftrace::tracer first(
        "function_graph",
        {.buffer_kb = 4, .when_full = ftrace::overflow::drop, .tracing_thresh = 1});
    ftrace::tracer newest("function_graph", {.buffer_kb = 4, .tracing_thresh = 1});
    for (ftrace::tracer* each : {&first, &newest}) {
        REQUIRE(each->set_filter("traced::sleeps; traced::mixes"));
        REQUIRE(each->set_notrace("traced::mixes"));
        REQUIRE(each->start());
    }
    for (int i = 0; i < 40; ++i) traced::sleeps(i);
    REQUIRE(first.stop());
    REQUIRE(newest.stop());
    const auto first_ones = first.read();
    REQUIRE(first_ones.events.size() == 32);
    CHECK(first_ones.dropped == 48);
    for (int i = 0; i < 16; ++i) {
        const trace_event& call = first_ones.events[static_cast<std::size_t>(2 * i)];
        CHECK(static_cast<int>(first_ones.argument_words[call.arguments]) == i);
        CHECK(first_ones.events[static_cast<std::size_t>(2 * i + 1)].call_time == call.time);
    }
    const auto new_ones = newest.read();
    CHECK(new_ones.events.size() == 32);
    CHECK(new_ones.overwritten == 48);
}

TEST_CASE("options: what was lost lies before the first call, also one that began long before",
          "[trace]") {
    ftrace::tracer tracer("function_graph",
                          {.arguments = false, .buffer_kb = 2, .tracing_thresh = 1});
    REQUIRE(tracer.set_filter("traced::*"));
    REQUIRE(tracer.start());
    // 64 slots: 32 calls. That of sleeps_often() comes last into the buffer, and first in time.
    traced::sleeps_often(60);
    REQUIRE(tracer.stop());
    const auto trace = tracer.read();
    REQUIRE(trace.events.size() == 64);
    CHECK(trace.overwritten == 2 * 61 - 64);
    CHECK(trace.events[0].depth == 0);
    CHECK(trace.events[0].lost_before == trace.overwritten);
    for (std::size_t i = 1; i < trace.events.size(); ++i) CHECK(trace.events[i].lost_before == 0);
    for (std::size_t i = 1; i < trace.events.size(); ++i)
        CHECK(trace.events[i].time >= trace.events[i - 1].time);
}

TEST_CASE("options: without sleep-time durations are what the thread ran", "[trace]") {
    constexpr int asleep = 50'000, awake = 20'000;  // microseconds
    for (const bool sleep_time : {true, false}) {
        ftrace::tracer tracer("function_graph", {.sleep_time = sleep_time});
        REQUIRE(tracer.set_filter("traced::*"));
        REQUIRE(tracer.start());
        traced::sleeps(asleep);
        traced::works(awake);
        REQUIRE(tracer.stop());
        const auto trace = tracer.read();
        REQUIRE(trace.events.size() == 4);
        // Whatever else runs: a thread that sleeps for 50 ms does not run meanwhile.
        CHECK((trace.events[1].duration >= asleep * 1000) == sleep_time);
        CHECK(trace.events[3].duration >= awake * 1000);
        CHECK(trace.events[1].has_return_value);
    }
}

TEST_CASE("options: without sleep-time a threshold is one of running", "[trace]") {
    ftrace::tracer tracer("function_graph",
                          {.arguments = false, .tracing_thresh = 20'000, .sleep_time = false});
    REQUIRE(tracer.set_filter("traced::sleeps; traced::works"));
    REQUIRE(tracer.start());
    traced::sleeps(50'000);
    traced::works(25'000);
    REQUIRE(tracer.stop());
    CHECK(shape(tracer.read()) == "  D us|  traced::works();\n");
}

TEST_CASE("options: graph_notrace leaves out functions with all they call", "[trace]") {
    ftrace::tracer tracer("function_graph");
    REQUIRE(tracer.set_filter("traced::*"));
    CHECK(tracer.set_graph_notrace("traced::hidden; traced::quick").value_or(0) == 2);
    CHECK(tracer.set_graph_notrace("!traced::quick").value_or(0) == 1);
    REQUIRE(tracer.start());
    traced::outer(1);
    traced::outer(-9);
    traced::hidden(5);
    traced::quick(3);
    REQUIRE(tracer.stop());
    // An exception ends what a function hides, as a return does.
    CHECK(shape(tracer.read()) ==
          "              |  traced::outer(1) {\n"
          "  D us|    traced::leaf(2);\n"
          "  D us|    traced::leaf(3);\n"
          "  D us|  }\n"
          "              |  traced::outer(-9) {\n"
          "  D us|    traced::leaf(-8);\n"
          "  D us|    traced::leaf(-7);\n"
          "  D us|  }\n"
          "  D us|  traced::quick(3);\n");
}

TEST_CASE("options: graph_notrace holds inside of graph functions", "[trace]") {
    ftrace::tracer tracer("function_graph", {.arguments = false});
    ftrace::tracer everything("function_graph", {.arguments = false});
    for (ftrace::tracer* each : {&tracer, &everything}) REQUIRE(each->set_filter("traced::*"));
    REQUIRE(tracer.set_graph_function("traced::outer"));
    REQUIRE(tracer.set_graph_notrace("traced::hidden"));
    REQUIRE(everything.start());
    REQUIRE(tracer.start());
    traced::hidden(1);
    traced::outer(1);
    traced::leaf(1);
    REQUIRE(tracer.stop());
    REQUIRE(everything.stop());
    CHECK(shape(tracer.read()) ==
          "              |  traced::outer() {\n"
          "  D us|    traced::leaf();\n"
          "  D us|    traced::leaf();\n"
          "  D us|  }\n");
    CHECK(everything.read().events.size() == 2 * (2 + 5 + 1));
    // A list that became empty hides nothing.
    tracer.clear();
    REQUIRE(tracer.set_graph_notrace("!traced::*"));
    REQUIRE(tracer.start());
    traced::outer(1);
    REQUIRE(tracer.stop());
    CHECK(tracer.read().events.size() == 2 * 5);
}

TEST_CASE("options: mistakes get answers that help", "[trace]") {
    using Catch::Matchers::ContainsSubstring;
    ftrace::tracer plain("function", {.tracing_thresh = 5});
    CHECK_THAT(message(plain.start()),
               ContainsSubstring("tracing_thresh is for the tracer function_graph, and this is "
                                 "function"));
    CHECK_FALSE(plain.running());
    ftrace::tracer endless("function_graph", {.tracing_thresh = ~std::uint64_t{0}});
    CHECK_THAT(message(endless.start()), ContainsSubstring("the most is 1000000000000"));
    CHECK_THAT(message(plain.set_graph_notrace("traced::leaf")),
               ContainsSubstring("set_graph_notrace() is for the tracer function_graph"));
    ftrace::tracer graph("function_graph");
    CHECK_THAT(message(graph.set_graph_notrace("traced::laef")), ContainsSubstring("traced::leaf"));
    CHECK_THAT(message(graph.set_graph_notrace(" ")), ContainsSubstring("empty list"));
    REQUIRE(graph.set_filter("traced::leaf"));
    REQUIRE(graph.start());
    CHECK_THAT(message(graph.set_graph_notrace("traced::leaf")), ContainsSubstring("stop() first"));
    REQUIRE(graph.stop());
}
