// A graph of known shape, an exception thrown through it, and its text.
#include <ftrace/export/text.hpp>
#include <ftrace/export/top.hpp>
#include <ftrace/trace/tracer.hpp>

#include <catch2/catch_test_macros.hpp>
#include <cstdint>
#include <stdexcept>
#include <string>

#include "graph_shape.hpp"

// As its name says, whatever the compiler knows of its callers.
#ifdef __clang__
#define KEPT __attribute__((noinline))
#else
#define KEPT __attribute__((noipa))
#endif

namespace traced {

__attribute__((noinline)) int leaf(int n) { return n + 1; }
__attribute__((noinline)) int middle(int n) { return leaf(n) + leaf(n + 1); }
__attribute__((noinline)) int outer(int n) { return middle(n) * leaf(n); }
// Three functions, since a compiler may make a loop of one that calls itself.
__attribute__((noinline)) int thrower(int n) {
    if (n == 0) throw std::runtime_error("thrown on purpose");
    return n;
}
__attribute__((noinline)) int calls_thrower(int n) { return thrower(n - 1) + n; }
__attribute__((noinline)) int calls_twice(int n) { return calls_thrower(n - 1) + n; }
__attribute__((noinline)) int catcher() {
    try {
        return calls_twice(2);
    } catch (const std::runtime_error&) {
        return leaf(6);
    }
}
volatile int level = 0;
__attribute__((noinline)) void deep(int n) {
    level = n;
    if (n > 1) deep(n - 1);
    level = n;  // so that the call is none in a tail
}
__attribute__((noinline)) int failing() {
    volatile int result = -5;  // else callers know it and do not call
    return result;
}
template <typename T>
KEPT T gives(T value) {
    volatile T result = value;
    return result;
}
struct truth {
    int value;
    KEPT explicit truth(int v) : value(v) {}
    KEPT explicit operator bool() const { return value != 0; }
};

}  // namespace traced

namespace {

volatile int sink = 0;

void run() {
    sink = traced::outer(sink + 1);
    sink = traced::catcher();
    sink = traced::failing();
}

}  // namespace

TEST_CASE("tracer: function_graph shows calls, depths, results and what an exception left",
          "[trace]") {
    ftrace::tracer tracer("function_graph");
    REQUIRE(tracer.set_filter("traced::*"));
    REQUIRE(tracer.start());
    run();
    REQUIRE(tracer.stop());
    CHECK(sink == -5);

    const ftrace::trace_snapshot trace = tracer.read();
    ftrace::text_options options;
    options.funcgraph_retval = true;
    const std::string expected =
        "              |  traced::outer(1) {\n"
        "              |    traced::middle(1) {\n"
        "  D us|      traced::leaf(1); /* ret=0x2 */\n"
        "  D us|      traced::leaf(2); /* ret=0x3 */\n"
        "  D us|    } /* ret=0x5 */\n"
        "  D us|    traced::leaf(1); /* ret=0x2 */\n"
        "  D us|  } /* ret=0xa */\n"
        "              |  traced::catcher() {\n"
        "              |    traced::calls_twice(2) {\n"
        "              |      traced::calls_thrower(1) {\n"
        "  D us|        traced::thrower(0); /* ! std::runtime_error, caught in traced::catcher */\n"
        "  D us|      } /* traced::calls_thrower ! std::runtime_error, caught in traced::catcher "
        "*/\n"
        "  D us|    } /* traced::calls_twice ! std::runtime_error, caught in traced::catcher */\n"
        "  D us|    traced::leaf(6); /* ret=0x7 */\n"
        "  D us|  } /* ret=0x7 */\n"
        "  D us|  traced::failing(); /* ret=-5 */\n";
    CHECK(shape(trace, options) == expected);

    // Every return's time is that between its two events, and callers take longer than callees.
    for (const auto& f : ftrace::profile(trace)) {
        if (trace.symbols.at(f.ip).find("outer") == std::string::npos) continue;
        CHECK(f.hits == 1);
        CHECK(f.time > f.self);
        std::uint64_t begin = 0, end = 0;
        for (const auto& event : trace.events)
            if (event.ip == f.ip) (begin == 0 ? begin : end) = event.time;
        CHECK(f.time + 1 >= end - begin);
        CHECK(f.time <= end - begin + 1);
    }
}

TEST_CASE("tracer: max_graph_depth and set_graph_function limit what is followed", "[trace]") {
    ftrace::tracer tracer("function_graph", {.arguments = false});
    REQUIRE(tracer.set_filter("traced::*"));
    REQUIRE(tracer.set_graph_function("traced::outer; traced::fail*").value_or(0) == 2);
    REQUIRE(tracer.set_max_depth(2));
    REQUIRE(tracer.start());
    CHECK_FALSE(tracer.set_max_depth(1));
    run();
    run();
    REQUIRE(tracer.stop());
    const std::string once =
        "              |  traced::outer() {\n"
        "  D us|    traced::middle();\n"
        "  D us|    traced::leaf();\n"
        "  D us|  }\n"
        "  D us|  traced::failing();\n";
    CHECK(shape(tracer.read()) == once + once);

    ftrace::tracer only_thrower("function_graph", {.arguments = false});
    REQUIRE(only_thrower.set_filter("traced::*"));
    REQUIRE(only_thrower.set_graph_function("traced::calls_twice"));
    REQUIRE(only_thrower.start());
    run();
    REQUIRE(only_thrower.stop());
    // leaf(6) runs behind an exception that left the graph function: it is no part of its graph.
    CHECK(
        shape(only_thrower.read()) ==
        "              |  traced::calls_twice() {\n"
        "              |    traced::calls_thrower() {\n"
        "  D us|      traced::thrower(); /* ! std::runtime_error, caught in traced::catcher */\n"
        "  D us|    } /* traced::calls_thrower ! std::runtime_error, caught in traced::catcher */\n"
        "  D us|  } /* traced::calls_twice ! std::runtime_error, caught in traced::catcher */\n");
}

TEST_CASE("tracer: a graph function is over when it returns, whatever another tracer hooks",
          "[trace]") {
    ftrace::tracer tracer("function_graph", {.arguments = false});
    ftrace::tracer everything("function_graph", {.arguments = false});
    REQUIRE(tracer.set_filter("traced::*"));
    REQUIRE(tracer.set_notrace("traced::catcher"));
    REQUIRE(tracer.set_graph_function("traced::outer"));
    REQUIRE(everything.set_filter("traced::*"));
    REQUIRE(everything.start());
    REQUIRE(tracer.start());
    run();
    REQUIRE(tracer.stop());
    REQUIRE(everything.stop());
    // Depths count the other tracer's calls too: behind catcher(), which only that one hooks, calls
    // are as deep as if outer() still ran.
    CHECK(shape(tracer.read()) ==
          "              |  traced::outer() {\n"
          "              |    traced::middle() {\n"
          "  D us|      traced::leaf();\n"
          "  D us|      traced::leaf();\n"
          "  D us|    }\n"
          "  D us|    traced::leaf();\n"
          "  D us|  }\n");
}

TEST_CASE("tracer: `!` takes functions off the graph functions", "[trace]") {
    ftrace::tracer tracer("function_graph", {.arguments = false});
    REQUIRE(tracer.set_filter("traced::*"));
    const auto refused = [&](const char* patterns) {
        const auto set = tracer.set_graph_function(patterns);
        return !set && set.error().code == ftrace::errc::invalid_argument;
    };
    CHECK(refused("!traced::outer"));
    CHECK(refused("traced::outer; !traced::out*"));
    CHECK(refused(" ; "));
    REQUIRE(tracer.set_graph_function("traced::outer; traced::fail*; traced::catcher"));
    CHECK(tracer.set_graph_function("!traced::catch*").value_or(0) == 1);
    CHECK(tracer.set_graph_function("!traced::outer").value_or(0) == 1);
    CHECK(refused("!traced::failing"));
    REQUIRE(tracer.start());
    run();
    REQUIRE(tracer.stop());
    CHECK(shape(tracer.read()) == "  D us|  traced::failing();\n");
}

TEST_CASE("tracer: calls have depths and durations however deep they are", "[trace]") {
    constexpr std::uint32_t deepest = 20'000;  // more than 14 bits
    ftrace::tracer tracer("function_graph", {.arguments = false});
    REQUIRE(tracer.set_filter("traced::deep"));
    REQUIRE(tracer.start());
    traced::deep(deepest);
    REQUIRE(tracer.stop());
    const auto trace = tracer.read();
    REQUIRE(trace.events.size() == 2 * deepest);
    for (std::uint32_t i = 0; i < deepest; ++i) {
        if (trace.events[i].depth != i) FAIL("call " << i << " is " << trace.events[i].depth);
        const auto& end = trace.events[2 * deepest - 1 - i];
        if (end.depth != i) FAIL("end of call " << i << " is " << end.depth);
        if (end.duration == ftrace::trace_event::unknown) FAIL("no duration of call " << i);
    }
}

TEST_CASE("tracer: results have the types that names tell", "[trace]") {
    ftrace::tracer tracer("function_graph", {.arguments = false, .results = true});
    REQUIRE(tracer.set_filter("traced::gives*; traced::truth::*; traced::failing"));
    REQUIRE(tracer.start());
    sink = traced::gives<int>(sink * 0 + 42);
    sink = static_cast<int>(traced::gives<double>(sink * 0 + 1.5));
    sink = static_cast<int>(traced::gives<float>(static_cast<float>(sink * 0) - 0.25f));
    sink =
        static_cast<int>(traced::gives<unsigned char>(static_cast<unsigned char>(sink * 0 + 255)));
    const traced::truth no(sink * 0);
    sink = static_cast<bool>(no);
    sink = traced::failing();
    REQUIRE(tracer.stop());
    ftrace::text_options options;
    options.funcgraph_retval = true;
    options.names.templates = ftrace::template_arguments::hidden;
    CHECK(shape(tracer.read(), options) ==
          "  D us|  traced::gives(); /* ret=42 */\n"
          "  D us|  traced::gives(); /* ret=1.5 */\n"
          "  D us|  traced::gives(); /* ret=-0.25 */\n"
          "  D us|  traced::gives(); /* ret=0xff */\n"
          "  D us|  traced::truth::truth();\n"
          "  D us|  traced::truth::operator bool(); /* ret=false */\n"
          "  D us|  traced::failing(); /* ret=-5 */\n");

    ftrace::tracer without("function_graph", {.arguments = false});
    REQUIRE(without.set_filter("traced::failing"));
    REQUIRE(without.start());
    sink = traced::failing();
    REQUIRE(without.stop());
    const auto trace = without.read();
    REQUIRE(trace.events.size() == 2);
    CHECK_FALSE(trace.events[1].has_return_value);
}
