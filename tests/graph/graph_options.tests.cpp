// What an fgraph_ops keeps of calls and threads, how deep it looks, and how several share a call.
#include <array>
#include <catch2/catch_test_macros.hpp>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <string>
#include <thread>
#include <vector>

#include "event_log.hpp"

using event_log::note;

namespace plain {

ftrace::graph_registration* to_unregister = nullptr;
unsigned long return_address;

}  // namespace plain

namespace hooked {

using namespace plain;

HOOKED_FUNCTION int leaf(int x) {
    KEEP(x);
    return x * 2;
}
HOOKED_FUNCTION int recurses(int x) {
    if (x == 0) return 0;
    int result = recurses(x - 1);
    KEEP(result);
    return result + 1;
}
HOOKED_FUNCTION int looks_at_return(int x) {
    return_address = reinterpret_cast<unsigned long>(__builtin_return_address(0));
    KEEP(x);
    return x;
}
HOOKED_FUNCTION int calls_far_below(int x) {
    char room[40'000];
    __asm__ volatile("" : : "r"(room) : "memory");
    int result = leaf(x);
    KEEP(result);
    return result;
}
HOOKED_FUNCTION int calls_it(int x) {
    int result = looks_at_return(x);
    KEEP(result);
    return result;
}
HOOKED_FUNCTION int throws_it(int x) {
    KEEP(x);
    throw x;
}
HOOKED_FUNCTION int unregisters(int x) {
    to_unregister->unregister().value();
    int result = leaf(x);
    KEEP(result);
    return result;
}

}  // namespace hooked

namespace {

using namespace ftrace;

// Checks that the data of a call are its own: what the entry callback wrote is there at the end.
struct own_data {
    std::size_t size;
    unsigned char mark;  // of this ops
    int entries = 0, ends = 0;
    int not_zero = 0, not_aligned = 0, changed = 0;
};
bool fill(const ftrace_graph_ent& call, fgraph_ops& ops, ftrace_regs&) noexcept {
    auto& self = *static_cast<own_data*>(ops.private_data);
    auto* const bytes = static_cast<unsigned char*>(call.data);
    ++self.entries;
    if (reinterpret_cast<std::uintptr_t>(bytes) % 16 != 0) ++self.not_aligned;
    for (std::size_t i = 0; i < self.size; ++i) {
        if (bytes[i] != 0) ++self.not_zero;
        bytes[i] = static_cast<unsigned char>(self.mark + call.depth + 1);
    }
    return true;
}
void compare(const ftrace_graph_ret& call, fgraph_ops& ops, ftrace_regs&) noexcept {
    auto& self = *static_cast<own_data*>(ops.private_data);
    const auto* const bytes = static_cast<const unsigned char*>(call.data);
    ++self.ends;
    for (std::size_t i = 0; i < self.size; ++i)
        if (bytes[i] != static_cast<unsigned char>(self.mark + call.depth + 1)) ++self.changed;
}

// Counts the calls of a thread in the thread's data.
struct thread_counts {
    int last_at_entry = 0, last_at_end = 0;
    const void* data = nullptr;
};
bool count_in_thread(const ftrace_graph_ent& call, fgraph_ops& ops, ftrace_regs&) noexcept {
    auto& seen = *static_cast<thread_counts*>(ops.private_data);
    seen.data = call.thread_data;
    seen.last_at_entry = (*static_cast<int*>(call.thread_data))++;
    return true;
}
void see_thread_count(const ftrace_graph_ret& call, fgraph_ops& ops, ftrace_regs&) noexcept {
    static_cast<thread_counts*>(ops.private_data)->last_at_end =
        *static_cast<const int*>(call.thread_data);
}

struct seen_entry {
    int calls = 0, depth = -1;
    unsigned long parent_ip = 0;
    void* data = nullptr;
};
bool see_entry(const ftrace_graph_ent& call, fgraph_ops& ops, ftrace_regs&) noexcept {
    auto& seen = *static_cast<seen_entry*>(ops.private_data);
    ++seen.calls;
    seen.depth = call.depth;
    seen.parent_ip = call.parent_ip;
    seen.data = call.data;
    return true;
}

bool note_begin(const ftrace_graph_ent&, fgraph_ops& ops, ftrace_regs&) noexcept {
    note("+");
    event_log::put(*static_cast<int*>(ops.private_data));
    return true;
}
void note_end(const ftrace_graph_ret&, fgraph_ops& ops, ftrace_regs&) noexcept {
    note("-");
    event_log::put(*static_cast<int*>(ops.private_data));
}

}  // namespace

TEST_CASE("graph options: the data of a call are zero at first, and nobody else's", "[graph]") {
    for (const std::size_t size :
         {std::size_t{1}, std::size_t{8}, std::size_t{64}, std::size_t{65536}}) {
        CAPTURE(size);
        own_data first{size, 0}, second{size, 100};
        fgraph_ops ops(fill, compare, &first, {.call_data = size});
        fgraph_ops other(fill, compare, &second, {.call_data = size});
        REQUIRE(ops.ops.set_filter("hooked::recurses"));
        REQUIRE(other.ops.set_filter("hooked::recurses"));
        const auto on = register_ftrace_graph(ops);
        REQUIRE(on);
        const auto other_on = register_ftrace_graph(other);
        REQUIRE(other_on);
        // What the calls before left in their memory is gone.
        for (int again = 0; again < 3; ++again) CHECK(hooked::recurses(20) == 20);
        for (const own_data* seen : {&first, &second}) {
            CHECK(seen->entries == 63);
            CHECK(seen->ends == 63);
            CHECK(seen->not_zero == 0);
            CHECK(seen->not_aligned == 0);
            CHECK(seen->changed == 0);
        }
    }
}

TEST_CASE("graph options: limits", "[graph]") {
    for (const fgraph_options& wrong :
         {fgraph_options{.call_data = 65537}, fgraph_options{.thread_data = 65537},
          fgraph_options{.max_depth = -1}}) {
        fgraph_ops ops(nullptr, nullptr, nullptr, wrong);
        REQUIRE(ops.ops.set_filter("hooked::leaf"));
        const auto refused = register_ftrace_graph(ops);
        REQUIRE_FALSE(refused);
        CHECK(refused.error().code == errc::invalid_argument);
        CHECK_FALSE(ops.ops.registered());
    }
    seen_entry seen;
    fgraph_ops ops(see_entry, nullptr, &seen, {.call_data = 8});
    REQUIRE(ops.ops.set_filter("hooked::leaf"));
    const auto on = register_ftrace_graph(ops);
    REQUIRE(on);
    hooked::leaf(1);
    CHECK(seen.calls == 1);
    CHECK(seen.data == nullptr);  // no end will come
}

TEST_CASE("graph options: the data of a thread", "[graph]") {
    alignas(fgraph_ops) static std::byte place[sizeof(fgraph_ops)];
    thread_counts seen;
    const void* data_of_first = nullptr;
    for (int life = 0; life < 2; ++life) {
        auto* const ops = new (place)
            fgraph_ops(count_in_thread, see_thread_count, &seen, {.thread_data = sizeof(int)});
        REQUIRE(ops->ops.set_filter("hooked::leaf"));
        auto on = register_ftrace_graph(*ops);
        REQUIRE(on);
        // Zero at first: for a new ops, wherever it is, and for each thread.
        for (int call = 0; call < 3; ++call) {
            hooked::leaf(1);
            CHECK(seen.last_at_entry == call);
            CHECK(seen.last_at_end == call + 1);
        }
        data_of_first = seen.data;
        std::thread([&] {
            hooked::leaf(1);
            CHECK(seen.last_at_entry == 0);
            CHECK(seen.data != data_of_first);
            hooked::leaf(1);
            CHECK(seen.last_at_entry == 1);
        }).join();
        hooked::leaf(1);
        CHECK(seen.last_at_entry == 3);
        CHECK(seen.data == data_of_first);
        // The same ops, registered again, is a new one.
        REQUIRE(on->unregister());
        on = register_ftrace_graph(*ops);
        REQUIRE(on);
        hooked::leaf(1);
        CHECK(seen.last_at_entry == 0);
        ops->~fgraph_ops();
    }
}

TEST_CASE("graph options: deeper calls are left out, and counted", "[graph]") {
    own_data seen{0, 0};
    fgraph_ops ops(fill, compare, &seen, {.max_depth = 2});
    REQUIRE(ops.ops.set_filter("hooked::recurses"));
    auto on = register_ftrace_graph(ops);
    REQUIRE(on);
    CHECK(hooked::recurses(5) == 5);
    CHECK(seen.entries == 2);
    CHECK(seen.ends == 2);
    CHECK(ops.missed() == 4);
    CHECK(hooked::recurses(1) == 1);
    CHECK(ops.missed() == 4);
    CHECK(seen.entries == 4);

    // Calls that another ops hooks count as calls around.
    own_data all{0, 0};
    fgraph_ops every(fill, compare, &all);
    REQUIRE(every.ops.set_filter("hooked::recurses"));
    const auto all_on = register_ftrace_graph(every);
    REQUIRE(all_on);
    CHECK(hooked::recurses(5) == 5);
    CHECK(all.ends == 6);
    CHECK(seen.entries == 6);
    CHECK(ops.missed() == 8);
}

TEST_CASE("graph options: an ops that looks at entries leaves return addresses alone", "[graph]") {
    seen_entry seen, seen_deeper;
    fgraph_ops ops(see_entry, nullptr, &seen);
    REQUIRE(ops.ops.set_filter("hooked::looks_at_return"));
    const auto on = register_ftrace_graph(ops);
    REQUIRE(on);
    CHECK(hooked::calls_it(3) == 3);
    CHECK(seen.calls == 1);
    CHECK(seen.depth == 0);
    CHECK(seen.parent_ip == plain::return_address);
    CHECK(ftrace_graph_ret_addr(plain::return_address) == plain::return_address);
    // It returns to its caller's code.
    CHECK(plain::return_address - reinterpret_cast<unsigned long>(&hooked::calls_it) < 300);

    // Inside a call that another one hooks; then on a call that another one hooks, whether that one
    // comes first or last.
    own_data ends{0, 0};
    fgraph_ops hooks(fill, compare, &ends);
    REQUIRE(hooks.ops.set_filter("hooked::calls_it"));
    const auto hooks_on = register_ftrace_graph(hooks);
    REQUIRE(hooks_on);
    CHECK(hooked::calls_it(3) == 3);
    CHECK(seen.depth == 1);
    CHECK(ftrace_graph_ret_addr(plain::return_address) == plain::return_address);
    REQUIRE(hooks.ops.set_filter("hooked::looks_at_return"));
    fgraph_ops after(see_entry, nullptr, &seen_deeper);
    REQUIRE(after.ops.set_filter("hooked::looks_at_return"));
    const auto after_on = register_ftrace_graph(after);
    REQUIRE(after_on);
    CHECK(hooked::calls_it(3) == 3);
    CHECK(seen.calls == 3);
    CHECK(seen_deeper.calls == 1);
    CHECK(seen.depth == 1);
    CHECK(seen_deeper.depth == 1);
    CHECK(seen_deeper.parent_ip == seen.parent_ip);
    CHECK(ftrace_graph_ret_addr(plain::return_address) == seen.parent_ip);
    CHECK(plain::return_address != seen.parent_ip);
}

TEST_CASE("graph options: an ops that looks at entries knows depths on stack not seen before",
          "[graph]") {
    seen_entry seen;
    own_data ends{0, 0};
    fgraph_ops hooks(fill, compare, &ends);
    fgraph_ops ops(see_entry, nullptr, &seen);
    REQUIRE(hooks.ops.set_filter("hooked::calls_far_below"));
    REQUIRE(ops.ops.set_filter("hooked::leaf"));
    const auto hooks_on = register_ftrace_graph(hooks);
    const auto on = register_ftrace_graph(ops);
    REQUIRE((hooks_on && on));
    std::thread([] { CHECK(hooked::calls_far_below(3) == 6); }).join();
    CHECK(seen.calls == 1);
    CHECK(seen.depth == 1);
    fgraph_ops shallow(see_entry, nullptr, &seen, {.max_depth = 1});
    REQUIRE(shallow.ops.set_filter("hooked::leaf"));
    const auto shallow_on = register_ftrace_graph(shallow);
    REQUIRE(shallow_on);
    std::thread([] { CHECK(hooked::calls_far_below(3) == 6); }).join();
    CHECK(seen.calls == 2);
    CHECK(shallow.missed() == 1);
}

TEST_CASE("graph options: forty ops on one function end in the reverse order", "[graph]") {
    std::array<int, 40> numbers{};
    std::vector<std::unique_ptr<fgraph_ops>> all;
    std::vector<graph_registration> registered;
    std::string begins, ends;
    for (int i = 0; i < 40; ++i) {
        numbers[static_cast<std::size_t>(i)] = i;
        all.push_back(std::make_unique<fgraph_ops>(note_begin, note_end,
                                                   &numbers[static_cast<std::size_t>(i)]));
        REQUIRE(all.back()->ops.set_filter("hooked::leaf; hooked::throws_it"));
        registered.push_back(register_ftrace_graph(*all.back()).value());
        begins += "+" + std::to_string(i) + " ";
        ends = " -" + std::to_string(i) + ends;
    }
    const std::string expected = begins.substr(0, begins.size() - 1) + ends;
    event_log::clear();
    CHECK(hooked::leaf(3) == 6);
    CHECK(event_log::all() == expected);
    event_log::clear();
    bool caught = false;
    try {
        hooked::throws_it(1);
    } catch (int) {
        caught = true;
    }
    CHECK(caught);
    CHECK(event_log::all() == expected);
}

TEST_CASE("graph options: an ops goes while its calls are open", "[graph]") {
    int numbers[] = {1, 2, 3};
    std::vector<std::unique_ptr<fgraph_ops>> all;
    std::vector<graph_registration> registered;
    for (int& number : numbers) {
        all.push_back(std::make_unique<fgraph_ops>(note_begin, note_end, &number,
                                                   fgraph_options{.call_data = 64}));
        REQUIRE(all.back()->ops.set_filter("hooked::unregisters; hooked::leaf"));
        registered.push_back(register_ftrace_graph(*all.back()).value());
    }
    plain::to_unregister = &registered[1];
    event_log::clear();
    CHECK(hooked::unregisters(4) == 8);
    CHECK(event_log::all() == "+1 +2 +3 +1 +3 -3 -1 -3 -1");
    // Registered anew at once, it is not told of calls that began before.
    registered[1] = register_ftrace_graph(*all[1]).value();
    event_log::clear();
    CHECK(hooked::leaf(4) == 8);
    CHECK(event_log::all() == "+1 +3 +2 -2 -3 -1");
    // The last two: nobody is left who wants the end.
    registered[1].unregister().value();
    registered[2].unregister().value();
    plain::to_unregister = &registered[0];
    event_log::clear();
    CHECK(hooked::unregisters(5) == 10);
    CHECK(event_log::all() == "+1");
}
