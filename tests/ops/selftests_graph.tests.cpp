// The kernel's boot selftest "function graph startup" (reference/kernel-ftrace.md, 4.1).
//
// Of 4.1's tests, these belong to parts that are still to come: "graph + direct" to direct calls; "fgraph storage
// single" and "fgraph storage multi" to the data that an entry callback reserves for its return callback. The
// others are in the files beside this one.
#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <ftrace/ftrace.hpp>
#include <ftrace/graph/fgraph.hpp>
#include <ftrace/trace/tracer.hpp>

#include "selftest_functions.hpp"

using selftest::dynamic_test_func;
using selftest::dynamic_test_func2;

namespace {

/// As many entries in so short a time mean that tracing feeds itself.
constexpr unsigned long hang = 100'000'000;
std::atomic<unsigned long> entries, returns;
std::atomic<bool> hung;

bool watchdog(const ftrace::ftrace_graph_ent&, ftrace::fgraph_ops&, ftrace::ftrace_regs&) noexcept {
    if (entries.fetch_add(1, std::memory_order_relaxed) + 1 < hang) return true;
    hung = true;
    return false;
}
void count_return(const ftrace::ftrace_graph_ret&, ftrace::fgraph_ops&,
                  ftrace::ftrace_regs&) noexcept {
    returns.fetch_add(1, std::memory_order_relaxed);
}

PROGRAM int outer() {
    int sum = dynamic_test_func();
    TOUCH_MEMORY;
    sum += dynamic_test_func2();
    TOUCH_MEMORY;
    return sum;
}

/// A tenth of a second, as the kernel does, or until the watchdog barks.
unsigned long run_program() {
    const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(100);
    unsigned long calls = 0;
    do {
        outer();
        calls += 3;
    } while (!hung && std::chrono::steady_clock::now() < end);
    return calls;
}

}  // namespace

TEST_CASE("graph startup: entries and returns of all functions, and no hang", "[ops][selftest]") {
    ftrace::fgraph_ops all(watchdog, count_return);
    {
        auto registered = ftrace::register_ftrace_graph(all);
        INFO((registered ? "" : registered.error().message));
        REQUIRE(registered);
        entries = returns = 0;
        const unsigned long calls = run_program();
        CHECK_FALSE(hung);
        CHECK(entries >= calls);
        CHECK(returns >= calls);
        REQUIRE(registered.value().unregister());
    }
    const unsigned long entries_before = entries, returns_before = returns;
    outer();
    CHECK(entries == entries_before);
    CHECK(returns == returns_before);
}

TEST_CASE("graph startup: the function_graph tracer records what runs while it is on",
          "[ops][selftest]") {
    ftrace::tracer tracer("function_graph");
    REQUIRE(tracer.start());
    run_program();
    REQUIRE(tracer.stop());
    const auto trace = tracer.read();
    CHECK(trace.events.size() > 0);
    CHECK(trace.written == trace.events.size() + trace.overwritten);

    outer();
    CHECK(tracer.read().written == trace.written);
}
