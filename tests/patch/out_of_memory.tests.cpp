// Every allocation of a registration, of a filter and of an end of registration fails once, each in a process of its own,
// whose other thread runs through the functions all the time: nothing is lost or half done.
#include <sys/syscall.h>

#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <cstddef>
#include <cstdlib>
#include <ftrace/ftrace.hpp>
#include <ftrace/graph/fgraph.hpp>
#include <new>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "child.hpp"
#include "fresh_functions.hpp"
#include "program.hpp"
#include "sanitizers.hpp"
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
FTRACE_NOTRACE void operator delete(void* memory, const std::nothrow_t&) noexcept {
    std::free(memory);
}
FTRACE_NOTRACE void operator delete(void* memory) noexcept { std::free(memory); }
FTRACE_NOTRACE void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

extern "C" __attribute__((weak)) int __lsan_do_recoverable_leak_check();

namespace program {

const std::vector<function> all = functions(std::make_integer_sequence<int, 6>());
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

/// A child that ends by _exit() is not looked at.
bool has_leaks() {
    return built_with::address_sanitizer && __lsan_do_recoverable_leak_check != nullptr &&
           __lsan_do_recoverable_leak_check() != 0;
}

/// Runs `scenario(fail)` in one process after the other, in which fail() lets the first allocation behind it fail, the
/// second, ..., until none does: each alone, and each with all behind it. The scenario says what is wrong. Returns how
/// many failed.
template <class Scenario>
int fail_each_allocation(Scenario scenario, bool (*restriction)() = nullptr) {
    int failures = 0;
    for (const bool all_behind : {false, true}) {
        // Where a process takes long, each alone has to do.
        const bool slow =
            restriction != nullptr || built_with::address_sanitizer || built_with::thread_sanitizer;
        if (all_behind && slow) break;
        for (long first = 0, last = 1000; first <= last; ++first) {
            CAPTURE(first, all_behind);
            const child::outcome seen = child::run([&](int) -> std::string {
                if (restriction != nullptr && !restriction()) return "none failed";
                bool none_failed = false;
                const std::string wrong = scenario([&](auto work) {
                    failing = {first, all_behind, false};
                    auto outcome = work();
                    none_failed = !failing.seen;
                    failing = {};
                    return outcome;
                });
                if (!wrong.empty()) return wrong;
                if (!all_behind && has_leaks()) return "leaks";
                return none_failed ? "none failed" : "";
            });
            CHECK(seen.status == 0);
            if (seen.text == "none failed") break;
            CHECK(seen.text == "");
            CHECK(first < last);
            ++failures;
        }
    }
    return failures;
}

/// Of work that failed: for want of memory, or because something else was not had for want of it.
template <class Outcome>
std::string wrong_error(const Outcome& outcome) {
    return outcome || outcome.error().code == errc::out_of_memory ||
                   outcome.error().code == errc::system_failure
               ? ""
               : outcome.error().message;
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
    result<registration> trace(const char* pattern = "program::fresh*") {
        if (auto filtered = op.set_filter(pattern, true); !filtered)
            return std::move(filtered).error();
        return register_ftrace_function(op);
    }
};

constexpr auto registers = [](auto fail) -> std::string {
    scene now;
    auto handle = fail([&] { return now.trace(); });
    if (std::string wrong = wrong_error(handle); !wrong.empty()) return wrong;
    if (now.op.registered() != handle.has_value()) return "registered, or not";
    if (now.called() != handle.has_value()) return "called, or not";
    if (!handle && scene::bytes() != now.before) return "other bytes";
    handle = now.op.registered() ? std::move(handle) : now.trace();
    if (!handle || !now.called()) return "not registered afterwards";
    if (!handle->unregister() || now.called()) return "not unregistered afterwards";
    return "";
};

/// With another ops on the functions, which goes on.
constexpr auto unregisters = [](auto fail) -> std::string {
    scene now;
    static std::atomic<long> others;
    ftrace_ops other([](unsigned long, unsigned long, ftrace_ops&, ftrace_regs&) noexcept {
        others.fetch_add(1, std::memory_order_relaxed);
    });
    if (!other.set_filter("program::fresh*<0>")) return "no filter";
    auto handle = now.trace();
    auto other_handle = register_ftrace_function(other);
    if (!handle || !other_handle || !now.called()) return "not registered";
    (void)fail([&] { return handle->unregister(); });
    if (now.op.registered() || now.called()) return "not off";
    const long before = others;
    now.running.wait();
    if (others == before) return "the other is off, too";
    handle = now.trace();
    if (!handle || !now.called()) return "not registered afterwards";
    if (!handle->unregister() || !other_handle->unregister()) return "not unregistered afterwards";
    for (const text::site_bytes& each : scene::bytes())
        if (each != arch::nop_site) return "not nops afterwards";
    return "";
};

bool forbid_membarrier() { return child::forbid({SYS_membarrier}); }

}  // namespace

TEST_CASE("out of memory: a registration is whole, or did not happen", "[patch]") {
    CHECK(fail_each_allocation(registers) > 40);
}

TEST_CASE("out of memory: an ops is off after unregister(), whatever that says", "[patch]") {
    CHECK(fail_each_allocation(unregisters) > 5);
}

TEST_CASE("out of memory: the same where threads have to be asked to serialise", "[patch]") {
    // 0: no seccomp here.
    (void)fail_each_allocation(registers, forbid_membarrier);
    (void)fail_each_allocation(unregisters, forbid_membarrier);
}

TEST_CASE("out of memory: the filter of a registered ops is the old one or the new one",
          "[patch]") {
    const int failures = fail_each_allocation([](auto fail) -> std::string {
        scene now;
        auto handle = now.trace("program::fresh*<0>");
        if (!handle) return handle.error().message;
        const auto first = scene::bytes();
        auto changed = fail([&] { return now.op.set_filter("program::fresh*<1>", true); });
        if (std::string wrong = wrong_error(changed); !wrong.empty()) return wrong;
        if ((scene::bytes() == first) == changed.has_value()) return "not the old one's bytes";
        // The list that is kept, not only the text.
        if (!handle->unregister()) return "not unregistered";
        handle = register_ftrace_function(now.op);
        if (!handle) return handle.error().message;
        return (scene::bytes() == first) == changed.has_value() ? "another filter" : "";
    });
    CHECK(failures > 5);
}

TEST_CASE("out of memory: tracing is switched off whole, or not", "[patch]") {
    const int failures = fail_each_allocation([](auto fail) -> std::string {
        scene now;
        auto handle = now.trace();
        if (!handle) return handle.error().message;
        const auto on = scene::bytes();
        auto switched = fail([] { return set_enabled(false); });
        if (std::string wrong = wrong_error(switched); !wrong.empty()) return wrong;
        if ((scene::bytes() == on) == switched.has_value()) return "half on";
        if (now.called() == switched.has_value()) return "called, or not";
        return set_enabled(true) && now.called() ? "" : "not on afterwards";
    });
    CHECK(failures > 5);
}

TEST_CASE("out of memory: a graph registration is whole, or did not happen", "[patch]") {
    const int failures = fail_each_allocation([](auto fail) -> std::string {
        static std::atomic<long> entries;
        const caller running;
        fgraph_ops gops(
            [](const ftrace_graph_ent&, fgraph_ops&, ftrace_regs&) noexcept {
                ++entries;
                return true;
            },
            nullptr);
        auto handle = fail([&]() -> result<graph_registration> {
            if (auto filtered = gops.ops.set_filter("program::fresh*"); !filtered)
                return std::move(filtered).error();
            return register_ftrace_graph(gops);
        });
        if (std::string wrong = wrong_error(handle); !wrong.empty()) return wrong;
        if (gops.ops.registered() != handle.has_value()) return "registered, or not";
        running.wait();
        const long before = entries;
        running.wait();
        return (entries != before) == handle.has_value() ? "" : "called, or not";
    });
    CHECK(failures > 40);
}
