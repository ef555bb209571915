// How function_graph tells of calls that end otherwise than by a return, and of fibers.
#include <ftrace/export/text.hpp>
#include <ftrace/export/top.hpp>
#include <ftrace/trace/tracer.hpp>

#include <pthread.h>
#include <ucontext.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <csetjmp>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "graph_shape.hpp"
#include "sanitizers.hpp"

using ftrace::event_kind;
using ftrace::graph_end;
using ftrace::trace_event;

namespace traced {

volatile int sink = 0;

template <int... N>
struct failure {};

struct cleans_up {
    __attribute__((noinline)) ~cleans_up();
};
__attribute__((noinline)) void cleaned() { sink = sink + 1; }
cleans_up::~cleans_up() { cleaned(); }

__attribute__((noinline)) void throws(int what) {
    sink = what;
    if (what == 1) throw 42;
    if (what == 2) throw failure<1, 2>();
    if (what == 3)
        throw failure<1000000001, 1000000002, 1000000003, 1000000004, 1000000005, 1000000006,
                      1000000007, 1000000008, 1000000009>();
    if (what == 4) throw "a text";
}
__attribute__((noinline)) void passes(int what) {
    const cleans_up local;
    throws(what);
    sink = what;
}
__attribute__((noinline)) void catches(int what) {
    try {
        passes(what);
    } catch (...) {
        sink = what;
    }
}
__attribute__((noinline)) void throws_again() {
    try {
        throws(1);
    } catch (int) {
        throw std::logic_error("another");
    }
}

std::jmp_buf place;
__attribute__((noinline)) void jumps() {
    sink = 2;
    std::longjmp(place, 1);
}
__attribute__((noinline)) void calls_jumps() {
    jumps();
    sink = 3;
}
__attribute__((noinline)) void after() { sink = 4; }

__attribute__((noinline)) void ends_thread() {
    sink = 5;
    ::pthread_exit(nullptr);
}
__attribute__((noinline)) void in_thread() {
    ends_thread();
    sink = 6;
}

}  // namespace traced

namespace {

void jump() {
    if (setjmp(traced::place) == 0) traced::calls_jumps();
    traced::after();
}

// A fiber: it runs `body` once, which may give the thread away in between.
struct fiber {
    explicit fiber(void (*f)(fiber&)) : body(f), stack(256 * 1024) { start(); }
    void start() {
        ::getcontext(&mine);
        mine.uc_stack.ss_sp = stack.data();
        mine.uc_stack.ss_size = stack.size();
        mine.uc_link = &outside;
        const auto self = reinterpret_cast<std::uintptr_t>(this);
        ::makecontext(&mine, reinterpret_cast<void (*)()>(&run), 2, static_cast<int>(self >> 32),
                      static_cast<int>(self));
    }
    void resume() { ::swapcontext(&outside, &mine); }
    void yield() { ::swapcontext(&mine, &outside); }
    static void run(int high, int low) {
        auto* const self = reinterpret_cast<fiber*>(
            (static_cast<std::uintptr_t>(static_cast<unsigned>(high)) << 32) |
            static_cast<unsigned>(low));
        self->body(*self);
    }

    void (*body)(fiber&);
    std::vector<std::byte> stack;
    ucontext_t mine{}, outside{};
};

}  // namespace

namespace traced {
__attribute__((noinline)) void goes_away(fiber& self) {
    sink = 7;
    self.yield();
    after();
    sink = 8;
}
__attribute__((noinline)) void resumes(fiber& other) {
    other.resume();
    after();
    other.resume();
    after();
    sink = 9;
}
}  // namespace traced

namespace {

ftrace::trace_snapshot traced_run(ftrace::tracer& tracer, void (*run)()) {
    REQUIRE(tracer.set_filter("traced::*"));
    REQUIRE(tracer.start());
    run();
    REQUIRE(tracer.stop());
    return tracer.read();
}

}  // namespace

TEST_CASE("ends: exceptions have their type and who caught them", "[trace]") {
    ftrace::tracer tracer("function_graph", {.arguments = false});
    const auto trace = traced_run(tracer, [] {
        traced::catches(0);
        traced::catches(1);
        traced::catches(2);
    });
    CHECK(
        shape(trace) ==
        "              |  traced::catches() {\n"
        "              |    traced::passes() {\n"
        "  D us|      traced::throws();\n"
        "              |      traced::cleans_up::~cleans_up() {\n"
        "  D us|        traced::cleaned();\n"
        "  D us|      }\n"
        "  D us|    }\n"
        "  D us|  }\n"
        "              |  traced::catches() {\n"
        "              |    traced::passes() {\n"
        "  D us|      traced::throws(); /* ! int, caught in traced::catches */\n"
        "              |      traced::cleans_up::~cleans_up() {\n"
        "  D us|        traced::cleaned();\n"
        "  D us|      }\n"
        "  D us|    } /* traced::passes ! int, caught in traced::catches */\n"
        "  D us|  }\n"
        "              |  traced::catches() {\n"
        "              |    traced::passes() {\n"
        "  D us|      traced::throws(); /* ! traced::failure<1, 2>, caught in traced::catches */\n"
        "              |      traced::cleans_up::~cleans_up() {\n"
        "  D us|        traced::cleaned();\n"
        "  D us|      }\n"
        "  D us|    } /* traced::passes ! traced::failure<1, 2>, caught in traced::catches */\n"
        "  D us|  }\n");
    CHECK(trace.exceptions.size() == 2);
    // What an exception left has a time, and is counted as the kernel counts returns.
    for (const auto& f : ftrace::profile(trace)) {
        CHECK(f.returns == f.hits);
        CHECK(f.self <= f.time);
    }
}

TEST_CASE("ends: a long name of a type is cut, a type may be a pointer", "[trace]") {
    ftrace::tracer tracer("function_graph", {.arguments = false, .results = true});
    const auto trace = traced_run(tracer, [] {
        traced::catches(3);
        traced::catches(4);
    });
    REQUIRE(trace.exceptions.size() == 2);
    // N6traced7failureIJLi1000000001ELi1000000002E...EEE: 112 letters of it.
    CHECK(trace.exceptions[0].type.substr(0, 33) == "N6traced7failureIJLi1000000001ELi");
    CHECK(trace.exceptions[0].type.size() == 112);
    CHECK(trace.exceptions[1].type == "PKc");
    const std::string text = to_text(trace);
    CHECK(text.find("! N6traced7failureIJLi1000000001ELi") != std::string::npos);
    CHECK(text.find("..., caught in traced::catches */\n") != std::string::npos);
    CHECK(text.find("! char const*, caught in traced::catches */\n") != std::string::npos);
    for (const trace_event& event : trace.events)
        CHECK(event.has_return_value ==
              (event.kind == event_kind::graph_return && event.end == graph_end::returned));
}

TEST_CASE("ends: of two exceptions each call has its own", "[trace]") {
    ftrace::tracer tracer("function_graph", {.arguments = false});
    const auto trace = traced_run(tracer, [] {
        try {
            traced::throws_again();
        } catch (const std::exception&) {
            traced::after();
        }
    });
    const std::string text = shape(trace);
    CAPTURE(text);
    CHECK(text.find("    traced::throws(); /* ! int, caught in traced::throws_again */\n") !=
          std::string::npos);
    CHECK(text.find("  } /* traced::throws_again ! std::logic_error, caught in ") !=
          std::string::npos);
    CHECK(text.find("no return") == std::string::npos);
}

TEST_CASE("ends: longjmp is told, without a duration", "[trace]") {
    ftrace::tracer tracer("function_graph", {.arguments = false});
    const auto trace = traced_run(tracer, [] { jump(); });
    CHECK(shape(trace) ==
          "              |  traced::calls_jumps() {\n"
          "              |    traced::jumps(); /* longjmp */\n"
          "              |  } /* traced::calls_jumps: longjmp */\n"
          "  D us|  traced::after();\n");
    REQUIRE(trace.events.size() == 6);
    CHECK(trace.events[2].end == graph_end::longjmp);
    CHECK(trace.events[2].duration == trace_event::unknown);
    CHECK_FALSE(trace.events[2].has_return_value);
}

TEST_CASE("ends: a thread that ends itself ends its calls", "[trace]") {
    ftrace::tracer tracer("function_graph", {.arguments = false});
    const auto trace = traced_run(tracer, [] { std::thread(traced::in_thread).join(); });
    CHECK(shape(trace) ==
          "              |  traced::in_thread() {\n"
          "  D us|    traced::ends_thread(); /* thread exit */\n"
          "  D us|  } /* traced::in_thread: thread exit */\n");
}

TEST_CASE("ends: a fiber's call that ends on another thread belongs to that which began it",
          "[trace]") {
    // It keeps a stack of calls for each thread, and crashes without any tracer.
    if (built_with::thread_sanitizer) return;
    struct row {
        bool sleep_time;
        std::uint64_t threshold;
    };
    for (const auto& [sleep_time, threshold] : {row{true, 0}, row{false, 0}, row{true, 1}}) {
        ftrace::tracer tracer(
            "function_graph",
            {.arguments = false, .tracing_thresh = threshold, .sleep_time = sleep_time});
        fiber moves(traced::goes_away);
        REQUIRE(tracer.set_filter("traced::goes_away"));
        REQUIRE(tracer.start());
        moves.resume();
        std::thread([&] { moves.resume(); }).join();
        REQUIRE(tracer.stop());
        const auto trace = tracer.read();
        REQUIRE(trace.events.size() == 2);
        const trace_event &call = trace.events[0], &end = trace.events[1];
        CHECK(trace.threads[call.thread].tid == ::getpid());
        CHECK(trace.threads[end.thread].tid != ::getpid());
        CHECK(end.call_thread() == call.thread);
        CHECK(call.call_thread() == call.thread);
        // No clock of both threads stands still while they sleep.
        CHECK((end.duration != trace_event::unknown) == sleep_time);
        const std::string brace = sleep_time ? "  D us|  } /* traced::goes_away */\n"
                                             : "              |  } /* traced::goes_away */\n";
        const std::string text = shape(trace);
        CAPTURE(text);
        CHECK(text.find("              |  traced::goes_away() {\n") != std::string::npos);
        CHECK(text.find(brace) != std::string::npos);
        CHECK(text.find("no return") == std::string::npos);
    }
}

TEST_CASE("ends: a fiber inside a graph function neither belongs to it nor ends it", "[trace]") {
    ftrace::tracer tracer("function_graph", {.arguments = false});
    REQUIRE(tracer.set_graph_function("traced::resumes"));
    static fiber* inner = nullptr;
    fiber other(traced::goes_away);
    inner = &other;
    const auto trace = traced_run(tracer, [] { traced::resumes(*inner); });
    CHECK(shape(trace) ==
          "              |  traced::resumes() {\n"
          "  D us|    traced::after();\n"
          "  D us|    traced::after();\n"
          "  D us|  }\n");
}

TEST_CASE("ends: a fiber that was dropped is told when its stack is used again", "[trace]") {
    ftrace::tracer tracer("function_graph", {.arguments = false});
    REQUIRE(tracer.set_filter("traced::goes_away"));
    REQUIRE(tracer.start());
    fiber first(traced::goes_away), other(traced::goes_away);
    first.resume();
    other.resume();
    first.start();
    first.resume();
    first.resume();
    other.resume();
    REQUIRE(tracer.stop());
    const std::string text = shape(tracer.read());
    CAPTURE(text);
    CHECK(text.find("} /* traced::goes_away: abandoned */\n") != std::string::npos);
    CHECK(text.find("no return") == std::string::npos);
}
