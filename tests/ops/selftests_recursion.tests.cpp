// The kernel's boot selftests "recursion" and "recursion safe".
#include <catch2/catch_test_macros.hpp>
#include <ftrace/ftrace.hpp>

#include "selftest_functions.hpp"

using namespace ftrace;
using selftest::dynamic_test_func;

namespace {

int recursion_count;

/// Under the library's protection: calls the traced function and relies on not being called again.
void recursion_func(unsigned long, unsigned long, ftrace_ops&, ftrace_regs&) noexcept {
    ++recursion_count;
    dynamic_test_func();
}
/// Protects itself, as it said by its flags, and so has to see the nested call.
void recursion_safe_func(unsigned long, unsigned long, ftrace_ops&, ftrace_regs&) noexcept {
    if (recursion_count++ != 0) return;
    dynamic_test_func();
}

int count_of_one_call(ftrace_ops& op) {
    recursion_count = 0;
    REQUIRE(op.set_filter(selftest::func1_name).value() == 1);
    auto handle = register_ftrace_function(op);
    REQUIRE(handle);
    dynamic_test_func();
    REQUIRE(handle->unregister());
    return recursion_count;
}

}  // namespace

TEST_CASE("recursion: a protected callback that calls its own function runs once",
          "[ops][selftest]") {
    // The kernel allows 2, where an interrupt's context cannot be told; here there is no such
    // doubt.
    ops<recursion_func> own;
    ftrace_ops by_list(recursion_func);
    CHECK(count_of_one_call(own) == 1);
    CHECK(count_of_one_call(by_list) == 1);
}

TEST_CASE("recursion safe: a callback that protects itself is called for the nested call",
          "[ops][selftest]") {
    ops<recursion_safe_func, ARGS, 0> own;
    ftrace_ops by_list(recursion_safe_func, ARGS, nullptr, 0);
    CHECK(count_of_one_call(own) == 2);
    CHECK(count_of_one_call(by_list) == 2);
}
