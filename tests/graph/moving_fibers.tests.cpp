// Fibers that move between threads while all their calls are hooked. What the calls return, and how
// often each end is told, is counted by the program too.
#include <pthread.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <array>
#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <cstdint>
#include <ftrace/graph/fgraph.hpp>
#include <functional>
#include <thread>

#include "event_log.hpp"
#include "sanitizers.hpp"

using namespace ftrace;

namespace plain {

// Not inlined, and by a pointer that is looked up anew: the thread may be another one afterwards.
struct moving_fiber {
    ucontext_t here;
    std::atomic<bool> runs{false};
    std::uint64_t rounds = 0;

    static constexpr std::size_t stack_size = 64 * 1024;
    /// The stack stays mapped.
    void start(void (*body)()) {
        ::getcontext(&here);
        here.uc_stack.ss_sp =
            ::mmap(nullptr, stack_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        here.uc_stack.ss_size = stack_size;
        here.uc_link = nullptr;
        ::makecontext(&here, body, 0);
    }
};
thread_local ucontext_t* worker_context;
thread_local moving_fiber* current_fiber;
__attribute__((noinline)) ucontext_t& worker() {
    __asm__ volatile("" ::: "memory");
    return *worker_context;
}
__attribute__((noinline)) moving_fiber& running() {
    __asm__ volatile("" ::: "memory");
    return *current_fiber;
}
__attribute__((noinline)) void to_worker() { ::swapcontext(&running().here, &worker()); }

}  // namespace plain

namespace hooked {

using namespace plain;

HOOKED_FUNCTION int leaf(int x) {
    to_worker();
    KEEP(x);
    return x + 1;
}
HOOKED_FUNCTION int middle(int x) {
    int result = leaf(x);
    KEEP(result);
    return result + 1;
}
HOOKED_FUNCTION int small(int x) {
    KEEP(x);
    return x + 1;
}
HOOKED_FUNCTION int outer(int x) {
    int sum = 0;
    for (int i = 0; i < 3; ++i) sum += small(x);
    KEEP(sum);
    return sum;
}

HOOKED_FUNCTION int throws_elsewhere(int x) {
    to_worker();
    KEEP(x);
    throw x;
}
HOOKED_FUNCTION int waits(int x) {
    to_worker();
    KEEP(x);
    return x + 1;
}

}  // namespace hooked

namespace {

using plain::moving_fiber;

// They keep a stack of calls, or the bounds of the stack, for each thread.
bool sanitizer_knows_no_fibers() {
    if (!built_with::thread_sanitizer && !built_with::address_sanitizer) return false;
    WARN("sanitizers do not follow fibers from thread to thread");
    return true;
}

std::array<std::atomic<std::uint64_t>, 6> ends;
std::uint64_t ended(graph_end how) { return ends[static_cast<std::size_t>(how)]; }
std::uint64_t all_ends() {
    std::uint64_t sum = 0;
    for (const auto& each : ends) sum += each;
    return sum;
}

/// A thread whose stack is smaller than the default, below which the fibers' may lie.
class small_thread {
public:
    explicit small_thread(std::function<void()> body) : body_(std::move(body)) {
        pthread_attr_t attributes;
        ::pthread_attr_init(&attributes);
        ::pthread_attr_setstacksize(&attributes, 256 * 1024);
        started_ = ::pthread_create(&id_, &attributes, &run, this) == 0;
        ::pthread_attr_destroy(&attributes);
    }
    small_thread(const small_thread&) = delete;
    small_thread& operator=(const small_thread&) = delete;
    ~small_thread() {
        if (started_) ::pthread_join(id_, nullptr);
    }

private:
    static void* run(void* self) {
        static_cast<small_thread*>(self)->body_();
        return nullptr;
    }
    std::function<void()> body_;
    pthread_t id_{};
    bool started_ = false;
};

std::atomic<int> wrong_results;

void fiber_body() {
    for (;;) {
        if (hooked::middle(5) != 7) ++wrong_results;
        ++plain::running().rounds;
    }
}

constexpr std::size_t fiber_count = 16;
constexpr unsigned rounds = 20'000;

/// Until it comes back to the calling thread.
void resume(moving_fiber& fiber) {
    ucontext_t here;
    plain::worker_context = &here;
    plain::current_fiber = &fiber;
    ::swapcontext(&here, &fiber.here);
}

/// Resumes fibers that run nowhere, in an order of its own.
void work(std::array<moving_fiber, fiber_count>& fibers, unsigned number,
          std::atomic<std::uint64_t>& outer_calls) {
    std::uint32_t random = number * 7919 + 1;
    for (unsigned round = 0; round < rounds; ++round) {
        random = random * 1'103'515'245 + 12'345;
        moving_fiber& next = fibers[(random >> 16) % fiber_count];
        if (next.runs.exchange(true, std::memory_order_acquire)) continue;
        resume(next);
        next.runs.store(false, std::memory_order_release);
        if (hooked::outer(1) != 6) ++wrong_results;
        ++outer_calls;
    }
}

}  // namespace

TEST_CASE("moving fibers: beside threads with small stacks every end is told once", "[graph]") {
    if (sanitizer_knows_no_fibers()) return;
    for (auto& each : ends) each = 0;
    wrong_results = 0;
    fgraph_ops counts(nullptr,
                      [](const ftrace_graph_ret& call, fgraph_ops&, ftrace_regs&) noexcept {
                          ++ends[static_cast<std::size_t>(call.end)];
                      });
    REQUIRE(counts.ops.set_filter("hooked::*"));
    const auto on = register_ftrace_graph(counts);
    REQUIRE(on);

    static std::array<moving_fiber, fiber_count> fibers;
    std::atomic<std::uint64_t> outer_calls{0};
    std::atomic<bool> ready{false};
    {
        // Fibers' stacks are mapped by the first thread: below its own, and below the others'.
        small_thread first([&] {
            for (moving_fiber& each : fibers) each.start(fiber_body);
            ready = true;
            work(fibers, 0, outer_calls);
        });
        const auto others = [&](unsigned number) {
            while (!ready) std::this_thread::yield();
            work(fibers, number, outer_calls);
        };
        small_thread second([&] { others(1); });
        small_thread third([&] { others(2); });
    }
    std::uint64_t fiber_rounds = 0;
    for (const moving_fiber& each : fibers) fiber_rounds += each.rounds;
    CHECK(wrong_results == 0);
    CHECK(fiber_rounds > 1000);
    // A round is a middle() and a leaf(); a turn of a worker an outer() and three small().
    CHECK(ended(graph_end::returned) == 2 * fiber_rounds + 4 * outer_calls);
    CHECK(all_ends() == ended(graph_end::returned));
}

namespace {

std::atomic<bool> telling, told;

// The first end of all stops in the middle of being told.
void stops_while_telling(const ftrace_graph_ret& call, fgraph_ops&, ftrace_regs&) noexcept {
    ++ends[static_cast<std::size_t>(call.end)];
    if (telling.exchange(true)) return;
    while (!told) {
    }
}

std::atomic<int> right_results;
void waits_once() {
    right_results += hooked::waits(6) == 7;
    plain::to_worker();
}

}  // namespace

// The thread that began the call ends while another one tells of its end; a third thread takes over
// what the first one left: its slot, its shadow stack, and the frame of that call. It begins so many
// calls on fibers that some are kept in the same list as that one, and none may get its frame.
TEST_CASE("moving fibers: a call ends while its first thread's shadow stack passes on", "[graph]") {
    if (sanitizer_knows_no_fibers()) return;
    for (auto& each : ends) each = 0;
    telling = told = false;
    fgraph_ops stops(nullptr, stops_while_telling);
    REQUIRE(stops.ops.set_filter("hooked::waits"));
    const auto on = register_ftrace_graph(stops);
    REQUIRE(on);

    const auto shadow_stack_here = [] { return detail::this_thread()->graph; };
    static moving_fiber moved;
    const void* passed = nullptr;
    std::thread([&] {
        moved.start(waits_once);
        resume(moved);
        passed = shadow_stack_here();
    }).join();
    std::thread ending([] { resume(moved); });
    while (!telling) std::this_thread::yield();

    constexpr std::size_t most_threads = 200, fibers = 500;
    static std::array<moving_fiber, most_threads + fibers> others;
    std::size_t used = 0;
    bool passes_on = false;
    const auto begin = [&] {
        others[used].start(waits_once);
        resume(others[used++]);
    };
    for (std::size_t i = 0; i < most_threads && !passes_on; ++i)
        std::thread([&] {
            begin();
            passes_on = shadow_stack_here() == passed;
            for (std::size_t j = 0; passes_on && j < fibers; ++j) begin();
        }).join();
    CHECK(passes_on);
    told = true;
    ending.join();
    for (std::size_t i = 0; i < used; ++i) resume(others[i]);
    CHECK(right_results == static_cast<int>(used) + 1);
    CHECK(ended(graph_end::returned) == used + 1);
    CHECK(all_ends() == ended(graph_end::returned));
}

namespace {

std::atomic<int> caught_elsewhere;
void throws_for_ever() {
    for (;;) {
        try {
            hooked::throws_elsewhere(1);
        } catch (int) {
            ++caught_elsewhere;
        }
        plain::to_worker();
    }
}

}  // namespace

TEST_CASE("moving fibers: calls that exceptions end on another thread leave nothing behind",
          "[graph]") {
    if (sanitizer_knows_no_fibers()) return;
    for (auto& each : ends) each = 0;
    caught_elsewhere = 0;
    fgraph_ops counts(nullptr,
                      [](const ftrace_graph_ret& call, fgraph_ops&, ftrace_regs&) noexcept {
                          ++ends[static_cast<std::size_t>(call.end)];
                      });
    REQUIRE(counts.ops.set_filter("hooked::throws_elsewhere"));
    const auto on = register_ftrace_graph(counts);
    REQUIRE(on);
    const std::size_t before = detail::shared_graph()->blocks.opened();

    // Begins each call here, and throws out of it there.
    constexpr int calls = 5000;
    static moving_fiber thrower;
    thrower.start(throws_for_ever);
    std::atomic<bool> there{false}, stop{false};
    std::thread other([&] {
        while (!stop) {
            if (!there) {
                std::this_thread::yield();
                continue;
            }
            resume(thrower);
            there = false;
        }
    });
    for (int i = 0; i < calls; ++i) {
        resume(thrower);
        there = true;
        while (there) std::this_thread::yield();
    }
    stop = true;
    other.join();
    CHECK(caught_elsewhere == calls);
    CHECK(ended(graph_end::exception) == calls);
    CHECK(all_ends() == calls);
    CHECK(detail::shared_graph()->blocks.opened() - before <= 2);
}
