// The kernel's boot selftest of several ops at once: dynamic ops #1 (a tracer runs) and #2 (and an
// ops on all functions). The numbers are the kernel's.
#include <catch2/catch_test_macros.hpp>
#include <ftrace/ftrace.hpp>
#include <ftrace/trace/tracer.hpp>
#include <memory>

#include "selftest_functions.hpp"

using namespace ftrace;
using selftest::dynamic_test_func;
using selftest::dynamic_test_func2;

namespace {

int probe1_count, probe2_count, probe3_count, global_count, dyn_count;

void probe1(unsigned long, unsigned long, ftrace_ops&, ftrace_regs&) noexcept { ++probe1_count; }
void probe2(unsigned long, unsigned long, ftrace_ops&, ftrace_regs&) noexcept { ++probe2_count; }
void probe3(unsigned long, unsigned long, ftrace_ops&, ftrace_regs&) noexcept { ++probe3_count; }
void global(unsigned long, unsigned long, ftrace_ops&, ftrace_regs&) noexcept { ++global_count; }
void dyn(unsigned long, unsigned long, ftrace_ops&, ftrace_regs&) noexcept { ++dyn_count; }

void reset_counts() { probe1_count = probe2_count = probe3_count = global_count = dyn_count = 0; }

#define CHECK_PROBES(one, two, three)    \
    do {                                 \
        const int first = probe1_count;  \
        const int second = probe2_count; \
        const int third = probe3_count;  \
        CHECK(first == (one));           \
        CHECK(second == (two));          \
        CHECK(third == (three));         \
    } while (false)

/// `make_ops(callback)` makes one of the five.
template <class Ops1, class Ops2, class Ops3, class Global>
void trace_selftest_ops(bool with_global, Ops1& test_probe1, Ops2& test_probe2, Ops3& test_probe3,
                        Global& test_global) {
    reset_counts();
    REQUIRE(test_probe1.set_filter(selftest::func1_name, true).value() == 1);
    REQUIRE(test_probe2.set_filter(selftest::func2_name, true).value() == 1);
    REQUIRE(test_probe3.set_filter(selftest::func1_name, true).value() == 1);
    REQUIRE(test_probe3.set_filter(selftest::func2_name).value() == 1);

    registration global_handle;
    if (with_global) global_handle = register_ftrace_function(test_global).value();
    auto handle1 = register_ftrace_function(test_probe1);
    auto handle2 = register_ftrace_function(test_probe2);
    auto handle3 = register_ftrace_function(test_probe3);
    REQUIRE(handle1);
    REQUIRE(handle2);
    REQUIRE(handle3);

    dynamic_test_func();
    CHECK_PROBES(1, 0, 1);
    if (with_global) CHECK(global_count != 0);
    dynamic_test_func2();
    CHECK_PROBES(1, 1, 2);

    auto dyn_ops = std::make_unique<ftrace_ops>(dyn);
    auto dyn_handle = register_ftrace_function(*dyn_ops);
    REQUIRE(dyn_handle);
    dyn_count = 0;
    dynamic_test_func();
    CHECK_PROBES(2, 1, 3);
    CHECK(dyn_count != 0);
    dynamic_test_func2();
    CHECK_PROBES(2, 2, 4);

    REQUIRE(test_probe3.set_filter(std::string("!") + selftest::func1_name).value() == 1);
    dynamic_test_func();
    CHECK_PROBES(3, 2, 4);
    dynamic_test_func2();
    CHECK_PROBES(3, 3, 5);

    // In the order of their registration; then nobody may be called, and the heap's ops may go.
    if (with_global) REQUIRE(global_handle.unregister());
    REQUIRE(handle1->unregister());
    REQUIRE(handle2->unregister());
    REQUIRE(handle3->unregister());
    REQUIRE(dyn_handle->unregister());
    dyn_ops.reset();

    reset_counts();
    dynamic_test_func();
    dynamic_test_func2();
    CHECK_PROBES(0, 0, 0);
    CHECK(global_count == 0);
    CHECK(dyn_count == 0);
}

ops<probe1> static1;
ops<probe2> static2;
ops<probe3> static3;
ops<global> static_global;
ftrace_ops dynamic1(probe1), dynamic2(probe2), dynamic3(probe3), dynamic_global(global);

}  // namespace

TEST_CASE("dynamic ops #1: with a tracer running", "[ops][selftest]") {
    tracer running("function");
    REQUIRE(running.start());
    trace_selftest_ops(false, static1, static2, static3, static_global);
    REQUIRE(running.stop());
}

TEST_CASE("dynamic ops #2: with an ops on all functions", "[ops][selftest]") {
    tracer running("function");
    REQUIRE(running.start());
    trace_selftest_ops(true, static1, static2, static3, static_global);
    REQUIRE(running.stop());
}

TEST_CASE("dynamic ops #1 and #2 with callbacks chosen at run time", "[ops][selftest]") {
    trace_selftest_ops(false, dynamic1, dynamic2, dynamic3, dynamic_global);
    trace_selftest_ops(true, dynamic1, dynamic2, dynamic3, dynamic_global);
}

TEST_CASE("dynamic ops #1 and #2 with the members of a compile-time registry", "[ops][selftest]") {
    static registry<ops<probe1>, ops<probe2>, ops<probe3>, ops<global>> all;
    trace_selftest_ops(false, all.get<0>(), all.get<1>(), all.get<2>(), all.get<3>());
    trace_selftest_ops(true, all.get<0>(), all.get<1>(), all.get<2>(), all.get<3>());
}
