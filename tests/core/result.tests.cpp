#include <ftrace/core/result.hpp>

#include <sys/wait.h>
#include <unistd.h>
#include <catch2/catch_test_macros.hpp>
#include <csignal>
#include <cstdlib>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>

using ftrace::errc;
using ftrace::error;
using ftrace::result;

namespace {

result<int> half(int x) {
    if (x % 2 != 0) return error{errc::invalid_argument, "odd: " + std::to_string(x), "half", 16};
    return x / 2;
}
result<void> refuse(bool yes) {
    if (yes) return error{errc::busy, "later"};
    return {};
}

struct counted {
    static inline int alive = 0;
    int value;
    explicit counted(int v) noexcept : value(v) { ++alive; }
    counted(counted&& other) noexcept : value(std::exchange(other.value, -1)) { ++alive; }
    counted& operator=(counted&&) = delete;
    ~counted() { --alive; }
};

/// Not inlined: gcc's sanitizers make it doubt that a result it sees whole is initialised.
__attribute__((noinline)) result<counted> one() { return counted(1); }

static_assert(std::is_same_v<result<int>::value_type, int>);
static_assert(std::is_same_v<result<int>::error_type, error>);
static_assert(!std::is_copy_constructible_v<result<int>>);
static_assert(std::is_nothrow_move_constructible_v<result<std::unique_ptr<int>>>);
static_assert(!std::is_convertible_v<result<int>, bool>);

}  // namespace

TEST_CASE("result: holds a value", "[core][result]") {
    result<int> four = half(8);
    CHECK(four);
    CHECK(four.has_value());
    CHECK(four.value() == 4);
    CHECK(*four == 4);
    CHECK(four.value_or(9) == 4);
    *four = 5;
    CHECK(std::as_const(four).value() == 5);
    CHECK(half(6).value_or(0) == 3);

    result<std::string> text(std::string("abc"));
    CHECK(text->size() == 3);
    const std::string taken = std::move(text).value();
    CHECK(taken == "abc");
}

TEST_CASE("result: holds an error", "[core][result]") {
    const result<int> none = half(3);
    CHECK_FALSE(none);
    CHECK_FALSE(none.has_value());
    CHECK(none.error().code == errc::invalid_argument);
    CHECK(none.error().message == "odd: 3");
    CHECK(none.error().function == "half");
    CHECK(none.error().address == 16);
    CHECK(none.value_or(9) == 9);
    const error taken = half(5).error();
    CHECK(taken.message == "odd: 5");
}

TEST_CASE("result<void>: done or not", "[core][result]") {
    CHECK(refuse(false));
    refuse(false).value();
    const result<void> no = refuse(true);
    CHECK_FALSE(no.has_value());
    CHECK(no.error().code == errc::busy);
    CHECK(refuse(true).error().message == "later");
}

TEST_CASE("result: values that only move, each destroyed once", "[core][result]") {
    {
        result<counted> first = one();
        result<counted> second(std::move(first));
        CHECK(second->value == 1);
        first = std::move(second);
        CHECK(first->value == 1);
        second = error{errc::busy, "an error in place of a value"};
        CHECK_FALSE(second);
        second = std::move(first);
        CHECK(second->value == 1);
        result<counted>& itself = second;
        second = std::move(itself);
        CHECK(second->value == 1);
        const counted out = std::move(second).value();
        CHECK(out.value == 1);
    }
    CHECK(counted::alive == 0);

    auto pointer = result<std::unique_ptr<int>>(std::make_unique<int>(7));
    std::unique_ptr<int> owned = *std::move(pointer);
    CHECK(*owned == 7);
}

TEST_CASE("result: chains of calls stop at the first error", "[core][result]") {
    CHECK(half(8).and_then(half).and_then(half) == 1);
    const auto odd = half(6).and_then(half).transform([](int x) { return x + 1; });
    CHECK(odd.error().message == "odd: 3");
    CHECK(half(6).transform([](int x) { return std::to_string(x); }) == "3");
    int seen = 0;
    const result<void> noted = half(6).transform([&seen](int x) { seen = x; });
    CHECK(noted);
    CHECK(seen == 3);

    const auto again = [](error e) -> result<int> { return static_cast<int>(e.address); };
    CHECK(half(6).or_else(again) == 3);
    CHECK(half(3).or_else(again) == 16);
    const auto explained = [](error e) { return error{e.code, "cannot: " + e.message}; };
    CHECK(half(6).transform_error(explained) == 3);
    CHECK(half(3).transform_error(explained).error().message == "cannot: odd: 3");
    CHECK(half(3).error_or(error{errc::busy, ""}).code == errc::invalid_argument);
    CHECK(half(6).error_or(error{errc::busy, ""}).code == errc::busy);
}

TEST_CASE("result: values are put in, exchanged and compared", "[core][result]") {
    result<int> a = half(3), b = half(8);
    CHECK_FALSE(a == 4);
    CHECK(b == 4);
    swap(a, b);
    CHECK(a == 4);
    CHECK(b.error().message == "odd: 3");
    b.swap(a);
    CHECK(a.emplace(7) == 7);
    CHECK(a == 7);
    CHECK(b == 4);
}

TEST_CASE("result<void>: the same chains", "[core][result]") {
    int calls = 0;
    const auto next = [&calls]() -> result<void> { return ++calls, refuse(calls == 2); };
    *refuse(false);
    CHECK(refuse(false).and_then(next));
    CHECK(refuse(false).and_then(next).and_then(next).error().code == errc::busy);
    CHECK(calls == 2);
    CHECK(refuse(false).transform([] { return 5; }) == 5);
    CHECK(refuse(true).or_else([](error) { return result<void>(); }));
    CHECK(refuse(true)
              .transform_error([](error e) { return error{errc::no_match, e.message}; })
              .error()
              .code == errc::no_match);
    CHECK(refuse(true).error_or(error{}).code == errc::busy);
    result<void> done = refuse(true), other;
    done.swap(other);
    CHECK(done);
    other.emplace();
    CHECK(other);
}

TEST_CASE("result: value() of an error prints its message and aborts", "[core][result]") {
    int pipes[2];
    REQUIRE(::pipe(pipes) == 0);
    const pid_t child = ::fork();
    if (child == 0) {
        std::signal(SIGABRT, SIG_DFL);
        ::dup2(pipes[1], 2);
        half(1).value();
        ::_exit(0);
    }
    ::close(pipes[1]);
    char text[200];
    const ssize_t length = ::read(pipes[0], text, sizeof text);
    ::close(pipes[0]);
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    CHECK(WIFSIGNALED(status));
    CHECK(WTERMSIG(status) == SIGABRT);
    REQUIRE(length > 0);
    CHECK(std::string(text, static_cast<std::size_t>(length)).find("odd: 1") != std::string::npos);
}

TEST_CASE("error: every code has a name of its own", "[core][error]") {
    std::string all;
    constexpr int count = static_cast<int>(errc::system_failure) + 1;
    for (int i = 0; i < count; ++i) {
        const std::string name(to_string(static_cast<errc>(i)));
        CHECK(name != "unknown");
        CHECK(all.find(" " + name + " ") == std::string::npos);
        all += " " + name + " ";
    }
    CHECK(to_string(static_cast<errc>(count)) == "unknown");
    CHECK(to_string(errc::no_match) == "no_match");
}

TEST_CASE("error: addresses are written in hexadecimal", "[core][error]") {
    CHECK(ftrace::detail::hex(0) == "0x0");
    CHECK(ftrace::detail::hex(0x7f12) == "0x7f12");
    CHECK(ftrace::detail::hex(~std::uintptr_t{0}) == "0xffffffffffffffff");
}
