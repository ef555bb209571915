#include <ftrace/trace/ring_buffer.hpp>

#include <sys/time.h>

#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators_all.hpp>
#include <csignal>
#include <cstdint>
#include <thread>
#include <vector>

#include "sanitizers.hpp"

using ftrace::event_kind;
using ftrace::graph_end;
using ftrace::overflow;
using ftrace::detail::event_slot;
using ftrace::detail::event_stamp;
using ftrace::detail::ring_buffer;

namespace {

constexpr std::size_t argument_slots = 3;

// ThreadSanitizer holds signals back until the program calls into the C library.
constexpr bool signals_come_anywhere = !built_with::thread_sanitizer;

// An event whose words can be checked for tearing: all follow from `value`.
void record(ring_buffer& buffer, std::uint64_t value, std::uint32_t slots) {
    const std::uint64_t at = buffer.reserve(slots);
    if (at == ring_buffer::none) return;
    const event_stamp stamp{buffer.round_of(at), event_kind::function, slots, 3, 0};
    buffer.write(at, pack(stamp), value, ~value, value * 3);
    const std::uint64_t rest[] = {value + 1, value + 2, value + 3, value + 4, value + 5};
    if (slots > 1) buffer.write_continuation(at, rest, slots == argument_slots ? 5 : 3);
}

// The values of all whole events, oldest first; fails the test where an event is torn.
std::vector<std::uint64_t> values(const ring_buffer& buffer) {
    std::vector<std::uint64_t> found;
    event_slot slot{};
    for (std::uint64_t at = buffer.begin(); at < buffer.end(); ++at) {
        if (!buffer.read(at, slot)) continue;
        const event_stamp stamp = ftrace::detail::unpack(slot.stamp);
        if (stamp.kind != event_kind::function) continue;
        const std::uint64_t value = slot.words[0];
        if (slot.words[1] != ~value || slot.words[2] != value * 3) FAIL("torn event at " << at);
        bool whole = true;
        for (std::uint32_t i = 1; whole && i < stamp.slots; ++i) {
            event_slot more{};
            whole = buffer.read(at + i, more);
            if (whole && more.words[0] != value + 1 + 3 * (i - 1))
                FAIL("torn continuation at " << at + i);
        }
        if (whole) found.push_back(value);
    }
    return found;
}

}  // namespace

TEST_CASE("event: a stamp gives back what was packed", "[trace]") {
    const event_stamp in{0xfedcb,   event_kind::graph_return, 6, 8191,
                         4'194'303, graph_end::abandoned};
    const event_stamp out = ftrace::detail::unpack(pack(in));
    CHECK(out.round == 0xfedcb);
    CHECK(out.kind == event_kind::graph_return);
    CHECK(out.slots == 6);
    CHECK(out.end == graph_end::abandoned);
    CHECK(out.cpu == 8191);
    CHECK(out.depth == 4'194'303);
    const event_stamp small{1, event_kind::continuation, 1, 2, 3};
    CHECK(pack(small) ==
          (1u | 4u << 20 | 1u << 23 | std::uint64_t{2} << 29 | std::uint64_t{3} << 42));
}

TEST_CASE("event: a depth and a CPU that do not fit stay at the largest", "[trace]") {
    const event_stamp in{1, event_kind::graph_entry, 1, 10'000, 5'000'000};
    CHECK(ftrace::detail::unpack(pack(in)).depth == 4'194'303);
    CHECK(ftrace::detail::unpack(pack(in)).cpu == 8191);
    CHECK(ftrace::detail::unpack(pack(in)).kind == event_kind::graph_entry);
}

TEST_CASE("ring buffer: a slot is known by its round", "[trace]") {
    std::vector<event_slot> memory(8);
    ring_buffer buffer(memory.data(), memory.size(), overflow::overwrite);
    CHECK(buffer.round_of(0) == 1);
    CHECK(buffer.round_of(7) == 1);
    CHECK(buffer.round_of(8) == 2);
    CHECK(buffer.round_of(std::uint64_t{8} << 20) == 1);  // cut to 20 bits
    record(buffer, 5, 1);
    event_slot slot{};
    CHECK(buffer.read(0, slot));
    CHECK_FALSE(buffer.read(1, slot));  // never written
    CHECK_FALSE(buffer.read(8, slot));  // not yet
    for (std::uint64_t i = 0; i < 8; ++i) record(buffer, i, 1);
    CHECK(buffer.read(8, slot));
    CHECK_FALSE(buffer.read(0, slot));  // overwritten
}

TEST_CASE("ring buffer: events that belong together are kept or dropped together", "[trace]") {
    std::vector<event_slot> memory(8);
    ring_buffer buffer(memory.data(), memory.size(), overflow::drop);
    CHECK(buffer.reserve(5, 2) == 0);
    CHECK(buffer.reserve(4, 2) == ring_buffer::none);
    CHECK(buffer.written() == 4);
    CHECK(buffer.dropped() == 2);
}

TEST_CASE("ring buffer: overwrite keeps the newest events", "[trace]") {
    std::vector<event_slot> memory(8);
    ring_buffer buffer(memory.data(), memory.size(), overflow::overwrite);
    for (std::uint64_t i = 0; i < 21; ++i) record(buffer, i, 1);
    CHECK(values(buffer) == std::vector<std::uint64_t>{13, 14, 15, 16, 17, 18, 19, 20});
    CHECK(buffer.written() == 21);
    CHECK(buffer.dropped() == 0);
}

TEST_CASE("ring buffer: an event that lost its first slot is gone whole", "[trace]") {
    std::vector<event_slot> memory(8);
    ring_buffer buffer(memory.data(), memory.size(), overflow::overwrite);
    record(buffer, 100, argument_slots);  // slots 0-2
    record(buffer, 200, argument_slots);  // slots 3-5
    record(buffer, 300, argument_slots);  // slots 6, 7 and 0: takes the first slot of 100
    CHECK(values(buffer) == std::vector<std::uint64_t>{200, 300});
    CHECK(buffer.written() == 3);
}

TEST_CASE("ring buffer: drop keeps the oldest events and counts the others", "[trace]") {
    std::vector<event_slot> memory(8);
    ring_buffer buffer(memory.data(), memory.size(), overflow::drop);
    for (std::uint64_t i = 0; i < 21; ++i) record(buffer, i, 1);
    CHECK(values(buffer) == std::vector<std::uint64_t>{0, 1, 2, 3, 4, 5, 6, 7});
    CHECK(buffer.written() == 21);
    CHECK(buffer.dropped() == 13);
}

TEST_CASE("ring buffer: clear makes room in both modes", "[trace]") {
    const overflow mode = GENERATE(overflow::overwrite, overflow::drop);
    std::vector<event_slot> memory(8);
    ring_buffer buffer(memory.data(), memory.size(), mode);
    for (std::uint64_t i = 0; i < 21; ++i) record(buffer, i, 1);
    buffer.clear();
    CHECK(values(buffer).empty());
    CHECK(buffer.written() == 0);
    CHECK(buffer.dropped() == 0);
    record(buffer, 77, argument_slots);
    CHECK(values(buffer) == std::vector<std::uint64_t>{77});
    CHECK(buffer.written() == 1);
}

namespace {

ring_buffer* interrupted = nullptr;
volatile std::sig_atomic_t signals = 0;

void record_from_signal(int) {
    record(*interrupted, 1'000'000'000u + static_cast<unsigned>(signals), argument_slots);
    signals = signals + 1;
}

}  // namespace

TEST_CASE("ring buffer: a signal handler records between the steps of the code it interrupts",
          "[trace]") {
    if (!signals_come_anywhere) SKIP("ThreadSanitizer delays signals");
    std::vector<event_slot> memory(1 << 20);
    ring_buffer buffer(memory.data(), memory.size(), overflow::drop);
    interrupted = &buffer;
    struct sigaction action{};
    action.sa_handler = record_from_signal;
    REQUIRE(::sigaction(SIGALRM, &action, nullptr) == 0);
    const itimerval often{{0, 50}, {0, 50}};
    REQUIRE(::setitimer(ITIMER_REAL, &often, nullptr) == 0);
    std::uint64_t mine = 0;
    while (mine < 200'000) record(buffer, mine++, 2);
    const itimerval never{};
    REQUIRE(::setitimer(ITIMER_REAL, &never, nullptr) == 0);
    std::signal(SIGALRM, SIG_IGN);

    REQUIRE(signals > 0);
    CHECK(buffer.written() == mine + static_cast<unsigned>(signals));
    CHECK(buffer.dropped() == 0);
    const auto all = values(buffer);
    CHECK(all.size() == buffer.written());
    std::uint64_t next = 0, next_signal = 1'000'000'000;
    for (const std::uint64_t value : all)
        if (value < 1'000'000'000)
            CHECK(value == next++);
        else
            CHECK(value == next_signal++);
}

namespace {

// Counts whether the slot at `at`, if it can be read, holds the event of value `at`.
volatile std::sig_atomic_t torn = 0, whole = 0;

void look_at(std::uint64_t at) {
    event_slot slot{};
    if (!interrupted->read(at, slot)) return;
    if (slot.words[0] == at && slot.words[1] == ~at && slot.words[2] == at * 3)
        whole = whole + 1;
    else
        torn = torn + 1;
}

// The slot that is being overwritten is the one behind the oldest.
void look_from_signal(int) {
    const std::uint64_t begin = interrupted->begin();
    for (std::uint64_t at = begin < 4 ? 0 : begin - 4; at < begin + 4; ++at) look_at(at);
}

void overwrite_from_signal(int) {
    for (int i = 0; i < 4; ++i) record(*interrupted, interrupted->end(), 1);
}

void often(void (*handler)(int)) {
    struct sigaction action{};
    action.sa_handler = handler;
    REQUIRE(::sigaction(SIGALRM, &action, nullptr) == 0);
    const itimerval interval{{0, 50}, {0, 50}};
    REQUIRE(::setitimer(ITIMER_REAL, &interval, nullptr) == 0);
}

void no_more() {
    const itimerval never{};
    REQUIRE(::setitimer(ITIMER_REAL, &never, nullptr) == 0);
    std::signal(SIGALRM, SIG_IGN);
}

}  // namespace

TEST_CASE("ring buffer: what interrupts a writer sees no half-written event", "[trace]") {
    if (!signals_come_anywhere) SKIP("ThreadSanitizer delays signals");
    std::vector<event_slot> memory(8);
    ring_buffer buffer(memory.data(), memory.size(), overflow::overwrite);
    interrupted = &buffer;
    torn = 0;
    whole = 0;
    often(look_from_signal);
    for (int i = 0; i < 20'000'000 && whole < 16'000; ++i) record(buffer, buffer.end(), 1);
    no_more();
    CHECK(whole > 1'000);
    CHECK(torn == 0);
}

TEST_CASE("ring buffer: a reader notices when an event changes while it is read", "[trace]") {
    if (!signals_come_anywhere) SKIP("ThreadSanitizer delays signals");
    std::vector<event_slot> memory(4);
    ring_buffer buffer(memory.data(), memory.size(), overflow::overwrite);
    interrupted = &buffer;
    torn = 0;
    whole = 0;
    for (int i = 0; i < 4; ++i) record(buffer, buffer.end(), 1);
    often(overwrite_from_signal);
    const std::uint64_t first = buffer.end();
    while (buffer.end() - first < 16'000) look_at(buffer.begin());
    no_more();
    CHECK(whole > 1'000);
    CHECK(torn == 0);
}

TEST_CASE("ring buffer: a reader never sees half an event of a running writer", "[trace]") {
    std::vector<event_slot> memory(64);
    ring_buffer buffer(memory.data(), memory.size(), overflow::overwrite);
    std::atomic<bool> stop = false;
    std::thread writer([&] {
        for (std::uint64_t i = 1; !stop.load(std::memory_order_relaxed); ++i)
            record(buffer, i, i % 3 == 0 ? argument_slots : 1);
    });
    std::size_t seen = 0;
    for (int round = 0; round < 20'000 || seen == 0; ++round) {
        std::uint64_t last = 0;
        for (const std::uint64_t value : values(buffer)) {
            if (value <= last) FAIL("event " << value << " behind " << last);
            last = value;
            ++seen;
        }
    }
    stop = true;
    writer.join();
    CHECK(seen > 0);
}
