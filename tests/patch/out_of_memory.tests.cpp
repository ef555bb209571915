// Every allocation of a registration, of a filter and of an end of registration fails once: nothing is lost or half
// done. A case for each in a process of its own, whose other thread runs through the functions all the time.
#include <atomic>
#include <catch2/catch_all.hpp>
#include <cstddef>
#include <cstdlib>
#include <ftrace/ftrace.hpp>
#include <ftrace/graph/fgraph.hpp>
#include <new>
#include <thread>
#include <utility>
#include <vector>

#include "program.hpp"
#include "text.hpp"

using namespace ftrace;

namespace {

/// Which of this thread's next allocations fail.
struct failing_allocations {
    long first = -1;  ///< counts down; negative: none
    bool all_behind = false;
    bool seen = false;
};
thread_local failing_allocations failing;

FTRACE_NOTRACE void* allocate(std::size_t size) {
    if (failing.first == 0) {
        failing.seen = true;
        if (!failing.all_behind) failing.first = -1;
        return nullptr;
    }
    if (failing.first > 0) --failing.first;
    return std::malloc(size == 0 ? 1 : size);
}

}  // namespace

FTRACE_NOTRACE void* operator new(std::size_t size) {
    if (void* const memory = allocate(size)) return memory;
    throw std::bad_alloc();
}
FTRACE_NOTRACE void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
    return allocate(size);
}
FTRACE_NOTRACE void operator delete(void* memory) noexcept { std::free(memory); }
FTRACE_NOTRACE void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

namespace program {

template <int N>
PROGRAM int fresh(int x) {
    TOUCH_MEMORY;
    return x + N;
}
using function = int (*)(int);
template <int... N>
std::vector<function> functions(std::integer_sequence<int, N...>) {
    return {fresh<N>...};
}
const std::vector<function> all = functions(std::make_integer_sequence<int, 3>());
void call_all() {
    for (const function each : all) each(1);
}

}  // namespace program

namespace {

std::atomic<long> calls;
FTRACE_NOTRACE void count(unsigned long, unsigned long, ftrace_ops&, ftrace_regs&) noexcept {
    calls.fetch_add(1, std::memory_order_relaxed);
}

class caller {
public:
    caller()
        : thread_([this]() FTRACE_NOTRACE {
              while (!stop_.load(std::memory_order_relaxed)) {
                  program::call_all();
                  rounds_.fetch_add(1, std::memory_order_relaxed);
              }
          }) {
        wait();
    }
    ~caller() {
        stop_ = true;
        thread_.join();
    }
    caller(const caller&) = delete;
    caller& operator=(const caller&) = delete;
    /// Until it has gone through all functions once more.
    void wait() const {
        const long before = rounds_;
        while (rounds_ < before + 2) std::this_thread::yield();
    }

private:
    std::atomic<bool> stop_{false};
    std::atomic<long> rounds_{0};
    std::thread thread_;
};

/// Does `work` with its first allocation failing, its second, ..., until none does: each alone, and each with all
/// behind it. `check` gets what `work` returned each time. Returns how many failed.
template <class Work, class Check>
int fail_each_allocation(Work work, Check check) {
    int failures = 0;
    for (const bool all_behind : {false, true})
        for (long first = 0;; ++first) {
            failing = {first, all_behind, false};
            auto outcome = work();
            const bool none_failed = !failing.seen;
            failing = {};
            if (none_failed) {
                CHECK(outcome.has_value());
                check(outcome);
                break;
            }
            CAPTURE(first, all_behind);
            if (!outcome) {
                CAPTURE(outcome.error().message);
                CHECK(outcome.error().code == errc::out_of_memory);
            }
            check(outcome);
            ++failures;
        }
    return failures;
}

struct scene {
    ftrace_ops op{count};
    std::vector<text::site_bytes> before = bytes();
    caller running;

    static std::vector<text::site_bytes> bytes() {
        std::vector<text::site_bytes> all;
        for (const auto function : program::all)
            all.push_back(text::read_site(text::site_of(function)));
        return all;
    }
    [[nodiscard]] bool called() const {
        running.wait();  // who was on the way to the callback has been there
        const long before_calls = calls;
        running.wait();
        return calls != before_calls;
    }
    result<registration> trace() {
        if (auto filtered = op.set_filter("program::fresh*"); !filtered)
            return std::move(filtered).error();
        return register_ftrace_function(op);
    }
};

}  // namespace

TEST_CASE("out of memory: a registration is whole, or did not happen", "[patch]") {
    scene now;
    const int failures = fail_each_allocation(
        [&] { return now.trace(); },
        [&](result<registration>& outcome) {
            CHECK(now.op.registered() == outcome.has_value());
            CHECK(now.called() == outcome.has_value());
            if (outcome) {
                CHECK(outcome->unregister());
                now.before = scene::bytes();  // one nop now, where the compiler left five
            } else {
                CHECK(scene::bytes() == now.before);
            }
        });
    CHECK(failures > 50);
}

TEST_CASE("out of memory: an ops is off after unregister(), whatever that says", "[patch]") {
    scene now;
    auto handle = now.trace();
    REQUIRE(handle);
    const int failures = fail_each_allocation([&] { return handle->unregister(); },
                                              [&](result<void>&) {
                                                  CHECK_FALSE(now.op.registered());
                                                  CHECK_FALSE(now.called());
                                                  handle = now.trace();
                                                  REQUIRE(handle);
                                                  CHECK(now.called());
                                              });
    CHECK(failures > 5);
}

TEST_CASE("out of memory: the filter of a registered ops is the old one or the new one",
          "[patch]") {
    scene now;
    auto handle = now.trace();
    REQUIRE(handle);
    const auto traced = scene::bytes();
    REQUIRE(now.op.set_notrace("program::fresh*1*"));
    const auto without = scene::bytes();
    CHECK(without != traced);
    const int failures =
        fail_each_allocation([&] { return now.op.set_filter("program::fresh*", true); },
                             [&](result<std::size_t>&) { CHECK(scene::bytes() == without); });
    CHECK(failures > 5);
    REQUIRE(handle->unregister());
    const auto off = scene::bytes();
    handle = now.trace();
    REQUIRE(handle);
    const int more = fail_each_allocation([&] { return set_enabled(false); },
                                          [&](result<void>& outcome) {
                                              CHECK(scene::bytes() == (outcome ? off : without));
                                              CHECK(set_enabled(true));
                                          });
    CHECK(more > 5);
}

TEST_CASE("out of memory: a graph registration is whole, or did not happen", "[patch]") {
    static std::atomic<long> entries;
    const caller running;
    fgraph_ops gops(
        [](const ftrace_graph_ent&, fgraph_ops&, ftrace_regs&) noexcept {
            ++entries;
            return true;
        },
        nullptr);
    const int failures = fail_each_allocation(
        [&]() -> result<graph_registration> {
            if (auto filtered = gops.ops.set_filter("program::fresh*"); !filtered)
                return std::move(filtered).error();
            return register_ftrace_graph(gops);
        },
        [&](result<graph_registration>& outcome) {
            CHECK(gops.ops.registered() == outcome.has_value());
            running.wait();
            const long before = entries;
            running.wait();
            CHECK((entries != before) == outcome.has_value());
            if (outcome) CHECK(outcome->unregister());
        });
    CHECK(failures > 50);
}
