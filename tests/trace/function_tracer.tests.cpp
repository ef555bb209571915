// A traced program of several threads, read as a snapshot and as text.
#include <ftrace/export/text.hpp>
#include <ftrace/trace/tracer.hpp>

#include <pthread.h>

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators_all.hpp>
#include <cerrno>
#include <cstdint>
#include <map>
#include <string>
#include <thread>
#include <vector>

namespace traced {

__attribute__((noinline)) int leaf(int n) { return n + (errno == 4711 ? 1 : 0); }
__attribute__((noinline)) double mixed(const char* s, int n, double x) {
    return s[0] + leaf(n) + x;
}
__attribute__((noinline)) int ignored(int n) { return n * 2; }

}  // namespace traced

namespace {

std::map<std::string, int> calls_by_name(const ftrace::trace_snapshot& trace) {
    std::map<std::string, int> count;
    for (const auto& event : trace.events) {
        const auto name = ftrace::demangle(trace.symbols.at(event.ip));
        ++count[std::string(ftrace::split_demangled(name).name)];
    }
    return count;
}

thread_local volatile int sink = 0;
const char* volatile letter = "a";  // else a copy of mixed() for the constant is made

void run(int times) {
    for (int i = 0; i < times; ++i)
        sink = static_cast<int>(traced::mixed(letter, i, 2.5)) + traced::ignored(i);
}

}  // namespace

TEST_CASE("tracer: function records calls of all threads, in order, until it is stopped",
          "[trace]") {
    ftrace::tracer tracer("function");
    REQUIRE(tracer.set_filter("traced::*").value_or(0) == 3);
    REQUIRE(tracer.set_notrace("traced::ignored").value_or(0) == 1);
    run(5);
    CHECK(tracer.read().events.empty());

    REQUIRE(tracer.start());
    CHECK(tracer.running());
    CHECK_FALSE(tracer.start());
    errno = 4711;
    run(3);
    CHECK(errno == 4711);
    std::vector<std::thread> threads;
    for (int i = 0; i < 3; ++i)
        threads.emplace_back([i] {
            const std::string name = "worker-" + std::to_string(i);
            ::pthread_setname_np(::pthread_self(), name.c_str());
            run(100 * (i + 1));
        });
    for (auto& each : threads) each.join();
    REQUIRE(tracer.stop());
    run(50);

    const ftrace::trace_snapshot trace = tracer.read();
    CHECK(calls_by_name(trace) ==
          std::map<std::string, int>{{"traced::mixed", 603}, {"traced::leaf", 603}});
    CHECK(trace.written == 1206);
    CHECK(trace.overwritten == 0);
    CHECK(trace.dropped == 0);
    REQUIRE(trace.threads.size() == 4);
    std::map<std::string, std::size_t> events_by_thread;
    std::vector<std::uint64_t> last(4, 0);
    for (const auto& event : trace.events) {
        ++events_by_thread[trace.threads[event.thread].name];
        CHECK(event.cpu < trace.cpus);
        CHECK(event.time >= last[event.thread]);
        last[event.thread] = event.time;
    }
    // The threads are gone; their names are known from their events.
    CHECK(events_by_thread["worker-0"] == 200);
    CHECK(events_by_thread["worker-1"] == 400);
    CHECK(events_by_thread["worker-2"] == 600);

    // mixed(char const*, int, double): "a" is in read-only memory and cannot be told from a
    // result's address.
    const std::string text = to_text(trace);
    CHECK(text.find("# entries-in-buffer/entries-written: 1206/1206   #P:") != std::string::npos);
    CHECK(text.find(": traced::leaf(0) <-traced::mixed\n") != std::string::npos);
    CHECK(text.find(", ?2, 2.5) <-") != std::string::npos);
    CHECK(text.find("ignored") == std::string::npos);

    tracer.clear();
    CHECK(tracer.read().events.empty());
    CHECK(tracer.read().written == 0);
    REQUIRE(tracer.start());
    run(1);
    REQUIRE(tracer.stop());
    CHECK(tracer.read().events.size() == 2);
}

TEST_CASE("tracer: a thread that has ended has the name that it gave itself late", "[trace]") {
    const char* const kind = GENERATE("function", "function_graph");
    ftrace::tracer tracer(kind, {.arguments = false, .buffer_kb = 4});
    REQUIRE(tracer.set_filter("traced::ignored"));
    REQUIRE(tracer.start());
    std::thread([] {
        sink = traced::ignored(1);
        ::pthread_setname_np(::pthread_self(), "late-name");
        sink = traced::ignored(2);
    }).join();
    REQUIRE(tracer.stop());
    const auto trace = tracer.read();
    REQUIRE_FALSE(trace.events.empty());
    CHECK(trace.threads[trace.events[0].thread].name == "late-name");
}
