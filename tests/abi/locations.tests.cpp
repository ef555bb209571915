// Where parameters and results are: the psABI's own example, and the compiler's answer against the
// computed one.
#include <ftrace/arch/abi_layout.hpp>

#include <catch2/catch_test_macros.hpp>

#include <cstdint>
#include <string>
#include <utility>

namespace {

using namespace ftrace::arch;

constexpr location integer(std::uint8_t n) {
    return {.lo = place::integer, .hi = place::nothing, .lo_index = n};
}
constexpr location vector(std::uint8_t n) {
    return {.lo = place::vector, .hi = place::nothing, .lo_index = n};
}
constexpr location stack(std::uint32_t offset) {
    return {.lo = place::stack, .hi = place::nothing, .offset = offset};
}

// psABI 3.2.3, figures "Parameter Passing Example" and "Register Allocation", without the two wide
// vectors.
struct structparm {
    int a, b;
    double d;
};
template <std::size_t N>
location psabi_example() {
    return table_location<N, false, void, int, int, structparm, int, int, long double, double,
                          double, int, int, int>(true);
}

/// The table's answer for every parameter; the declared types have to be passed as they are.
template <typename R, typename... P, std::size_t... I>
bool compiler_agrees(std::index_sequence<I...>) {
    using table = probed_parameters<false, R, probed_type<P>...>;
    table::fill();
    return ((load_location(table::where[I]) == static_location<I, false, R, P...>()) && ...);
}
template <typename R, typename... P>
bool compiler_agrees() {
    return compiler_agrees<R, P...>(std::index_sequence_for<P...>{});
}

struct big {
    long a[3];
};
enum class letter : char {};

}  // namespace

TEST_CASE("locations: the example of the psABI", "[abi]") {
    CHECK(psabi_example<0>() == integer(0));
    CHECK(psabi_example<1>() == integer(1));
    CHECK(psabi_example<2>() ==
          location{.lo = place::integer, .hi = place::vector, .lo_index = 2, .hi_index = 0});
    CHECK(psabi_example<3>() == integer(3));
    CHECK(psabi_example<4>() == integer(4));
    CHECK(psabi_example<5>() == stack(0));
    CHECK(psabi_example<6>() == vector(1));
    CHECK(psabi_example<7>() == vector(2));
    CHECK(psabi_example<8>() == integer(5));
    CHECK(psabi_example<9>() == stack(16));
    CHECK(psabi_example<10>() == stack(24));
}

TEST_CASE("locations: known while compiling where the types tell", "[abi]") {
    static_assert(static_location<1, false, void, int, double>() == vector(0));
    static_assert(static_location<0, false, std::string, int>() ==
                  integer(1));  // behind the hidden pointer
    static_assert(static_location<1, false, void, std::string, int&>() == integer(1));
    static_assert(static_location<1, false, void, big, int>() == integer(0));
    static_assert(static_location<0, false, void, long double>() == stack(0));
    static_assert(static_location<1, false, void, char, long double>() == stack(0));
    // One word on the stack before it, and 16 bytes of alignment.
    static_assert(
        static_location<7, false, void, int, int, int, int, int, int, int, long double>() ==
        stack(16));
    static_assert(static_location<0, false, structparm, int>().lo == place::unknown);
    static_assert(static_location<1, false, void, structparm, int>().lo == place::unknown);
    static_assert(static_location<0, false, void, int, structparm>() == integer(0));
    static_assert(result_location(classify_result<double>()) == vector(0));
    static_assert(result_location(classify_result<big>()).lo == place::memory);
    static_assert(result_location(classify_result<long double>()).lo == place::x87);
    SUCCEED();
}

TEST_CASE("locations: the compiler passes scalars where they are computed to be", "[abi]") {
    CHECK(compiler_agrees<void, bool, char, short, int, long, letter, bool, letter>());
    CHECK(compiler_agrees<std::string, int*, std::string, int&, double, float, long, char, int>());
    CHECK(compiler_agrees<void, double, float, double, float, double, float, double, float, double,
                          float, int>());
    CHECK(compiler_agrees<long double, long double, int, long double, complex_long_double, char,
                          long double>());
    CHECK(
        compiler_agrees<void, int, int, int, int, int, int, int, long double, int, long double>());
    CHECK(compiler_agrees<big, big, long, big, complex_double, complex_float, complex_double,
                          complex_double, complex_double, complex_float, double>());
    if (!splits_values) {
        CHECK(compiler_agrees<int128, long, int128, long, long, int128, long, char, uint128>());
    }
    CHECK(compiler_agrees<void, void (structparm::*)(int), int structparm::*,
                          void (structparm::*)(int), int, void (structparm::*)(int), int>());
}

TEST_CASE("locations: a table that is filled again holds the same answers", "[abi]") {
    using table = probed_parameters<false, structparm, structparm, double, structparm, long>;
    table::fill();
    location first[4];
    for (int i = 0; i < 4; ++i) first[i] = load_location(table::where[i]);
    table::fill();
    for (int i = 0; i < 4; ++i) CHECK(load_location(table::where[i]) == first[i]);
    CHECK(first[0] ==
          location{.lo = place::integer, .hi = place::vector, .lo_index = 0, .hi_index = 0});
    CHECK(first[3] == integer(2));
}
