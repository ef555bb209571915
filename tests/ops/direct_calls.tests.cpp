// Direct calls: alone, with other ops, with one that redirects, and moved from one target to another.
#include <ftrace/ops/direct.hpp>

#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_all.hpp>
#include <cstdint>
#include <ftrace/ftrace.hpp>
#include <string>
#include <thread>

#include "tests/patch/program.hpp"
#include "tests/patch/text.hpp"

using namespace ftrace;
using namespace ftrace::detail;
using Catch::Matchers::ContainsSubstring;

namespace program {

struct many {
    long word[3];
};

/// Arguments in general and vector registers and on the stack, and a result in memory.
PROGRAM many work(long a, double b, many on_stack, long c) {
    TOUCH_MEMORY;
    return {{a + on_stack.word[2], long(b), c}};
}
using function = many (*)(long, double, many, long);

}  // namespace program

namespace {

program::many body(long a, double b, program::many on_stack, long c) {
    const auto behind = text::site_of(program::work) + arch::site_size;
    return reinterpret_cast<program::function>(behind)(a, b, on_stack, c);
}
FTRACE_NOTRACE program::many first(long a, double b, program::many on_stack, long c) {
    program::many seen = body(a, b + 0.5, on_stack, c);
    seen.word[0] += 100;
    return seen;
}
FTRACE_NOTRACE program::many second(long, double, program::many, long) { return {{2, 2, 2}}; }
const void* target(program::function function) { return reinterpret_cast<const void*>(function); }

/// What a call gives: the first word tells who was called.
long call() {
    const program::many seen = program::work(1, 2.5, {{0, 0, 7}}, 4);
    return seen.word[0];
}
constexpr long untouched = 8, by_first = 108, by_second = 2;

std::atomic<long> calls;
void count(unsigned long, unsigned long, ftrace_ops&, ftrace_regs& regs) noexcept {
    if (regs_get_argument<0, &program::work>(regs) == 1) ++calls;
}
bool redirect = false;
void maybe_redirect(unsigned long, unsigned long, ftrace_ops&, ftrace_regs& regs) noexcept {
    if (redirect) regs_set_instruction_pointer(regs, second);
}

struct scene {
    direct_ops direct{target(first)};
    std::uintptr_t site = text::site_of(program::work);

    scene() { REQUIRE(direct.set_filter("program::work")); }
    [[nodiscard]] bool jumps_to(program::function function) const {
        const std::int32_t distance = arch::jump_distance(text::read_site(site));
        return distance != 0 &&
               site + arch::site_size + static_cast<std::uintptr_t>(std::int64_t{distance}) ==
                   reinterpret_cast<std::uintptr_t>(function);
    }
    [[nodiscard]] result<void> move_to(program::function function) {
        return with_registry([&](locked_registry& registry) {
            return modify_direct(registry, direct, target(function));
        });
    }
};

}  // namespace

TEST_CASE("direct call: alone on a function it is one jump", "[ops][direct]") {
    scene now;
    CHECK(call() == untouched);
    {
        auto handle = register_ftrace_function(now.direct);
        REQUIRE(handle);
        CHECK(now.jumps_to(first));
        const program::many seen = program::work(1, 2.5, {{0, 0, 7}}, 4);
        CHECK(seen.word[0] == by_first);
        CHECK(seen.word[1] == 3);
        CHECK(seen.word[2] == 4);
    }
    CHECK(call() == untouched);
    CHECK(text::read_site(now.site) == arch::nop_site);
}

TEST_CASE("direct call: callbacks of other ops come first, with their arguments", "[ops][direct]") {
    scene now;
    static ops<count> by_args;
    static ops<count, SAVE_REGS> by_regs;
    for (ftrace_ops* op : {static_cast<ftrace_ops*>(&by_args), static_cast<ftrace_ops*>(&by_regs)})
        for (const bool direct_first : {true, false}) {
            CAPTURE(op->policy(), direct_first);
            REQUIRE(op->set_filter("program::work", true));
            registration handles[2];
            for (const bool direct : {direct_first, !direct_first}) {
                auto handle = register_ftrace_function(direct ? now.direct : *op);
                REQUIRE(handle);
                handles[direct] = std::move(*handle);
            }
            calls = 0;
            CHECK(call() == by_first);
            CHECK(calls == 1);
            REQUIRE(handles[0].unregister());
            CHECK(now.jumps_to(first));
            CHECK(call() == by_first);
            CHECK(calls == 1);
            REQUIRE(handles[1].unregister());
            CHECK(call() == untouched);
        }
}

TEST_CASE("direct call: an ops that moves the instruction pointer has its way", "[ops][direct]") {
    scene now;
    static ops<maybe_redirect, ARGS, FTRACE_OPS_FL_IPMODIFY> redirecting;
    REQUIRE(redirecting.set_filter("program::work"));
    auto direct = register_ftrace_function(now.direct);
    auto handle = register_ftrace_function(redirecting);
    REQUIRE(direct);
    REQUIRE(handle);
    redirect = false;
    CHECK(call() == by_first);
    redirect = true;
    CHECK(call() == by_second);
    redirect = false;
}

TEST_CASE("direct call: a second one on a function is refused, naming the first", "[ops][direct]") {
    scene now;
    direct_ops another(target(second));
    REQUIRE(another.set_filter("program::work"));
    auto handle = register_ftrace_function(now.direct);
    REQUIRE(handle);
    const auto refused = register_ftrace_function(another);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code == errc::ip_modify_conflict);
    CHECK_THAT(refused.error().message, ContainsSubstring("the direct call to "));
    CHECK_THAT(refused.error().message, ContainsSubstring("first("));
    CHECK_THAT(refused.error().message, ContainsSubstring("program::work"));
    CHECK(call() == by_first);
}

TEST_CASE("direct call: moved to another target, alone and with other ops", "[ops][direct]") {
    scene now;
    static ops<count> op;
    REQUIRE(op.set_filter("program::work"));
    REQUIRE(now.move_to(second));  // not registered yet
    auto handle = register_ftrace_function(now.direct);
    REQUIRE(handle);
    CHECK(call() == by_second);
    REQUIRE(now.move_to(first));
    CHECK(now.jumps_to(first));
    CHECK(call() == by_first);
    {
        auto other = register_ftrace_function(op);
        REQUIRE(other);
        REQUIRE(now.move_to(second));
        calls = 0;
        CHECK(call() == by_second);
        CHECK(calls == 1);
        REQUIRE(now.move_to(first));
        CHECK(call() == by_first);
    }
    CHECK(now.jumps_to(first));
}

TEST_CASE("direct call: switched under threads that call", "[ops][direct]") {
    scene now;
    static ops<count> op;
    REQUIRE(op.set_filter("program::work"));
    std::atomic<bool> stop{false};
    std::atomic<long> wrong{0}, rounds{0};
    std::thread calling([&]() FTRACE_NOTRACE {
        for (; !stop; ++rounds) {
            const long seen = call();
            if (seen != untouched && seen != by_first && seen != by_second) ++wrong;
        }
    });
    while (rounds == 0) std::this_thread::yield();
    for (int i = 0; i < 200; ++i) {
        auto handle = register_ftrace_function(now.direct);
        REQUIRE(handle);
        const long before = rounds;
        while (rounds < before + 2) std::this_thread::yield();
        auto other = register_ftrace_function(op);
        REQUIRE(other);
        REQUIRE(now.move_to(i % 2 == 0 ? second : first));
        CHECK(call() == (i % 2 == 0 ? by_second : by_first));
    }
    stop = true;
    calling.join();
    CHECK(wrong == 0);
    CHECK(call() == untouched);
}
