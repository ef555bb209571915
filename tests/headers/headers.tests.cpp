#include <catch2/catch_test_macros.hpp>
#include <ftrace/core/config.hpp>

// The files beside this one are generated: each includes one header, twice. That they compile and
// link is the test.
TEST_CASE("headers: a program made of every header, three times each, starts", "[headers]") {
    STATIC_REQUIRE(FTRACE_VERSION_MAJOR == 0);
}
