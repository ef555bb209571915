// The library's own work, which ops do not see, and within which the registry answers all the same.
#include <ftrace/ftrace.hpp>

#include <catch2/catch_test_macros.hpp>

namespace traced {
volatile int total = 0;  // else a compiler works the result out, and does not call
__attribute__((noinline)) void step(int n) { total = total + n; }
}  // namespace traced

namespace {

int calls = 0;
bool ask = false;
ftrace::errc answer{};

void count(unsigned long, unsigned long, ftrace::ftrace_ops& op, ftrace::ftrace_regs&) noexcept {
    ++calls;
    if (!ask) return;
    const ftrace::detail::library_work inside_a_callback;
    const auto set = op.set_filter("traced::step");
    answer = set ? ftrace::errc::already_registered : set.error().code;
}

}  // namespace

TEST_CASE("library_work: ops do not see it, and may be registered within it", "[ops]") {
    ftrace::ops<count> op;
    {
        const ftrace::detail::library_work work;
        REQUIRE(op.set_filter("traced::step").value_or(0) == 1);
        const ftrace::detail::library_work nested;
        auto handle = ftrace::register_ftrace_function(op);
        REQUIRE(handle);
        traced::step(1);
        CHECK(calls == 0);
        REQUIRE(handle->unregister());
        REQUIRE(op.set_notrace("!traced::step"));
    }
    auto handle = ftrace::register_ftrace_function(op);
    REQUIRE(handle);
    traced::step(1);
    CHECK(calls == 1);
}

TEST_CASE("library_work: inside a callback the registry refuses, whoever asks", "[ops]") {
    ftrace::ops<count> op;
    REQUIRE(op.set_filter("traced::step"));
    auto handle = ftrace::register_ftrace_function(op);
    REQUIRE(handle);
    ask = true;
    traced::step(1);
    ask = false;
    CHECK(answer == ftrace::errc::busy);
    CHECK(op.set_filter("traced::step"));
}
