// Typed probes hand on arguments and results of every class the psABI knows, and let handlers see and change them.
#include <immintrin.h>

#include <array>
#include <catch2/catch_test_macros.hpp>
#include <complex>
#include <cstring>
#include <ftrace/ftrace.hpp>
#include <ftrace/probe/probe.hpp>
#include <memory>
#include <string>
#include <utility>

#include "tests/patch/program.hpp"

using namespace ftrace;

namespace program {

struct empty {
    bool operator==(const empty&) const = default;
};
struct two_words {
    long a, b;
    bool operator==(const two_words&) const = default;
};
struct mixed {
    double a;
    int b;
    bool operator==(const mixed&) const = default;
};
struct floats {
    float a, b, c;
    bool operator==(const floats&) const = default;
};
struct many {
    long word[5];
    bool operator==(const many&) const = default;
};
struct one_long_double {
    long double a;
    bool operator==(const one_long_double&) const = default;
};
/// Counts its copies and moves, which a probe must not add to.
struct counted {
    explicit counted(int x) : value(x) {}
    counted(const counted& other) : value(other.value) { ++made; }
    counted(counted&& other) noexcept : value(other.value) { ++made; }
    counted& operator=(const counted& other) {
        value = other.value;
        return *this;
    }
    ~counted() {}
    bool operator==(const counted& other) const { return value == other.value; }
    int value;
    static inline int made = 0;
};

// Not in an unnamed namespace: of a function that only this file can call, compilers change the parameters.
struct vector128 {
    __m128 value;
    bool operator==(const vector128& other) const {
        return std::memcmp(&value, &other.value, sizeof value) == 0;
    }
};

enum class small : signed char { minus = -1, zero, plus };

int before_seen;
double after_seen;

/// The value, with an argument on either side, and enough of them that some are on the stack.
template <class T>
PROGRAM T echo(int before, T value, double after, long, long, long, long, long, const int& last) {
    TOUCH_MEMORY;
    before_seen = before + last;
    after_seen = after;
    return static_cast<T&&>(value);
}

template <class T>
T call(T value) {
    const int last = 7;
    return echo<T>(1, static_cast<T&&>(value), 2.5, 1, 2, 3, 4, 5, last);
}

}  // namespace program

namespace {

/// The body shall get `second` for `first`, and the caller `third` for that.
template <class T>
void check(const char* name, const T& first, const T& second, const T& third) {
    INFO(name);
    bool entered = false, left = false;
    {
        auto handle = probe<&program::echo<T>>(
            [&](int& before, T& value, double& after, long, long, long, long, long e, const int&) {
                entered = value == first && before == 1 && after == 2.5 && e == 5;
                value = second;
                before = 11;
            },
            [&](T& result) {
                left = result == second;
                result = third;
            });
        REQUIRE(handle);
        CHECK(program::call<T>(first) == third);
        CHECK(entered);
        CHECK(left);
        CHECK(program::before_seen == 18);
        CHECK(program::after_seen == 2.5);
    }
    entered = false;
    CHECK(program::call<T>(first) == first);
    CHECK_FALSE(entered);
}

}  // namespace

TEST_CASE("probe: integers, pointers and floating point", "[probe]") {
    check<bool>("bool", true, false, true);
    check<char>("char", 'a', 'b', 'c');
    check<signed char>("signed char", -1, -2, -3);
    check<unsigned short>("unsigned short", 65535, 1, 2);
    check<int>("int", -1, -2, -3);
    check<long>("long", -1, 1l << 40, 3);
    check<arch::int128>("__int128", -1, arch::int128(1) << 100, 3);
    check<program::small>("enum", program::small::minus, program::small::zero,
                          program::small::plus);
    check<const char*>("pointer", "a", "b", "c");
    check<float>("float", 1.5f, 2.5f, 3.5f);
    check<double>("double", 1.5, 2.5, 3.5);
    check<long double>("long double", 1.5L, 2.5L, 3.5L);
    check<std::complex<float>>("complex<float>", {1, 2}, {3, 4}, {5, 6});
    check<std::complex<double>>("complex<double>", {1, 2}, {3, 4}, {5, 6});
    check<std::complex<long double>>("complex<long double>", {1, 2}, {3, 4}, {5, 6});
    check<program::vector128>("__m128", {_mm_set1_ps(1)}, {_mm_set1_ps(2)}, {_mm_set1_ps(3)});
}

TEST_CASE("probe: classes in registers, in both kinds of them, and in memory", "[probe]") {
    using namespace program;
    check<empty>("empty", {}, {}, {});
    check<two_words>("two words", {1, 2}, {3, 4}, {5, 6});
    check<mixed>("mixed", {1, 2}, {3, 4}, {5, 6});
    check<floats>("floats", {1, 2, 3}, {4, 5, 6}, {7, 8, 9});
    check<many>("many", {{1, 2, 3, 4, 5}}, {{6, 7, 8, 9, 10}}, {{11, 12, 13, 14, 15}});
    check<one_long_double>("long double in a class", {1.5L}, {2.5L}, {3.5L});
    check<std::array<char, 3>>("three bytes", {'a', 'b', 'c'}, {'d', 'e', 'f'}, {'g', 'h', 'i'});
}

TEST_CASE("probe: classes that are passed by address are neither copied nor moved", "[probe]") {
    check<std::string>("string", "first", "second, which is longer", "third");
    check<std::shared_ptr<int>>("shared_ptr", nullptr, std::make_shared<int>(1), nullptr);
    using program::counted;
    const auto copies_of_a_call = [] {
        counted::made = 0;
        (void)program::call<counted>(counted(1));
        return counted::made;
    };
    const int untraced = copies_of_a_call();
    auto handle = probe<&program::echo<counted>>(
        [](int&, counted&, double&, long, long, long, long, long, const int&) {}, [](counted&) {});
    REQUIRE(handle);
    CHECK(copies_of_a_call() == untraced);
}

namespace program {

PROGRAM std::unique_ptr<int> move_only(std::unique_ptr<int> value) {
    TOUCH_MEMORY;
    return value;
}
int global = 1, other = 2;
PROGRAM int& reference(int& value) {
    TOUCH_MEMORY;
    return value;
}
PROGRAM std::string&& rvalue(std::string&& value) {
    TOUCH_MEMORY;
    return static_cast<std::string&&>(value);
}
PROGRAM void nothing_at_all() { TOUCH_MEMORY; }
struct immovable {
    explicit immovable(int x) : value(x) {}
    immovable(const immovable&) = delete;
    ~immovable() { value = -1; }
    int value;
};
PROGRAM immovable make_immovable(int x) {
    TOUCH_MEMORY;
    return immovable(x);
}

}  // namespace program

TEST_CASE("probe: what can only be moved, references, and nothing", "[probe]") {
    auto moved = probe<&program::move_only>([](std::unique_ptr<int>& value) { *value += 1; },
                                            [](std::unique_ptr<int>& result) { *result += 10; });
    REQUIRE(moved);
    CHECK(*program::move_only(std::make_unique<int>(100)) == 111);

    auto referred = probe<&program::reference>([](int& value) { value += 10; },
                                               [](int& result) { result += 100; });
    REQUIRE(referred);
    CHECK(&program::reference(program::global) == &program::global);
    CHECK(program::global == 111);

    auto rvalue = probe<&program::rvalue>([](std::string& value) { value += "b"; },
                                          [](std::string& result) { result += "c"; });
    REQUIRE(rvalue);
    CHECK(program::rvalue("a") == "abc");

    int entered = 0, left = 0;
    auto nothing = probe<&program::nothing_at_all>([&] { ++entered; }, [&] { ++left; });
    REQUIRE(nothing);
    program::nothing_at_all();
    CHECK(entered + left == 2);

    auto made = probe<&program::make_immovable>(
        [](int& x) { ++x; }, [](program::immovable& result) { result.value += 10; });
    REQUIRE(made);
    CHECK(program::make_immovable(1).value == 12);
}
