// The kernel's boot selftests "function startup" and "dynamic ftrace", with the function tracer.
#include <catch2/catch_test_macros.hpp>
#include <ftrace/ftrace.hpp>
#include <ftrace/trace/tracer.hpp>

#include "selftest_functions.hpp"

using selftest::dynamic_test_func;
using selftest::dynamic_test_func2;

TEST_CASE("startup: the function tracer records what runs while it is on", "[ops][selftest]") {
    ftrace::tracer tracer("function");
    REQUIRE(tracer.start());
    dynamic_test_func();
    REQUIRE(tracer.stop());
    const auto trace = tracer.read();
    CHECK(trace.events.size() > 0);
    CHECK(trace.written == trace.events.size() + trace.overwritten);

    dynamic_test_func();
    CHECK(tracer.read().written == trace.written);
}

TEST_CASE("dynamic: a filtered tracer records its function alone, once a call", "[ops][selftest]") {
    ftrace::tracer tracer("function");
    REQUIRE(tracer.set_filter(selftest::func1_name).value() == 1);
    REQUIRE(tracer.start());
    dynamic_test_func2();
    CHECK(tracer.read().events.empty());

    dynamic_test_func();
    REQUIRE(tracer.stop());
    const auto trace = tracer.read();
    REQUIRE(trace.events.size() == 1);
    CHECK(trace.symbols.at(trace.events[0].ip).find("dynamic_test_func") != std::string::npos);
}
