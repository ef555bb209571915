// Text that changes while threads run through it. The threads start before the first change, when
// gcc's sites are still five nops that a thread may stand between.
#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <ftrace/ftrace.hpp>
#include <thread>
#include <utility>
#include <vector>

#include "program.hpp"
#include "text.hpp"

using namespace ftrace;

namespace program {

/// Fifty functions, each with a result of its own, some calling others.
template <int N>
PROGRAM long work(long x, double y) {
    TOUCH_MEMORY;
    if constexpr (N % 5 == 4)
        return work<N - 1>(x, y) + 1;
    else
        return x * N + static_cast<long>(y);
}
template <int N>
constexpr long expected(long x) {
    return N % 5 == 4 ? x * (N - 1) + x + 1 : x * N + x;
}

constexpr int count = 50;
using function = long (*)(long, double);

template <int... N>
int wrong_results(long x, std::integer_sequence<int, N...>) {
    return ((work<N>(x, static_cast<double>(x)) != expected<N>(x)) + ...);
}
template <int... N>
std::vector<std::uintptr_t> sites(std::integer_sequence<int, N...>) {
    return {text::site_of(work<N>)...};
}
constexpr auto all = std::make_integer_sequence<int, count>();

}  // namespace program

namespace {

std::atomic<long> calls[4], bad_registers;

void count_arguments(unsigned long, unsigned long, ftrace_ops&, ftrace_regs& regs) noexcept {
    calls[0].fetch_add(1, std::memory_order_relaxed);
    if (static_cast<long>(arch_access::saved(regs).gpr.di) < 100) ++bad_registers;
}
void count_all(unsigned long, unsigned long, ftrace_ops&, ftrace_regs& regs) noexcept {
    calls[1].fetch_add(1, std::memory_order_relaxed);
    if (get_regs(regs) == nullptr || get_regs(regs)->cs != arch::user_cs) ++bad_registers;
}
void count_dynamic(unsigned long, unsigned long, ftrace_ops&, ftrace_regs&) noexcept {
    calls[2].fetch_add(1, std::memory_order_relaxed);
}

struct worker {
    std::atomic<long> rounds{0}, wrong{0};
    std::thread thread;
};

}  // namespace

TEST_CASE("patching: three threads run on, with right results, through all changes", "[patch]") {
    std::atomic<bool> stop{false};
    std::vector<worker> workers(3);
    for (worker& w : workers)
        w.thread = std::thread([&w, &stop] {
            for (long x = 100; !stop; ++x) {
                w.wrong += program::wrong_results(x, program::all);
                ++w.rounds;
            }
        });
    for (const worker& w : workers)
        while (w.rounds == 0) std::this_thread::yield();

    ops<count_arguments> arguments;
    ops<count_all, SAVE_REGS> all;
    ftrace_ops dynamic(count_dynamic);
    REQUIRE(arguments.set_filter("program::work").value() == program::count);
    REQUIRE(all.set_filter("program::work<*[02468]>"));
    REQUIRE(dynamic.set_filter("program::work<7>"));

    int changes = 0, failed = 0;
    const auto done = [&](const auto& outcome) {
        ++changes;
        if (!outcome) {
            ++failed;
            UNSCOPED_INFO(outcome.error().message);
        }
    };
    const auto dynamic_on = register_ftrace_function(dynamic);
    done(dynamic_on);
    for (const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(4);
         changes < 3000 && std::chrono::steady_clock::now() < end;) {
        auto arguments_on = register_ftrace_function(arguments);
        done(arguments_on);
        auto all_on = register_ftrace_function(all);
        done(all_on);
        if (failed != 0) break;
        // A whole round of one thread with both, now and then; else as fast as it goes.
        if (changes % 5 == 0)
            for (const long before = workers[0].rounds; workers[0].rounds < before + 2;)
                std::this_thread::yield();
        done(dynamic.set_filter_ip(text::site_of(program::work<11>)));
        done(dynamic.set_filter_ip(text::site_of(program::work<11>), true));
        if (changes % 4 == 0) done(arguments_on->unregister());
        done(all_on->unregister());
        if (arguments_on->registered()) done(arguments_on->unregister());
    }
    stop = true;
    for (worker& w : workers) w.thread.join();
    CHECK(failed == 0);
    CHECK(changes >= 100);
    for (const worker& w : workers) {
        CHECK(w.wrong == 0);
        CHECK(w.rounds > 1);
    }
    CHECK(calls[0] > 0);
    CHECK(calls[1] > 0);
    CHECK(calls[2] > 0);
    CHECK(bad_registers == 0);

    // What is left: one nop everywhere, but where the dynamic ops is.
    int nops = 0, called = 0;
    for (const std::uintptr_t site : program::sites(program::all)) {
        nops += text::read_site(site) == arch::nop_site;
        called += text::call_target(site) != 0;
    }
    CHECK(nops == program::count - 1);
    CHECK(called == 1);
}
