// registry<...>: ops known while compiling, and the code that calls them without a list.
#include <catch2/catch_test_macros.hpp>
#include <ftrace/ftrace.hpp>
#include <string>

#include "../patch/program.hpp"
#include "../patch/text.hpp"

using namespace ftrace;

namespace program {

PROGRAM void one() { TOUCH_MEMORY; }
PROGRAM void two() { TOUCH_MEMORY; }
PROGRAM void one_two() { TOUCH_MEMORY; }

}  // namespace program

namespace {

std::string order;
bool full[3];

void a(unsigned long, unsigned long, ftrace_ops&, ftrace_regs&) noexcept { order += 'a'; }
void b(unsigned long, unsigned long, ftrace_ops&, full_regs& regs) noexcept {
    order += 'b';
    full[0] = get_regs(regs).cs == arch::user_cs;
}
void c(unsigned long, unsigned long, ftrace_ops&, ftrace_regs&) noexcept { order += 'c'; }
void foreign(unsigned long, unsigned long, ftrace_ops&, ftrace_regs&) noexcept { order += 'f'; }
void by_data(unsigned long, unsigned long, ftrace_ops& op, ftrace_regs&) noexcept {
    order += *static_cast<const char*>(op.private_data);
}

using op_a = ops<a>;
using op_b = ops<b, SAVE_REGS>;
using op_c = ops<c>;

/// The stubs that a registry's code for this policy has.
template <class... Ops>
const detail::stub_table& stubs(save_policy policy) {
    return *detail::static_set_of<Ops...>.stubs[policy];
}

std::string called() {
    order.clear();
    program::one();
    return order;
}

const std::uintptr_t site = text::site_of(program::one);

}  // namespace

TEST_CASE("compiled: all members on a function, in the order of the types, no list",
          "[ops][registry]") {
    static registry<op_a, op_b, op_c> hooks;
    REQUIRE(hooks.get<0>().set_filter("program::one"));
    REQUIRE(hooks.get<1>().set_filter("program::one"));
    REQUIRE(hooks.get<2>().set_filter("program::one"));
    {
        auto on = hooks.register_all();
        REQUIRE(on);
        CHECK(text::calls_through_veneer(site, stubs<op_a, op_b, op_c>(SAVE_REGS)));
        full[0] = false;
        CHECK(called() == "abc");
        CHECK(full[0]);

        // Without the one that wants everything, the cheaper stub of the same code.
        REQUIRE(on->member[1].unregister());
        CHECK(text::calls_through_veneer(site, stubs<op_a, op_b, op_c>(ARGS)));
        CHECK(called() == "ac");

        REQUIRE(on->member[0].unregister());
        CHECK(text::calls_directly(site,
                                   *detail::own_stubs_of<c, ARGS, FTRACE_OPS_FL_RECURSION>.stubs));
        CHECK(called() == "c");
    }
    CHECK(called() == "");
}

TEST_CASE("compiled: every function gets the members of its own filter", "[ops][registry]") {
    static registry<op_a, op_b, op_c> hooks;
    REQUIRE(hooks.get<0>().set_filter("program::one*"));
    REQUIRE(hooks.get<1>().set_filter("program::*two"));
    REQUIRE(hooks.get<2>().set_filter("program::*"));
    const auto on = hooks.register_all();
    REQUIRE(on);
    CHECK(called() == "ac");
    CHECK(text::calls_through_veneer(site, stubs<op_a, op_b, op_c>(ARGS)));
    order.clear();
    program::two();
    CHECK(order == "bc");
    order.clear();
    program::one_two();
    CHECK(order == "abc");
}

TEST_CASE("compiled: another ops on the function makes it an ordinary list", "[ops][registry]") {
    static registry<op_a, op_c> hooks;
    ops<foreign> other;
    REQUIRE(hooks.get<0>().set_filter("program::one"));
    REQUIRE(hooks.get<1>().set_filter("program::one"));
    REQUIRE(other.set_filter("program::one"));
    auto on = hooks.register_all();
    REQUIRE(on);
    {
        const auto joined = register_ftrace_function(other);
        REQUIRE(joined);
        CHECK(text::calls_through_veneer(site, *detail::own_list_stubs.by_policy[ARGS]));
        CHECK(called() == "acf");
    }
    CHECK(text::calls_through_veneer(site, stubs<op_a, op_c>(ARGS)));
    CHECK(called() == "ac");
}

TEST_CASE("compiled: members registered in another order are called in that one",
          "[ops][registry]") {
    static registry<op_a, op_c> hooks;
    REQUIRE(hooks.get<0>().set_filter("program::one"));
    REQUIRE(hooks.get<1>().set_filter("program::one"));
    const auto second = register_ftrace_function(hooks.get<1>());
    const auto first = register_ftrace_function(hooks.get<0>());
    REQUIRE(first);
    REQUIRE(second);
    CHECK(text::calls_through_veneer(site, *detail::own_list_stubs.by_policy[ARGS]));
    CHECK(called() == "ca");
}

TEST_CASE("compiled: two registries of one type keep their members apart", "[ops][registry]") {
    using by_type = ops<by_data>;
    static registry<by_type> first, second;
    static char x = 'x', y = 'y';
    first.get<0>().private_data = &x;
    second.get<0>().private_data = &y;
    REQUIRE(first.get<0>().set_filter("program::one"));
    REQUIRE(second.get<0>().set_filter("program::one"));
    const auto on = first.register_all();
    const auto also = second.register_all();
    REQUIRE(on);
    REQUIRE(also);
    CHECK(called() == "xy");
}

TEST_CASE("compiled: one type may be a member twice", "[ops][registry]") {
    using by_type = ops<by_data>;
    static registry<by_type, op_c, by_type> hooks;
    static char x = 'x', y = 'y';
    hooks.get<0>().private_data = &x;
    hooks.get<2>().private_data = &y;
    REQUIRE(hooks.get<0>().set_filter("program::one"));
    REQUIRE(hooks.get<1>().set_filter("program::one"));
    REQUIRE(hooks.get<2>().set_filter("program::one"));
    auto on = hooks.register_all();
    REQUIRE(on);
    CHECK(text::calls_through_veneer(site, stubs<by_type, op_c, by_type>(ARGS)));
    CHECK(called() == "xcy");
    REQUIRE(on->member[0].unregister());
    CHECK(called() == "cy");
    REQUIRE(on->member[1].unregister());
    CHECK(called() == "y");
}

TEST_CASE("compiled: register_all registers all or none", "[ops][registry]") {
    static registry<op_a, op_c> hooks;
    REQUIRE(hooks.get<0>().set_filter("program::one"));
    REQUIRE(hooks.get<1>().set_filter("program::one"));
    REQUIRE(hooks.get<1>().set_notrace("program::one"));
    const auto none = hooks.register_all();
    REQUIRE_FALSE(none);
    CHECK(none.error().code == errc::no_match);
    CHECK_FALSE(hooks.get<0>().registered());
    CHECK(called() == "");
}

TEST_CASE("compiled: a registry that is destroyed leaves nothing behind", "[ops][registry]") {
    {
        registry<op_a, op_c> hooks;
        REQUIRE(hooks.get<0>().set_filter("program::one"));
        REQUIRE(hooks.get<1>().set_filter("program::one"));
        const auto on = hooks.register_all();
        REQUIRE(on);
        CHECK(called() == "ac");
    }
    CHECK(called() == "");
    CHECK(text::read_site(site) == arch::nop_site);
}
