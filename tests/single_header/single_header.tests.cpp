#include <catch2/catch_test_macros.hpp>
#include <ftrace/ftrace.hpp>
#include <ftrace/ftrace_trace.hpp>

namespace other_file {
int work(int x);
}

namespace {

// Volatile: the compiler sees callers and callees, but not that a callback runs between them.
volatile unsigned long argument = 0;

FTRACE_NOTRACE void on_call(unsigned long, unsigned long, ftrace::ftrace_ops&,
                            ftrace::ftrace_regs& regs) noexcept {
    argument = ftrace::regs_get_argument<0>(regs);
}

ftrace::ops<on_call> by_args;

}  // namespace

TEST_CASE("single header: a function of another file is traced", "[single_header]") {
    REQUIRE(by_args.set_filter("other_file::work").value_or(0) == 1);
    auto handle = ftrace::register_ftrace_function(by_args);
    REQUIRE(handle.has_value());
    CHECK(other_file::work(41) == 42);
    CHECK(argument == 41);
}
