// What a site calls depends on the ops on that site alone: its own stub when there is one, a list
// only where there are several.
#include <catch2/catch_test_macros.hpp>
#include <ftrace/ftrace.hpp>
#include <memory>
#include <vector>

#include "../patch/program.hpp"
#include "../patch/text.hpp"

using namespace ftrace;

namespace program {

PROGRAM void watched() { TOUCH_MEMORY; }
PROGRAM void also_watched() { TOUCH_MEMORY; }
PROGRAM void unrelated() { TOUCH_MEMORY; }

}  // namespace program

namespace {

int first_calls, second_calls, dynamic_calls;
ftrace_ops* called_with;
void first(unsigned long, unsigned long, ftrace_ops& op, ftrace_regs&) noexcept {
    ++first_calls;
    called_with = &op;
}
void second(unsigned long, unsigned long, ftrace_ops&, ftrace_regs&) noexcept { ++second_calls; }
void dynamic(unsigned long, unsigned long, ftrace_ops&, ftrace_regs&) noexcept { ++dynamic_calls; }
FTRACE_GENERAL_REGS_ONLY void integers(unsigned long, unsigned long, ftrace_ops&,
                                       integer_regs&) noexcept {
    ++first_calls;
}

const std::uintptr_t watched = text::site_of(program::watched);
const std::uintptr_t also_watched = text::site_of(program::also_watched);
const std::uintptr_t unrelated = text::site_of(program::unrelated);

template <auto Callback, save_policy Policy>
const detail::stub_table& stubs_of_ops() {
    return *detail::own_stubs_of<Callback, Policy, FTRACE_OPS_FL_RECURSION>.stubs;
}

registration must_register(ftrace_ops& op, const char* filter = "program::watched") {
    REQUIRE(op.set_filter(filter, true));
    auto handle = register_ftrace_function(op);
    REQUIRE(handle);
    return std::move(*handle);
}

}  // namespace

TEST_CASE("site: an ops alone is called by its own stub, whatever its policy", "[ops][cost]") {
    const text::site_bytes before = text::read_site(unrelated);
    {
        ops<first> arguments;
        const registration handle = must_register(arguments);
        CHECK(text::calls_directly(watched, stubs_of_ops<first, ARGS>()));
        CHECK(text::call_target(also_watched) == 0);
        CHECK(text::read_site(unrelated) == before);
        program::watched();
        CHECK(called_with == &arguments);
    }
    {
        ops<first, SAVE_REGS> all;
        const registration handle = must_register(all);
        CHECK(text::calls_directly(watched, stubs_of_ops<first, SAVE_REGS>()));
    }
    {
        ops<integers, ARGS_INTEGER> integer;
        const registration handle = must_register(integer);
        CHECK(text::calls_directly(watched, stubs_of_ops<integers, ARGS_INTEGER>()));
    }
    CHECK(text::read_site(watched) == arch::nop_site);
}

TEST_CASE("site: two ops make a list, and one that is left is called directly again",
          "[ops][cost]") {
    ops<first> one;
    ops<second, SAVE_REGS> two;
    registration first_handle = must_register(one, "program::*watched");
    {
        const registration second_handle = must_register(two, "program::watched");
        CHECK(text::calls_through_veneer(watched, *detail::own_list_stubs.by_policy[SAVE_REGS]));
        // The other function has one ops, and so knows of no list, nor of SAVE_REGS.
        CHECK(text::calls_directly(also_watched, stubs_of_ops<first, ARGS>()));
        first_calls = second_calls = 0;
        program::watched();
        program::also_watched();
        CHECK(first_calls == 2);
        CHECK(second_calls == 1);

        REQUIRE(first_handle.unregister());
        CHECK(text::calls_directly(watched, stubs_of_ops<second, SAVE_REGS>()));
        CHECK(text::call_target(also_watched) == 0);
        first_handle = must_register(one, "program::watched");
        CHECK(text::calls_through_veneer(watched, *detail::own_list_stubs.by_policy[SAVE_REGS]));
    }
    CHECK(text::calls_directly(watched, stubs_of_ops<first, ARGS>()));
}

TEST_CASE("site: a hundred ops elsewhere leave its call as it was", "[ops][cost]") {
    ops<first> one;
    const registration handle = must_register(one);
    const text::site_bytes alone = text::read_site(watched);
    std::vector<std::unique_ptr<ftrace_ops>> others;
    std::vector<registration> handles;
    for (int i = 0; i < 100; ++i) {
        others.push_back(std::make_unique<ftrace_ops>(dynamic));
        handles.push_back(must_register(*others.back(), "program::unrelated"));
        CHECK(text::read_site(watched) == alone);
    }
    dynamic_calls = first_calls = 0;
    program::watched();
    CHECK(dynamic_calls == 0);
    CHECK(first_calls == 1);
    program::unrelated();
    CHECK(dynamic_calls == 100);
    handles.clear();
    CHECK(text::call_target(unrelated) == 0);
    CHECK(text::read_site(watched) == alone);
}

TEST_CASE("site: a dynamic ops comes through the list stub of its policy", "[ops][cost]") {
    for (const save_policy policy : {ARGS, SAVE_REGS, ARGS_INTEGER}) {
        ftrace_ops op(dynamic, policy);
        const registration handle = must_register(op);
        CHECK(text::calls_through_veneer(watched, *detail::own_list_stubs.by_policy[policy]));
    }
}

TEST_CASE("site: a second ops of one type has the same stub behind a veneer", "[ops][cost]") {
    ops<first> one, two;
    registration one_handle = must_register(one, "program::watched");
    {
        const registration two_handle = must_register(two, "program::also_watched");
        CHECK(text::calls_directly(watched, stubs_of_ops<first, ARGS>()));
        CHECK(text::calls_through_veneer(also_watched, stubs_of_ops<first, ARGS>()));
        program::watched();
        CHECK(called_with == &one);
        program::also_watched();
        CHECK(called_with == &two);

        // The first goes and comes back while the second stays: each is still told apart.
        REQUIRE(one_handle.unregister());
        program::also_watched();
        CHECK(called_with == &two);
        one_handle = must_register(one, "program::watched");
        program::watched();
        CHECK(called_with == &one);

        // Both on one function.
        REQUIRE(one_handle.unregister());
        one_handle = must_register(one, "program::also_watched");
        CHECK(text::calls_through_veneer(also_watched, *detail::own_list_stubs.by_policy[ARGS]));
        first_calls = 0;
        program::also_watched();
        CHECK(first_calls == 2);
        CHECK(called_with == &one);  // registered last
    }
    CHECK(text::calls_directly(also_watched, stubs_of_ops<first, ARGS>()));
    program::also_watched();
    CHECK(called_with == &one);
    REQUIRE(one_handle.unregister());

    // The place of the first is free: whoever comes next takes it.
    const registration again = must_register(two, "program::watched");
    CHECK(text::calls_directly(watched, stubs_of_ops<first, ARGS>()));
    program::watched();
    CHECK(called_with == &two);
}
