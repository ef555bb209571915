#include <catch2/catch_test_macros.hpp>
#include <cerrno>
#include <ftrace/ftrace.hpp>

#include "destroy_registers.hpp"
#include "machine_state.hpp"

// Not compared: MXCSR's and the x87's status bits. A call may change them (psABI, 3.2.1), and
// keeping them costs a stub two ldmxcsr. Vector registers from 8 on and opmasks carry no argument.

STATE_FUNCTION(preserved_xmm, "_Z13preserved_xmmdddddddd", 1)
STATE_FUNCTION(preserved_ymm, "_Z13preserved_ymmDv8_f", 2)
STATE_FUNCTION(preserved_zmm, "_Z13preserved_zmmDv16_f", 3)

namespace {

constexpr unsigned combinations = 64;

/// Calls each of the functions with all combinations of flags and both alignments.
void compare_registers(unsigned callbacks) {
    const auto widest = static_cast<std::uint32_t>(ftrace::arch::widest_vector_register());
    struct {
        void (*function)();
        std::uint32_t width;
    } const functions[] = {{preserved_xmm, 16}, {preserved_ymm, 32}, {preserved_zmm, 64}};
    for (const auto& [function, width] : functions) {
        if (width > widest) continue;
        state_width = width;
        for (unsigned n = 0; n < 4 * combinations; ++n) {
            std::uint64_t flags = machine_state::flags_of(n % combinations);
            if ((n & combinations) != 0) flags |= machine_state::direction;
            load_new_state(flags);
            destroyed = 0;
            errno = static_cast<int>(n);
            call_with_state(function, (n & 2 * combinations) != 0 ? 8 : 0);
            const int error_number = errno;
            CAPTURE(width, n, state_loaded.flags, state_found.flags);
            REQUIRE(state_visited == (width == 16 ? 1 : width == 32 ? 2 : 3));
            REQUIRE(destroyed == callbacks);
            REQUIRE(first_difference() == std::string_view(""));
            REQUIRE(error_number == static_cast<int>(n));
        }
    }
    state_width = 16;
}

template <class Ops>
void one_registered() {
    Ops op;
    REQUIRE(op.set_filter("preserved_*mm"));
    auto registered = ftrace::register_ftrace_function(op);
    REQUIRE(registered);
    compare_registers(1);
}
/// Two that do not belong together: a list.
template <class First, class Second>
void list_registered() {
    First first;
    Second second;
    REQUIRE(first.set_filter("preserved_*mm"));
    REQUIRE(second.set_filter("preserved_*mm"));
    auto one = ftrace::register_ftrace_function(first);
    auto two = ftrace::register_ftrace_function(second);
    REQUIRE((one && two));
    compare_registers(2);
}
template <class... Ops>
void registry_registered() {
    ftrace::registry<Ops...> all;
    REQUIRE(all.template get<0>().set_filter("preserved_*mm"));
    REQUIRE(all.template get<1>().set_filter("preserved_*mm"));
    auto registered = all.register_all();
    REQUIRE(registered);
    compare_registers(2);
}
void dynamic_registered(ftrace::save_policy policy) {
    ftrace::ftrace_ops op(destroy, policy);
    REQUIRE(op.set_filter("preserved_*mm"));
    auto registered = ftrace::register_ftrace_function(op);
    REQUIRE(registered);
    compare_registers(1);
}

using args = ftrace::ops<destroy>;
using full = ftrace::ops<destroy, ftrace::SAVE_REGS>;
using integers = ftrace::ops<destroy_integers, ftrace::ARGS_INTEGER>;

}  // namespace

TEST_CASE("entry stub: the harness itself changes nothing", "[arch]") { compare_registers(0); }
TEST_CASE("entry stub: ARGS keeps every register, flag and errno", "[arch]") {
    one_registered<args>();
}
TEST_CASE("entry stub: SAVE_REGS keeps every register, flag and errno", "[arch]") {
    one_registered<full>();
}
TEST_CASE("entry stub: ARGS_INTEGER keeps every register, flag and errno", "[arch]") {
    one_registered<integers>();
}
TEST_CASE("entry stub: a list keeps every register, flag and errno", "[arch]") {
    list_registered<args, args>();
    list_registered<integers, full>();
    list_registered<args, integers>();
    list_registered<integers, integers>();
    dynamic_registered(ftrace::ARGS);
    dynamic_registered(ftrace::SAVE_REGS);
}
TEST_CASE("entry stub: a compile-time registry keeps every register, flag and errno", "[arch]") {
    registry_registered<args, integers>();
    registry_registered<args, full>();
    registry_registered<integers, integers>();
}
