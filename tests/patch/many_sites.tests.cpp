// A hundred thousand sites switched together: each of them right, not only most.
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <ftrace/ftrace.hpp>

#include "text.hpp"

using namespace ftrace;

// generate_sites.py
extern "C" int (*const generated_sites[])(int);
extern "C" const std::uint64_t generated_site_count;

namespace {

long calls;
std::uintptr_t last_ip;
int last_argument;
void count(unsigned long ip, unsigned long, ftrace_ops&, ftrace_regs& regs) noexcept {
    ++calls;
    last_ip = ip;
    last_argument = static_cast<int>(arch_access::saved(regs).gpr.di);
}
void count_second(unsigned long, unsigned long, ftrace_ops&, ftrace_regs&) noexcept { ++calls; }

/// Calls every function; how many did not do what they should. `each`: callbacks for a call.
std::size_t wrong_calls(int each, bool check_callback) {
    std::size_t wrong = 0;
    for (std::uint64_t i = 0; i < generated_site_count; ++i) {
        calls = 0;
        __asm__ volatile("" ::: "memory");
        const int result = generated_sites[i](7);
        wrong +=
            result != 7 + static_cast<int>(i) || calls != each ||
            (check_callback && (last_argument != 7 ||
                                last_ip != reinterpret_cast<std::uintptr_t>(generated_sites[i])));
    }
    return wrong;
}

double milliseconds(std::chrono::steady_clock::duration time) {
    return std::chrono::duration<double, std::milli>(time).count();
}

/// Says how long `call` took; no test, since machines differ.
template <class Call>
void timed(const char* what, Call call) {
    const auto begin = std::chrono::steady_clock::now();
    const bool done = call();
    const auto end = std::chrono::steady_clock::now();
    std::printf("%-28s %8.2f ms\n", what, milliseconds(end - begin));
    REQUIRE(done);
}

}  // namespace

TEST_CASE("many sites: all on, all off, again, and another ops over them", "[patch]") {
    REQUIRE(generated_site_count >= 100'000);
    CHECK(wrong_calls(0, false) == 0);
    ops<count> op;
    timed("filter by name",
          [&] { return op.set_filter("site_*").value() == generated_site_count; });
    registration handle;
    const auto on = [&] {
        auto registered = register_ftrace_function(op);
        if (registered) handle = std::move(*registered);
        return registered.has_value();
    };
    const auto off = [&] { return handle.unregister().has_value(); };
    timed("on, first time", on);
    CHECK(wrong_calls(1, true) == 0);
    timed("off", off);
    CHECK(wrong_calls(0, false) == 0);
    timed("on, second time", on);
    CHECK(wrong_calls(1, true) == 0);

    ops<count_second> second;
    REQUIRE(second.set_filter("site_*"));
    registration second_handle;
    timed("a second ops on", [&] {
        auto registered = register_ftrace_function(second);
        if (registered) second_handle = std::move(*registered);
        return registered.has_value();
    });
    CHECK(wrong_calls(2, true) == 0);
    timed("a second ops off", [&] { return second_handle.unregister().has_value(); });
    CHECK(wrong_calls(1, true) == 0);
    timed("one function out", [&] { return op.set_filter("!site_5").has_value(); });
    calls = 0;
    CHECK(generated_sites[5](1) == 6);
    CHECK(calls == 0);
    timed("off, second time", off);
    CHECK(wrong_calls(0, false) == 0);
    std::size_t nops = 0;
    for (std::uint64_t i = 0; i < generated_site_count; ++i)
        nops += text::read_site(text::site_of(generated_sites[i])) == arch::nop_site;
    CHECK(nops == generated_site_count);
}
