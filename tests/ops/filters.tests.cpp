// Filters of an ops, registered or not: which functions it is called for.
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators_all.hpp>
#include <catch2/matchers/catch_matchers_all.hpp>
#include <ftrace/ftrace.hpp>
#include <string>

#include "../patch/program.hpp"
#include "../patch/text.hpp"

using namespace ftrace;
using Catch::Matchers::ContainsSubstring;

namespace shop {

PROGRAM void open_door() { TOUCH_MEMORY; }
PROGRAM void close_door() { TOUCH_MEMORY; }
PROGRAM void sell(int) { TOUCH_MEMORY; }
PROGRAM void sell(const char*) { TOUCH_MEMORY; }
template <class T>
PROGRAM void wrap(T) {
    TOUCH_MEMORY;
}
struct till {
    PROGRAM void count() { TOUCH_MEMORY; }
    PROGRAM int count(int coins, unsigned long) const {
        TOUCH_MEMORY;
        return coins;
    }
    PROGRAM till operator+(const till&) const {
        TOUCH_MEMORY;
        return {};
    }
};

}  // namespace shop

// Named as gcc names what it makes of a function by changing its parameters.
namespace copies {
PROGRAM void refund(int) __asm__("_ZN6copies6refundEi.isra.0");
PROGRAM void refund(int) { TOUCH_MEMORY; }
}  // namespace copies

// A function without a site, four bytes long, as compilers make them at -Os; right behind it one that has a site.
extern "C" void tiny_without_site();
extern "C" void behind_tiny();
__asm__(
    ".pushsection .text.tiny, \"ax\", @progbits\n"
    ".globl tiny_without_site, behind_tiny\n"
    ".type tiny_without_site, @function\n"
    ".type behind_tiny, @function\n"
    "tiny_without_site: nop; nop; nop; ret\n"
    ".size tiny_without_site, . - tiny_without_site\n"
    "behind_tiny: .skip 5, 0x90\n"
    "ret\n"
    ".size behind_tiny, . - behind_tiny\n"
    ".pushsection __patchable_function_entries, \"awo\", @progbits, .text.tiny\n"
    ".balign 8\n"
    ".quad behind_tiny\n"
    ".popsection\n"
    ".popsection\n");

namespace {

std::string called;
std::uintptr_t sites[9];
constexpr char letters[] = "ocisIDmnp";

void note(unsigned long ip, unsigned long, ftrace_ops&, ftrace_regs&) noexcept {
    for (std::size_t i = 0; i < std::size(sites); ++i)
        if (sites[i] == ip) called += letters[i];
}

template <class Member>
std::uintptr_t site_of_member(Member member) {
    // The first word of a pointer to a member function that is not virtual (Itanium C++ ABI 2.3).
    std::uintptr_t address;
    std::memcpy(&address, &member, sizeof address);
    return text::site_of(reinterpret_cast<void (*)()>(address));
}

void find_sites() {
    using namespace shop;
    sites[0] = text::site_of(open_door);
    sites[1] = text::site_of(close_door);
    sites[2] = text::site_of<void(int)>(sell);
    sites[3] = text::site_of<void(const char*)>(sell);
    sites[4] = text::site_of(wrap<int>);
    sites[5] = text::site_of(wrap<double>);
    sites[6] = site_of_member<void (till::*)()>(&till::count);
    sites[7] = site_of_member<int (till::*)(int, unsigned long) const>(&till::count);
    sites[8] = site_of_member(&till::operator+);
}

/// Which functions are traced when all are called once: o(pen) c(lose) i: sell(int), s: sell(char
/// const*), I D: wrap, m n: count, p: plus.
std::string traced() {
    using namespace shop;
    called.clear();
    called.reserve(32);
    open_door();
    close_door();
    sell(1);
    sell("bread");
    wrap(1);
    wrap(1.0);
    till a;
    a.count();
    a.count(1, 2);
    (void)(a + a);
    return called;
}

std::string traced_by(ftrace_ops& op) {
    auto handle = register_ftrace_function(op);
    REQUIRE(handle);
    return traced();
}

struct pattern_case {
    const char* pattern;
    std::size_t matched;
    const char* traced;
};

}  // namespace

TEST_CASE("filter: names, overloads, templates, members, and names with spaces", "[ops][filter]") {
    find_sites();
    const auto& c = GENERATE(values<pattern_case>({
        {"shop::open_door", 1, "o"},
        {"shop::*_door", 2, "oc"},
        {"shop::sell", 2, "is"},
        {"shop::sell(int)", 1, "i"},
        {"shop::sell(char const*)", 1, "s"},
        {"shop::wrap<int>", 1, "I"},
        {"shop::wrap", 2, "ID"},
        {"void shop::wrap<double>(double)", 1, "D"},
        {"shop::till::count", 2, "mn"},
        {"shop::till::count(int, unsigned long)", 1, "n"},
        {"shop::till::operator+", 1, "p"},
        {"_ZN4shop9open_doorEv", 1, "o"},
        {"shop::open_door; shop::till::count()", 2, "om"},
        {"shop::*; !shop::*door; !shop::till::*", 8 + 2 + 3, "isID"},
    }));
    CAPTURE(c.pattern);
    ops<note> op;
    const auto matched = op.set_filter(c.pattern);
    if (!matched) FAIL(matched.error().message);
    // shop::* means nine functions here.
    CHECK(*matched == (std::string(c.pattern).starts_with("shop::*;") ? 14 : c.matched));
    CHECK(traced_by(op) == c.traced);
    CHECK(traced() == "");
}

TEST_CASE("filter: changes of a registered ops take effect at once", "[ops][filter]") {
    find_sites();
    ops<note> op;
    REQUIRE(op.set_filter("shop::open_door"));
    auto handle = register_ftrace_function(op);
    REQUIRE(handle);
    CHECK(traced() == "o");
    REQUIRE(op.set_filter("shop::close_door"));
    CHECK(traced() == "oc");
    REQUIRE(op.set_filter("!shop::open_door"));
    CHECK(traced() == "c");
    REQUIRE(op.set_filter("shop::sell", true));
    CHECK(traced() == "is");
    REQUIRE(op.set_notrace("shop::sell(int)"));
    CHECK(traced() == "s");
    // notrace wins, whatever the filter says later.
    REQUIRE(op.set_filter("shop::sell(int)"));
    CHECK(traced() == "s");
    REQUIRE(op.reset_filter());
    CHECK(traced() == "ocsIDmnp");
    REQUIRE(op.set_notrace("shop::till::*", true));
    CHECK(traced() == "ocisID");
    REQUIRE(op.set_notrace("!shop::till::count"));
    CHECK(traced() == "ocisIDmn");

    // Without a filter, taking something out means all but that.
    REQUIRE(op.reset_filter());
    REQUIRE(op.set_filter("!shop::wrap"));
    CHECK(traced() == "ocismn");
}

TEST_CASE("filter: by address", "[ops][filter]") {
    find_sites();
    ops<note> op;
    CHECK(op.set_filter_ip(sites[0]).value() == 1);
    auto handle = register_ftrace_function(op);
    REQUIRE(handle);
    CHECK(traced() == "o");
    CHECK(op.set_filter_ip(reinterpret_cast<std::uintptr_t>(&shop::close_door)).value() == 1);
    CHECK(traced() == "oc");
    REQUIRE(op.set_filter_ip(sites[0], true));
    CHECK(traced() == "c");
    REQUIRE(op.set_filter_ip(sites[5], false, true));
    CHECK(traced() == "D");

    const auto inside = op.set_filter_ip(sites[0] + 1);
    REQUIRE_FALSE(inside);
    CHECK(inside.error().code == errc::not_a_site);
    CHECK(inside.error().address == sites[0] + 1);
    CHECK_THAT(inside.error().message, ContainsSubstring("open_door"));
    const auto stack = op.set_filter_ip(reinterpret_cast<std::uintptr_t>(&handle));
    REQUIRE_FALSE(stack);
    CHECK(stack.error().code == errc::not_a_site);
    const auto absent = op.set_filter_ip(sites[0], true);
    REQUIRE_FALSE(absent);
    CHECK(absent.error().code == errc::no_match);
    CHECK(traced() == "D");
}

TEST_CASE("filter: the last function cannot be removed, since none would mean all",
          "[ops][filter]") {
    find_sites();
    ops<note> op;
    REQUIRE(op.set_filter("shop::open_door"));
    auto handle = register_ftrace_function(op);
    REQUIRE(handle);
    const auto before = text::all_sites();
    const auto by_name = op.set_filter("!shop::open_door");
    REQUIRE_FALSE(by_name);
    CHECK(by_name.error().code == errc::invalid_argument);
    CHECK_THAT(by_name.error().message, ContainsSubstring("reset_filter()"));
    const auto by_address = op.set_filter_ip(sites[0], true);
    REQUIRE_FALSE(by_address);
    CHECK(by_address.error().code == errc::invalid_argument);
    CHECK((text::all_sites() == before));
    CHECK(traced() == "o");
}

TEST_CASE("filter: what matches nothing is an error that shows the nearest names",
          "[ops][filter]") {
    find_sites();
    ops<note> op;
    REQUIRE(op.set_filter("shop::close_door"));
    auto handle = register_ftrace_function(op);
    REQUIRE(handle);
    const auto wrong = op.set_filter("shop::open_dor");
    REQUIRE_FALSE(wrong);
    CHECK(wrong.error().code == errc::no_match);
    CHECK_THAT(wrong.error().message, ContainsSubstring("shop::open_dor"));
    CHECK_THAT(wrong.error().message, ContainsSubstring("shop::open_door"));

    // One wrong word of several: nothing of the others is done.
    CHECK_FALSE(op.set_filter("shop::open_door; shop::opn_door"));
    CHECK_FALSE(op.set_notrace("shop::clos_door"));
    CHECK(traced() == "c");
    for (const char* empty : {"", " ; \n", "!", "shop::sell:mod:"}) {
        CAPTURE(empty);
        const auto refused = op.set_filter(empty);
        REQUIRE_FALSE(refused);
        CHECK(refused.error().code == errc::invalid_argument);
    }
    CHECK(traced() == "c");
}

TEST_CASE("filter: a pattern with parameters is answered with parameters", "[ops][filter]") {
    ops<note> op;
    const auto wrong = op.set_filter("shop::sell(double)");
    REQUIRE_FALSE(wrong);
    CHECK_THAT(wrong.error().message, ContainsSubstring("shop::sell(int)") &&
                                          ContainsSubstring("shop::sell(char const*)"));
    CHECK(op.set_filter("shop::sell(const char*)").value() == 1);
}

TEST_CASE("filter: a copy with other parameters has to be meant", "[ops][filter]") {
    copies::refund(1);
    ops<note> op;
    for (const char* pattern : {"copies::refund", "copies::refund(int)", "copies::refun?"}) {
        const auto refused = op.set_filter(pattern);
        REQUIRE_FALSE(refused);
        CHECK(refused.error().code == errc::no_match);
        CHECK_THAT(refused.error().message,
                   ContainsSubstring("with other parameters") && ContainsSubstring(".isra.0"));
    }
    for (const char* pattern :
         {"copies::refund*", "copies::refund*.isra*", "_ZN6copies6refundEi.isra.0"})
        CHECK(op.set_filter(pattern).value() == 1);
    CHECK(op.set_filter(demangle("_ZN6copies6refundEi.isra.0")).value() == 1);
}

TEST_CASE("filter: filters that leave nothing are refused at registration", "[ops][filter]") {
    ops<note> op;
    REQUIRE(op.set_filter("shop::open_door"));
    REQUIRE(op.set_notrace("shop::*"));
    const auto handle = register_ftrace_function(op);
    REQUIRE_FALSE(handle);
    CHECK(handle.error().code == errc::no_match);
    CHECK_FALSE(op.registered());
}

TEST_CASE("filter: reset_notrace() forgets what was left out, and nothing else", "[ops][filter]") {
    find_sites();
    ops<note> op;
    REQUIRE(op.reset_notrace());  // nothing is no error
    REQUIRE(op.set_filter("shop::*_door; shop::sell"));
    REQUIRE(op.set_notrace("shop::open_door; shop::sell(int)"));
    {
        auto handle = register_ftrace_function(op);
        REQUIRE(handle);
        CHECK(traced() == "cs");
        REQUIRE(op.reset_notrace());
        CHECK(traced() == "ocis");
        REQUIRE(op.set_notrace("shop::close_door"));
        CHECK(traced() == "ois");
    }
    // The same between registrations, and without a filter.
    REQUIRE(op.reset_notrace());
    REQUIRE(op.set_notrace("shop::till::*"));
    CHECK(traced_by(op) == "ocis");
    REQUIRE(op.reset_filter());
    CHECK(traced_by(op) == "ocisID");
    REQUIRE(op.reset_notrace());
    CHECK(traced_by(op) == "ocisIDmnp");
}

TEST_CASE("filter: several addresses at once, all of them or none", "[ops][filter]") {
    find_sites();
    ops<note> op;
    const std::uintptr_t doors[] = {reinterpret_cast<std::uintptr_t>(&shop::close_door), sites[0],
                                    sites[0]};
    CHECK(op.set_filter_ips(doors).value_or(0) == 2);
    auto handle = register_ftrace_function(op);
    REQUIRE(handle);
    CHECK(traced() == "oc");
    const std::uintptr_t others[] = {sites[5], sites[6]};
    CHECK(op.set_filter_ips(others).value_or(0) == 2);
    CHECK(traced() == "ocDm");
    CHECK(op.set_filter_ips(doors, true).value_or(0) == 2);
    CHECK(traced() == "Dm");

    const std::uintptr_t one_wrong[] = {sites[2], sites[3] + 1};
    const auto inside = op.set_filter_ips(one_wrong);
    REQUIRE_FALSE(inside);
    CHECK(inside.error().code == errc::not_a_site);
    CHECK(inside.error().address == sites[3] + 1);
    const std::uintptr_t one_absent[] = {sites[5], sites[0]};
    const auto absent = op.set_filter_ips(one_absent, true);
    REQUIRE_FALSE(absent);
    CHECK(absent.error().code == errc::no_match);
    CHECK(absent.error().address == sites[0]);
    const auto none = op.set_filter_ips({});
    REQUIRE_FALSE(none);
    CHECK(none.error().code == errc::invalid_argument);
    CHECK(traced() == "Dm");
    CHECK(op.set_filter_ips(others, true).error().code == errc::invalid_argument);
    CHECK(op.set_filter_ips(doors, false, true).value_or(0) == 2);
    CHECK(traced() == "oc");
}

TEST_CASE("filter: exact names, all of them or none", "[ops][filter]") {
    find_sites();
    ops<note> op;
    const std::string_view names[] = {"shop::open_door", "_ZN4shop10close_doorEv",
                                      "shop::sell(int)", "shop::wrap<double>",
                                      "shop::till::operator+"};
    CHECK(op.set_filter_names(names).value_or(0) == 5);
    auto handle = register_ftrace_function(op);
    REQUIRE(handle);
    CHECK(traced() == "ociDp");
    const std::string_view overloads[] = {"shop::sell"};
    CHECK(op.set_filter_names(overloads).value_or(0) == 2);
    CHECK(traced() == "ocisDp");
    CHECK(op.set_filter_names(overloads, true).value_or(0) == 2);
    CHECK(traced() == "is");

    for (const std::string_view wrong :
         {"shop::*", "shop::open_doo?", "!shop::sell", "shop::open_door; shop::sell", "open_door",
          "shop::open_door:mod:*", "shop::[o]pen_door"}) {
        CAPTURE(wrong);
        const std::string_view with_wrong[] = {"shop::close_door", wrong};
        const auto refused = op.set_filter_names(with_wrong);
        REQUIRE_FALSE(refused);
        CHECK(refused.error().code == errc::no_match);
        CHECK_THAT(refused.error().message, ContainsSubstring("'" + std::string(wrong) + "'"));
    }
    const std::string_view misspelt[] = {"shop::open_dor"};
    CHECK_THAT(op.set_filter_names(misspelt).error().message,
               ContainsSubstring("nearest: shop::open_door"));
    const std::string_view empty[] = {""};
    CHECK(op.set_filter_names(empty).error().code == errc::invalid_argument);
    CHECK(op.set_filter_names({}).error().code == errc::invalid_argument);
    CHECK(traced() == "is");
}

TEST_CASE("filters: a short function is not taken for the traceable one behind it", "[ops]") {
    const auto tiny = reinterpret_cast<std::uintptr_t>(&tiny_without_site);
    REQUIRE(reinterpret_cast<std::uintptr_t>(&behind_tiny) == tiny + ftrace::arch::farthest_site);
    ftrace::ops<note> by_address;
    const auto refused = by_address.set_filter_ip(tiny);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code == errc::not_a_site);
    CHECK_THAT(refused.error().message, ContainsSubstring("(tiny_without_site)"));
    CHECK_FALSE(by_address.set_filter("tiny_without_site"));
    CHECK(by_address.set_filter_ip(tiny + ftrace::arch::farthest_site).value_or(0) == 1);
}
