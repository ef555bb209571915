#include <ftrace/graph/fgraph.hpp>

#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "sanitizers.hpp"

namespace program {

#define PROGRAM __attribute__((noinline))
#define KEEP(value) __asm__ volatile("" : "+r"(value))

PROGRAM int leaf(int x) {
    if (x < 0) throw std::invalid_argument("negative");
    return x * 2;
}
PROGRAM int middle(int x) {
    int result = leaf(x);
    KEEP(result);
    return result + 1;
}
PROGRAM int top(int x) {
    int result = 0;
    try {
        result = middle(x);
    } catch (const std::invalid_argument&) {
        result = -1;
    }
    KEEP(result);
    return result;
}
PROGRAM double half(double x) { return x / 2; }

PROGRAM int odd(int x);
PROGRAM int even(int x) { return x == 0 ? 1 : odd(x - 1); }
PROGRAM int odd(int x) { return x == 0 ? 0 : even(x - 1); }

std::atomic<bool> may_go{false}, inside{false};
PROGRAM int waits() {
    inside = true;
    while (!may_go) std::this_thread::yield();
    return 3;
}

PROGRAM std::string words(int n) {
    std::map<std::string, std::vector<int>> index;
    for (int i = 0; i < n; ++i) index[std::to_string(i % 7)].push_back(i);
    std::string text;
    for (const auto& [word, places] : index) text += word + ":" + std::to_string(places.size());
    if (n > 1000) throw std::length_error(text);
    return text;
}

}  // namespace program

namespace {

using namespace ftrace;

struct event {
    bool entry;
    unsigned long func, parent, retval;
    int depth;
};
std::vector<event> events;

bool record_entry(const ftrace_graph_ent& call, fgraph_ops&, ftrace_regs&) noexcept {
    events.push_back({true, call.func, call.parent_ip, 0, call.depth});
    return true;
}
void record_return(const ftrace_graph_ret& call, fgraph_ops&, ftrace_regs&) noexcept {
    events.push_back({false, call.func, 0, call.retval, call.depth});
}
std::string shape() {
    std::string text;
    for (const event& e : events) text += (e.entry ? '{' : '}') + std::to_string(e.depth);
    return text;
}

bool count_entry(const ftrace_graph_ent&, fgraph_ops& ops, ftrace_regs&) noexcept {
    ++*static_cast<std::atomic<long>*>(ops.private_data);
    return true;
}
void count_return(const ftrace_graph_ret&, fgraph_ops& ops, ftrace_regs&) noexcept {
    --*static_cast<std::atomic<long>*>(ops.private_data);
}

// Whether the compiler makes jumps of calls in tails: with optimisation, unless a sanitizer has
// something to do behind them.
#if defined(__OPTIMIZE__) && defined(__clang__)
constexpr bool calls_in_tails = !built_with::thread_sanitizer;
#elif defined(__OPTIMIZE__)
constexpr bool calls_in_tails = !built_with::address_sanitizer && !built_with::thread_sanitizer;
#else
constexpr bool calls_in_tails = false;
#endif

}  // namespace

TEST_CASE("fgraph: entry and return of filtered functions, nested", "[graph]") {
    static fgraph_ops ops(record_entry, record_return);
    REQUIRE(ops.ops.set_filter("program::top"));
    REQUIRE(ops.ops.set_filter("program::middle"));
    REQUIRE(ops.ops.set_filter("program::leaf"));
    auto registered = register_ftrace_graph(ops);
    REQUIRE(registered);
    events.clear();
    const int result = program::top(20);
    REQUIRE(registered.value().unregister());
    program::top(1);

    CHECK(result == 41);
    CHECK(shape() == "{0{1{2}2}1}0");
    REQUIRE(events.size() == 6);
    CHECK(static_cast<int>(events[3].retval) == 40);
    CHECK(static_cast<int>(events[4].retval) == 41);
    CHECK(events[3].func == events[2].func);
    // leaf was called from middle, whatever stands in middle's stack.
    CHECK(events[2].parent > events[1].func);
    CHECK(events[2].parent < events[1].func + 200);
    CHECK(!registered.value().registered());
    CHECK(registered.value().unregister().error().code == errc::not_registered);
}

TEST_CASE("fgraph: exceptions go where they go without, and later depths are right", "[graph]") {
    static fgraph_ops ops(record_entry, record_return);
    REQUIRE(ops.ops.set_filter("program::*"));
    auto registered = register_ftrace_graph(ops);
    REQUIRE(registered);
    events.clear();
    const int thrown = program::top(-1);
    const int plain = program::top(2);
    registered.value().unregister().value();
    CHECK(thrown == -1);
    CHECK(plain == 5);
    CHECK(shape() == "{0{1{2}2}1}0{0{1{2}2}1}0");
}

TEST_CASE("fgraph: an entry callback that declines has no return", "[graph]") {
    static fgraph_ops ops(
        [](const ftrace_graph_ent& call, fgraph_ops& self, ftrace_regs& regs) noexcept {
            record_entry(call, self, regs);
            return call.depth == 0;
        },
        record_return);
    REQUIRE(ops.ops.set_filter("program::*"));
    auto registered = register_ftrace_graph(ops);
    REQUIRE(registered);
    events.clear();
    program::top(2);
    registered.value().unregister().value();
    CHECK(shape() == "{0{1{1}0");
}

TEST_CASE("fgraph: several ops on one function, each with its own filter", "[graph]") {
    static std::atomic<long> all{0}, some{0};
    static std::atomic<long> entries{0};
    static fgraph_ops wide(count_entry, count_return, &all);
    static fgraph_ops narrow(
        [](const ftrace_graph_ent&, fgraph_ops&, ftrace_regs&) noexcept { return ++entries != 0; },
        [](const ftrace_graph_ret&, fgraph_ops&, ftrace_regs&) noexcept { ++some; });
    REQUIRE(wide.ops.set_filter("program::*"));
    REQUIRE(narrow.ops.set_filter("program::leaf"));
    auto first = register_ftrace_graph(wide);
    auto second = register_ftrace_graph(narrow);
    REQUIRE(first);
    REQUIRE(second);
    for (int i = 0; i < 100; ++i) CHECK(program::top(i) == 2 * i + 1);
    CHECK(program::half(3) == 1.5);
    first.value().unregister().value();
    CHECK(program::top(1) == 3);
    second.value().unregister().value();
    CHECK(all == 0);
    CHECK(entries == 101);
    CHECK(some == 101);
}

TEST_CASE("fgraph: calls in tails, a million of them", "[graph]") {
    static std::atomic<long> pending{0};
    static fgraph_ops ops(count_entry, count_return, &pending);
    REQUIRE(ops.ops.set_filter("program::odd"));
    REQUIRE(ops.ops.set_filter("program::even"));
    const auto before = ftrace_graph_statistics();
    auto registered = register_ftrace_graph(ops);
    REQUIRE(registered);
    // Without optimisation these are nested calls: then no more than the stack has room for.
    const int calls = calls_in_tails ? 1'000'000 : 2'000;
    const int result = program::even(calls);
    registered.value().unregister().value();
    CHECK(result == 1);
    const auto after = ftrace_graph_statistics();
    CHECK(pending == 0);
    CHECK((after.unreturned == before.unreturned) != calls_in_tails);
    CHECK(after.overruns == before.overruns);
}

TEST_CASE("fgraph: what is registered, and how often", "[graph]") {
    static fgraph_ops ops(record_entry, record_return);
    REQUIRE(ops.ops.set_filter("program::half"));
    auto registered = register_ftrace_graph(ops);
    REQUIRE(registered);
    auto again = register_ftrace_graph(ops);
    CHECK((!again && again.error().code == errc::already_registered));
    std::vector<std::unique_ptr<fgraph_ops>> many;
    std::vector<graph_registration> registrations;
    static std::atomic<long> open{0};
    for (int i = 0; i < 40; ++i) {
        many.push_back(std::make_unique<fgraph_ops>(count_entry, count_return, &open));
        REQUIRE(many.back()->ops.set_filter("program::half"));
        auto one = register_ftrace_graph(*many.back());
        REQUIRE(one);
        registrations.push_back(std::move(one).value());
    }
    events.clear();
    CHECK(program::half(5) == 2.5);
    CHECK(events.size() == 2);
    CHECK(open == 0);
}

TEST_CASE("fgraph: a registration that failed leaves nothing behind", "[graph]") {
    fgraph_ops ops(record_entry, record_return);
    for (int i = 0; i < 20; ++i) {
        auto matched = ops.ops.set_filter("program::no_such_function");
        CHECK(!matched);
    }
    REQUIRE(ops.ops.set_filter("program::leaf"));
    REQUIRE(ops.ops.set_notrace("program::leaf"));
    for (int i = 0; i < 20; ++i) {
        auto registered = register_ftrace_graph(ops);
        CHECK((!registered && registered.error().code == errc::no_match));
    }
    fgraph_ops works(record_entry, record_return);
    REQUIRE(works.ops.set_filter("program::leaf"));
    CHECK(register_ftrace_graph(works).has_value());
}

TEST_CASE("fgraph: an ops may go while calls it hooked are still running", "[graph]") {
    static std::atomic<long> pending{0};
    auto ops = std::make_unique<fgraph_ops>(count_entry, count_return, &pending);
    REQUIRE(ops->ops.set_filter("program::waits"));
    auto registered = register_ftrace_graph(*ops);
    REQUIRE(registered);
    int result = 0;
    std::thread thread([&] { result = program::waits(); });
    while (!program::inside) std::this_thread::yield();
    registered.value().unregister().value();
    ops.reset();
    program::may_go = true;
    thread.join();
    CHECK(result == 3);
    CHECK(pending == 1);
}

TEST_CASE("fgraph: switched on and off under running threads", "[graph]") {
    static std::atomic<long> pending{0};
    static fgraph_ops ops(count_entry, count_return, &pending);
    REQUIRE(ops.ops.set_filter("program::*"));
    std::atomic<bool> stop{false};
    std::atomic<long> wrong{0}, rounds{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < 3; ++t)
        threads.emplace_back([&] {
            for (int i = 0; !stop; i = (i + 1) % 1000) {
                if (program::top(i) != 2 * i + 1 || program::top(-1) != -1 ||
                    program::half(i) != i / 2.0)
                    ++wrong;
                ++rounds;
            }
        });
    for (int i = 0; i < 100; ++i) {
        auto registered = register_ftrace_graph(ops);
        REQUIRE(registered);
        const long seen = rounds;
        while (rounds < seen + 10) std::this_thread::yield();
        registered.value().unregister().value();
    }
    stop = true;
    for (auto& thread : threads) thread.join();
    CHECK(wrong == 0);
}

// What ThreadSanitizer would report: what return callbacks wrote is there when unregister() returns.
TEST_CASE("fgraph: callbacks of other threads come before the end of unregister()", "[graph]") {
    struct plain_counts {
        long entries = 0, ends = 0;
    };
    const auto counted = std::make_unique<plain_counts>();
    fgraph_ops ops(
        [](const ftrace_graph_ent&, fgraph_ops& self, ftrace_regs&) noexcept {
            ++static_cast<plain_counts*>(self.private_data)->entries;
            return true;
        },
        [](const ftrace_graph_ret&, fgraph_ops& self, ftrace_regs&) noexcept {
            ++static_cast<plain_counts*>(self.private_data)->ends;
        },
        counted.get());
    REQUIRE(ops.ops.set_filter("program::leaf"));
    auto registered = register_ftrace_graph(ops);
    REQUIRE(registered);
    std::atomic<int> running{0};
    std::atomic<bool> stop{false};
    std::thread other([&] {
        for (int i = 0; i < 100; ++i) program::leaf(i);
        running = 1;
        while (!stop) program::leaf(1);
    });
    while (running == 0) std::this_thread::yield();
    registered.value().unregister().value();
    CHECK(counted->entries >= counted->ends);
    CHECK(counted->ends >= 100);
    stop = true;
    other.join();
}

TEST_CASE("fgraph: every function of the program, the standard library's templates too",
          "[graph]") {
    static std::atomic<long> pending{0}, entries{0};
    const std::string expected = program::words(100);
    static fgraph_ops ops(
        [](const ftrace_graph_ent& call, fgraph_ops& self, ftrace_regs& regs) noexcept {
            ++entries;
            return count_entry(call, self, regs);
        },
        count_return, &pending);
    auto registered = register_ftrace_graph(ops);
    REQUIRE(registered);
    const std::string traced = program::words(100);
    std::string caught;
    try {
        program::words(2000);
    } catch (const std::length_error& e) {
        caught = e.what();
    }
    registered.value().unregister().value();
    CHECK(traced == expected);
    CHECK(caught.starts_with("0:286"));
    CHECK(entries > 10);
}

TEST_CASE("fgraph: a callback cannot register or unregister, where it could wait for itself",
          "[graph]") {
    static fgraph_ops outer(nullptr, nullptr), inner(nullptr, nullptr);
    static result<graph_registration>* outer_handle = nullptr;
    static errc registering{}, unregistering{};
    static bool still_registered = false;
    ops<[](unsigned long, unsigned long, ftrace_ops&, ftrace_regs&) noexcept {
        registering = register_ftrace_graph(inner).error().code;
        unregistering = (*outer_handle)->unregister().error().code;
        still_registered = (*outer_handle)->registered();
    }>
        tries;
    REQUIRE(outer.ops.set_filter("program::half"));
    REQUIRE(inner.ops.set_filter("program::half"));
    REQUIRE(tries.set_filter("program::leaf"));
    auto on = register_ftrace_graph(outer);
    REQUIRE(on);
    outer_handle = &on;
    {
        const auto trying = register_ftrace_function(tries);
        REQUIRE(trying);
        CHECK(program::leaf(2) == 4);
    }
    CHECK(registering == errc::busy);
    CHECK(unregistering == errc::busy);
    CHECK(still_registered);
    CHECK(on->unregister());
    CHECK_FALSE(on->registered());
}
