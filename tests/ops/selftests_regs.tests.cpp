// The kernel's boot selftest "regs": who asks for all registers gets them.
#include <catch2/catch_test_macros.hpp>
#include <ftrace/args/registers.hpp>
#include <ftrace/ftrace.hpp>

#include "selftest_functions.hpp"

using namespace ftrace;
using selftest::dynamic_test_func;

namespace {

enum class regs_test { not_called, found_regs, no_regs };
regs_test outcome;

void regs_func(unsigned long, unsigned long, ftrace_ops&, ftrace_regs& fregs) noexcept {
    outcome = get_regs(fregs) != nullptr ? regs_test::found_regs : regs_test::no_regs;
}

regs_test outcome_with(ftrace_ops& op) {
    outcome = regs_test::not_called;
    REQUIRE(op.set_filter(selftest::func1_name).value() == 1);
    auto handle = register_ftrace_function(op);
    REQUIRE(handle);
    dynamic_test_func();
    REQUIRE(handle->unregister());
    return outcome;
}

}  // namespace

TEST_CASE("regs: get_regs() is full under SAVE_REGS and null under ARGS", "[ops][selftest]") {
    ops<regs_func, SAVE_REGS> own_full;
    ops<regs_func> own_arguments;
    ftrace_ops full(regs_func, SAVE_REGS), arguments(regs_func, ARGS);
    CHECK(outcome_with(own_full) == regs_test::found_regs);
    CHECK(outcome_with(full) == regs_test::found_regs);
    CHECK(outcome_with(own_arguments) == regs_test::no_regs);
    CHECK(outcome_with(arguments) == regs_test::no_regs);
}

TEST_CASE("regs: SAVE_REGS_IF_SUPPORTED is SAVE_REGS where registers can be saved",
          "[ops][selftest]") {
    constexpr unsigned flags = FTRACE_OPS_FL_SAVE_REGS_IF_SUPPORTED | FTRACE_OPS_FL_RECURSION;
    ftrace_ops dynamic(regs_func, ARGS, nullptr, flags);
    CHECK(dynamic.policy() == SAVE_REGS);
    CHECK(outcome_with(dynamic) == regs_test::found_regs);

    ops<regs_func, ARGS, flags> own;
    CHECK(own.policy() == SAVE_REGS);
    CHECK(outcome_with(own) == regs_test::found_regs);
}
