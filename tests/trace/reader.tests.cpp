// What a snapshot says beyond its events: who called, which threads ended, whose parameters may be
// others.
#include <ftrace/export/text.hpp>
#include <ftrace/trace/tracer.hpp>

#include <sys/mman.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <string>
#include <string_view>
#include <thread>

#ifdef __clang__
#define NOINLINE __attribute__((noinline))
#else
#define NOINLINE __attribute__((noipa))
#endif

namespace {

volatile long sink, five = 5;
volatile pid_t ended = 0;

[[noreturn]] NOINLINE void thrower(int value) { throw value; }

NOINLINE void local_function(int value) { sink = value; }

}  // namespace

// The call is the last instruction: the return address is that of another function.
NOINLINE void calls_at_its_end(int value) {
    sink = value;
    thrower(value);
}
NOINLINE void stands_behind(int value) { sink = value; }

NOINLINE void takes_numbers(short a, unsigned short b) { sink = a + b; }

struct large {
    long words[5];
};
NOINLINE large returns_large(long first) {
    large out{};
    out.words[0] = first;
    return out;
}

NOINLINE void ends_its_thread(int value) {
    sink = value;
    ended = ::gettid();
    pthread_exit(nullptr);
}

TEST_CASE("reader: a call that ends its function is that function's", "[trace]") {
    ftrace::tracer trace("function");
    trace.set_filter("*::thrower").value();
    trace.start().value();
    CHECK_THROWS_AS(calls_at_its_end(3), int);
    trace.stop().value();
    stands_behind(4);
    const auto read = trace.read();
    REQUIRE(read.events.size() == 1);
    const auto& caller = read.callers.at(read.events[0].parent_ip);
    CHECK(caller.linker_name == "_Z16calls_at_its_endi");
    CHECK(caller.offset <= caller.size);
    CHECK(caller.offset > 5);
    CHECK(to_text(read).find("<-calls_at_its_end\n") != std::string::npos);
}

TEST_CASE("reader: local functions of clang may have other parameters", "[trace]") {
    ftrace::tracer trace("function");
    trace.set_filter("*::local_function; takes_numbers").value();
    trace.start().value();
    local_function(3);
    takes_numbers(4, 5);
    trace.stop().value();
    const auto read = trace.read();
    REQUIRE(read.events.size() == 2);
    CHECK(read.changeable.count(read.events[1].ip) == 0);
#ifdef __clang__
    CHECK(read.changeable.count(read.events[0].ip) == 1);
#else
    CHECK(read.changeable.count(read.events[0].ip) == 0);
#endif
}

TEST_CASE("reader: calls settle what the names leave open", "[trace]") {
    ftrace::tracer trace("function_graph");
    trace.set_filter("takes_numbers; returns_large").value();
    trace.start().value();
    takes_numbers(-7, 65535);
    sink = returns_large(five).words[0];
    trace.stop().value();
    const std::string text = to_text(trace.read());
    CAPTURE(text);
    CHECK(text.find("takes_numbers(-7, 0xffff);") != std::string::npos);
    CHECK(text.find("returns_large(5);") != std::string::npos);

    // Without a return to see: -7 in 32 bits would be an address where memory is not known, and is
    // one in what AddressSanitizer has there.
    unsigned char resident = 0;
    if (::mincore(reinterpret_cast<void*>(0xfffff000ul), 0x1000, &resident) == 0) return;
    ftrace::tracer calls("function");
    calls.set_filter("takes_numbers").value();
    calls.start().value();
    takes_numbers(-7, 65535);
    calls.stop().value();
    CHECK(to_text(calls.read()).find("takes_numbers(-7, 0xffff) <-") != std::string::npos);
}

TEST_CASE("reader: a thread that is over is known to be", "[trace]") {
    ftrace::tracer trace("function_graph");
    trace.set_filter("ends_its_thread; takes_numbers").value();
    trace.start().value();
    takes_numbers(1, 2);
    std::thread(ends_its_thread, 3).join();
    // The kernel lets join() return before it takes the thread out of /proc.
    const std::string task = "/proc/self/task/" + std::to_string(ended);
    while (::access(task.c_str(), F_OK) == 0) std::this_thread::yield();
    trace.stop().value();
    const auto read = trace.read();
    REQUIRE(read.threads.size() == 2);
    for (const auto& thread : read.threads) CHECK(thread.ended == (thread.tid != ::getpid()));
    const std::string text = to_text(read);
    CAPTURE(text);
    CHECK(text.find("ends_its_thread(3); /* thread exit */\n") != std::string::npos);
}
