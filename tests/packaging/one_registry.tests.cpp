// A program and two shared libraries, all compiled with -fvisibility=hidden: each has its own copy
// of the library's functions and variables, and yet they must share one registry, or the second
// would find the first one's calls at the sites and refuse to touch them.
#include "tests/packaging/library.hpp"

#include <catch2/catch_test_macros.hpp>
#include <ftrace/ftrace.hpp>

#include <string>
#include <thread>

namespace shared {

__attribute__((noinline)) int work(int x) {
    asm volatile("");
    return x + 1;
}

}  // namespace shared

namespace {

// Volatile: the compiler sees callers and callees, but not that a callback runs between them.
volatile int calls = 0;

FTRACE_NOTRACE void on_call(unsigned long, unsigned long, ftrace::ftrace_ops&,
                            ftrace::ftrace_regs&) noexcept {
    calls = calls + 1;
}

ftrace::ops<on_call> counting;

}  // namespace

TEST_CASE("one registry: ops of a program and of two libraries compose on one site",
          "[packaging]") {
    const library_interface& first = *first_library();
    const library_interface& second = *second_library();
    const int of_first = first.calls(), of_second = second.calls();

    REQUIRE(first.attach("shared::work") == std::string());
    CHECK(shared::work(1) == 2);
    REQUIRE(second.attach("shared::work") == std::string());
    CHECK(shared::work(1) == 2);

    REQUIRE(counting.set_filter("shared::work").has_value());
    auto handle = ftrace::register_ftrace_function(counting);
    REQUIRE(handle.has_value());
    CHECK(shared::work(1) == 2);
    CHECK(first.calls() == of_first + 3);
    CHECK(second.calls() == of_second + 2);
    CHECK(calls == 1);

    first.detach();
    CHECK(shared::work(1) == 2);
    CHECK(first.calls() == of_first + 3);
    CHECK(second.calls() == of_second + 3);
    CHECK(calls == 2);

    second.detach();
    CHECK(shared::work(1) == 2);
    CHECK(second.calls() == of_second + 3);
    CHECK(calls == 3);
}

TEST_CASE("one registry: a program registers the ops of a library that has registered none",
          "[packaging]") {
    const library_interface& second = *second_library();
    const int before = second.calls();
    REQUIRE(second.ops->set_filter("shared::work"));
    const auto handle = ftrace::register_ftrace_function(*second.ops);
    REQUIRE(handle.has_value());
    CHECK(shared::work(1) == 2);
    CHECK(second.calls() == before + 1);
}

TEST_CASE("one registry: each object traces the functions of the others", "[packaging]") {
    const library_interface& first = *first_library();
    const library_interface& second = *second_library();
    const int before = first.calls();

    REQUIRE(first.attach("*work_in_library") == std::string());
    CHECK(second.work(1) == 2);
    CHECK(first.work(1) == 2);
    CHECK(first.calls() == before + 2);

    first.detach();
    CHECK(second.work(1) == 2);
    CHECK(first.calls() == before + 2);
}

// The list of ops at the site is called by one object's stub, the hooks are another object's code, and what it keeps
// of the thread is its own: on a thread that it has not seen.
TEST_CASE("one registry: return hooks of several objects at one site, on new threads",
          "[packaging]") {
    const library_interface& first = *first_library();
    const library_interface& second = *second_library();
    const int of_first = first.ends(), of_second = second.ends(), before = calls;

    REQUIRE(counting.set_filter("shared::work").has_value());
    auto handle = ftrace::register_ftrace_function(counting);
    REQUIRE(handle.has_value());
    for (int attached = 1; attached <= 2; ++attached) {
        const library_interface& next = attached == 1 ? first : second;
        REQUIRE(next.attach_graph("shared::work") == std::string());
        for (int i = 0; i < 2; ++i)
            std::thread([] {
                CHECK(shared::work(1) == 2);
                CHECK(shared::work(2) == 3);
            }).join();
    }
    CHECK(calls == before + 8);
    CHECK(first.ends() == of_first + 8);
    CHECK(second.ends() == of_second + 4);

    first.detach_graph();
    std::thread([] { CHECK(shared::work(1) == 2); }).join();
    CHECK(first.ends() == of_first + 8);
    CHECK(second.ends() == of_second + 5);
    second.detach_graph();
    std::thread([] { CHECK(shared::work(1) == 2); }).join();
    CHECK(second.ends() == of_second + 5);
}
