// Flags, handles, and what is refused; with an error nothing was changed.
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_all.hpp>
#include <ftrace/ftrace.hpp>
#include <memory>
#include <optional>
#include <utility>

#include "../patch/program.hpp"
#include "../patch/text.hpp"

using namespace ftrace;
using Catch::Matchers::ContainsSubstring;

namespace program {

PROGRAM int parse() {
    TOUCH_MEMORY;
    return 7;
}
PROGRAM int print() {
    TOUCH_MEMORY;
    return 8;
}

}  // namespace program

namespace {

int calls;
void on_call(unsigned long, unsigned long, ftrace_ops&, ftrace_regs&) noexcept { ++calls; }
void redirector(unsigned long, unsigned long, ftrace_ops&, ftrace_regs&) noexcept { ++calls; }
void other_redirector(unsigned long, unsigned long, ftrace_ops&, ftrace_regs&) noexcept {}

constexpr unsigned ip_modify = FTRACE_OPS_FL_RECURSION | FTRACE_OPS_FL_IPMODIFY;
constexpr unsigned permanent = FTRACE_OPS_FL_RECURSION | FTRACE_OPS_FL_PERMANENT;

int calls_of_parse() {
    calls = 0;
    CHECK(program::parse() == 7);
    return calls;
}

/// The error of a failed call, after a look at whether it left all text alone.
template <class Call>
error refused(Call&& call) {
    const auto before = text::all_sites();
    auto outcome = call();
    CHECK((text::all_sites() == before));
    REQUIRE_FALSE(outcome);
    return std::move(outcome).error();
}

}  // namespace

TEST_CASE("IPMODIFY: a second one on a function is refused, and told whom it met", "[ops][flags]") {
    ops<redirector, ARGS, ip_modify> first;
    ops<other_redirector, ARGS, ip_modify> second;
    REQUIRE(first.set_filter("program::parse"));
    auto first_handle = register_ftrace_function(first);
    REQUIRE(first_handle);

    REQUIRE(second.set_filter("program::print"));
    REQUIRE(second.set_filter("program::parse"));
    const error failure = refused([&] { return register_ftrace_function(second); });
    CHECK(failure.code == errc::ip_modify_conflict);
    CHECK_THAT(failure.message, ContainsSubstring("redirector("));
    CHECK_THAT(failure.message, !ContainsSubstring("other_redirector"));
    CHECK_THAT(failure.message, ContainsSubstring("program::parse()"));
    CHECK_THAT(failure.function, ContainsSubstring("program::parse"));
    CHECK(failure.address == text::site_of(program::parse));
    CHECK_FALSE(second.registered());
    CHECK(calls_of_parse() == 1);

    // Elsewhere it may be; and coming nearer by a filter is refused as well.
    REQUIRE(second.set_filter("program::print", true));
    auto second_handle = register_ftrace_function(second);
    REQUIRE(second_handle);
    const error nearer = refused([&] { return second.set_filter("program::parse"); });
    CHECK(nearer.code == errc::ip_modify_conflict);
    CHECK(calls_of_parse() == 1);

    REQUIRE(first_handle->unregister());
    REQUIRE(second.set_filter("program::parse"));
}

TEST_CASE("IPMODIFY: ops that do not move the instruction pointer are welcome", "[ops][flags]") {
    ops<redirector, ARGS, ip_modify> first;
    ops<on_call> plain;
    REQUIRE(first.set_filter("program::parse"));
    REQUIRE(plain.set_filter("program::parse"));
    const auto first_handle = register_ftrace_function(first);
    REQUIRE(first_handle);
    const auto plain_handle = register_ftrace_function(plain);
    REQUIRE(plain_handle);
    CHECK(calls_of_parse() == 2);
}

TEST_CASE("IPMODIFY: needs a filter, keeps it, and takes no notrace list", "[ops][flags]") {
    ops<redirector, ARGS, ip_modify> op;
    const error all = refused([&] { return register_ftrace_function(op); });
    CHECK(all.code == errc::invalid_argument);
    CHECK_THAT(all.message, ContainsSubstring("filter"));

    const error notrace = refused([&] { return op.set_notrace("program::print"); });
    CHECK(notrace.code == errc::invalid_argument);

    REQUIRE(op.set_filter("program::parse"));
    const auto handle = register_ftrace_function(op);
    REQUIRE(handle);
    CHECK(refused([&] { return op.reset_filter(); }).code == errc::invalid_argument);
    CHECK(calls_of_parse() == 1);
}

TEST_CASE("PERMANENT: tracing cannot be switched off under it, nor it on while off",
          "[ops][flags]") {
    ops<on_call, ARGS, permanent> op;
    REQUIRE(op.set_filter("program::parse"));
    {
        auto handle = register_ftrace_function(op);
        REQUIRE(handle);
        const error failure = refused([] { return set_enabled(false); });
        CHECK(failure.code == errc::busy);
        CHECK_THAT(failure.message, ContainsSubstring("on_call("));
        CHECK(calls_of_parse() == 1);
    }
    REQUIRE(set_enabled(false));
    CHECK(refused([&] { return register_ftrace_function(op); }).code == errc::busy);
    REQUIRE(set_enabled(true));
    CHECK(register_ftrace_function(op));
}

TEST_CASE("set_enabled(false) turns all sites to nops, and back", "[ops][flags]") {
    ops<on_call> op;
    REQUIRE(op.set_filter("program::parse"));
    auto handle = register_ftrace_function(op);
    REQUIRE(handle);
    const text::site_bytes call = text::read_site(text::site_of(program::parse));
    REQUIRE(set_enabled(false));
    CHECK(text::read_site(text::site_of(program::parse)) == arch::nop_site);
    CHECK(calls_of_parse() == 0);
    REQUIRE(set_enabled(false));

    // What comes and goes meanwhile waits for tracing to come back.
    ops<redirector> other;
    REQUIRE(other.set_filter("program::parse"));
    auto other_handle = register_ftrace_function(other);
    REQUIRE(other_handle);
    CHECK(calls_of_parse() == 0);
    REQUIRE(set_enabled(true));
    CHECK(calls_of_parse() == 2);
    REQUIRE(set_enabled(false));
    REQUIRE(other_handle->unregister());
    REQUIRE(set_enabled(true));
    CHECK(calls_of_parse() == 1);
    CHECK(text::read_site(text::site_of(program::parse)) == call);
}

TEST_CASE("registering a registered ops and unregistering twice are errors", "[ops][lifetime]") {
    ops<on_call> op;
    CHECK(refused([&] { return unregister_ftrace_function(op); }).code == errc::not_registered);
    REQUIRE(op.set_filter("program::parse"));
    auto handle = register_ftrace_function(op);
    REQUIRE(handle);
    CHECK(op.registered());
    CHECK(handle->registered());
    const error again = refused([&] { return register_ftrace_function(op); });
    CHECK(again.code == errc::already_registered);
    CHECK_THAT(again.message, ContainsSubstring("on_call("));
    CHECK(calls_of_parse() == 1);

    REQUIRE(handle->unregister());
    CHECK_FALSE(op.registered());
    CHECK_FALSE(handle->registered());
    CHECK(refused([&] { return handle->unregister(); }).code == errc::not_registered);
    CHECK(refused([&] { return unregister_ftrace_function(op); }).code == errc::not_registered);
    CHECK(calls_of_parse() == 0);

    // An old handle has no power over a new registration.
    auto old_handle = register_ftrace_function(op);
    REQUIRE(old_handle);
    REQUIRE(unregister_ftrace_function(op));
    auto new_handle = register_ftrace_function(op);
    REQUIRE(new_handle);
    CHECK(refused([&] { return old_handle->unregister(); }).code == errc::not_registered);
    CHECK(calls_of_parse() == 1);
}

TEST_CASE("a registration may outlive its ops, and an ops its registration", "[ops][lifetime]") {
    registration handle;
    CHECK_FALSE(handle);
    CHECK(refused([&] { return handle.unregister(); }).code == errc::not_registered);
    {
        auto op = std::make_unique<ops<on_call>>();
        REQUIRE(op->set_filter("program::parse"));
        handle = register_ftrace_function(*op).value();
        CHECK(calls_of_parse() == 1);
    }  // destroyed while registered
    CHECK(text::read_site(text::site_of(program::parse)) == arch::nop_site);
    CHECK(calls_of_parse() == 0);
    CHECK(refused([&] { return handle.unregister(); }).code == errc::not_registered);

    ops<on_call> op;
    REQUIRE(op.set_filter("program::parse"));
    {
        const auto short_lived = register_ftrace_function(op);
    }
    CHECK_FALSE(op.registered());
    CHECK(calls_of_parse() == 0);
}

TEST_CASE("registrations move: one of two owns", "[ops][lifetime]") {
    ops<on_call> op, other;
    REQUIRE(op.set_filter("program::parse"));
    REQUIRE(other.set_filter("program::parse"));
    std::optional<registration> first = register_ftrace_function(op).value();
    registration second = std::move(*first);
    CHECK_FALSE(first->registered());
    CHECK(second.registered());
    first.reset();
    CHECK(calls_of_parse() == 1);

    // What is assigned over is unregistered.
    second = register_ftrace_function(other).value();
    CHECK_FALSE(op.registered());
    CHECK(other.registered());
    CHECK(calls_of_parse() == 1);
    registration& itself = second;
    second = std::move(itself);
    CHECK(second.registered());
    CHECK(calls_of_parse() == 1);
}

TEST_CASE("the public interface refuses to be called from a callback", "[ops][lifetime]") {
    static std::optional<errc> code;
    constexpr auto change = [](unsigned long, unsigned long, ftrace_ops& op,
                               ftrace_regs&) noexcept {
        code = unregister_ftrace_function(op).error().code;
    };
    static ops<change> op;
    REQUIRE(op.set_filter("program::parse"));
    auto handle = register_ftrace_function(op);
    REQUIRE(handle);
    program::parse();
    CHECK(code == errc::busy);
    CHECK(op.registered());
    CHECK(handle->unregister());
}
