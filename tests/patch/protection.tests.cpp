// How often a transaction changes the protection of text: once on and once off for a run of pages, however many
// sites and pages there are.
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <cstdint>
#include <ftrace/ftrace.hpp>
#include <string>
#include <vector>

using namespace ftrace;

// generate_sites.py
extern "C" int (*const generated_sites[])(int);
extern "C" const std::uint64_t generated_site_count;

namespace {

struct change {
    std::uintptr_t begin, end;
    int protection;
};
constexpr unsigned most_changes = 10'000;
change changes[most_changes];
unsigned change_count;

}  // namespace

// In place of libc's, in what this program and the library in it call.
extern "C" FTRACE_NO_INSTRUMENTATION int mprotect(void* address, std::size_t size,
                                                  int protection) noexcept {
    const auto begin = reinterpret_cast<std::uintptr_t>(address);
    if (change_count < most_changes) changes[change_count] = {begin, begin + size, protection};
    ++change_count;
    return static_cast<int>(::syscall(SYS_mprotect, address, size, protection));
}

namespace {

long calls;
void count(unsigned long, unsigned long, ftrace_ops&, ftrace_regs&) noexcept { ++calls; }

std::uintptr_t first_site() { return reinterpret_cast<std::uintptr_t>(generated_sites[0]); }
std::uintptr_t last_site() {
    return reinterpret_cast<std::uintptr_t>(generated_sites[generated_site_count - 1]);
}

/// Every tenth function, and so some on every page.
constexpr const char *sevens = "site_*7", *threes = "site_*3";
long calls_of_all() {
    calls = 0;
    for (std::uint64_t i = 0; i < generated_site_count; ++i) generated_sites[i](1);
    return calls;
}

/// One transaction: its pages all at once writable, and executable all the time.
template <class Transaction>
void expect_one_pair(const char* what, Transaction transaction) {
    change_count = 0;
    const bool done = transaction();
    INFO(what << ", " << change_count << " calls of mprotect");
    REQUIRE(done);
    REQUIRE(change_count <= most_changes);
    std::vector<change> of_text;
    for (unsigned i = 0; i < change_count; ++i)
        if (changes[i].begin < last_site() + 16 && changes[i].end > first_site())
            of_text.push_back(changes[i]);
    REQUIRE(of_text.size() == 2);
    CHECK(of_text[0].protection == (PROT_READ | PROT_WRITE | PROT_EXEC));
    CHECK(of_text[1].protection == (PROT_READ | PROT_EXEC));
    CHECK(of_text[0].begin == of_text[1].begin);
    CHECK(of_text[0].end == of_text[1].end);
    CHECK(of_text[0].end - of_text[0].begin > 100 * detail::page_size);
    CHECK(change_count <= 3);  // a page of veneers becomes executable once
}

}  // namespace

TEST_CASE("protection: one pair of calls for a transaction over many pages", "[patch]") {
    REQUIRE(generated_site_count >= 100'000);
    const auto tenth = static_cast<long>(generated_site_count / 10);
    static ops<count> one, other;
    REQUIRE(one.set_filter(sevens).value() == static_cast<std::size_t>(tenth));
    REQUIRE(other.set_filter(sevens).value() == static_cast<std::size_t>(tenth));
    for (const char* const time : {"first time", "later"}) {
        INFO(time);
        registration handle, second;
        expect_one_pair("register", [&] {
            auto done = register_ftrace_function(one);
            if (done) handle = std::move(*done);
            return done.has_value();
        });
        CHECK(calls_of_all() == tenth);
        expect_one_pair("register another: calls of stubs become calls of veneers", [&] {
            auto done = register_ftrace_function(other);
            if (done) second = std::move(*done);
            return done.has_value();
        });
        CHECK(calls_of_all() == 2 * tenth);
        expect_one_pair("unregister it", [&] { return second.unregister().has_value(); });
        expect_one_pair("more functions", [&] { return one.set_filter(threes).has_value(); });
        CHECK(calls_of_all() == 2 * tenth);
        expect_one_pair("fewer",
                        [&] { return one.set_filter(std::string("!") + threes).has_value(); });
        CHECK(calls_of_all() == tenth);
        expect_one_pair("all off", [&] { return set_enabled(false).has_value(); });
        CHECK(calls_of_all() == 0);
        expect_one_pair("all on", [&] { return set_enabled(true).has_value(); });
        expect_one_pair("unregister", [&] { return handle.unregister().has_value(); });
        CHECK(calls_of_all() == 0);
    }
}

TEST_CASE("protection: two sites far apart in one mapping are one run", "[patch]") {
    static ops<count> ends;
    REQUIRE(ends.set_filter_ip(first_site()));
    REQUIRE(ends.set_filter_ip(last_site()));
    registration handle;
    expect_one_pair("register", [&] {
        auto done = register_ftrace_function(ends);
        if (done) handle = std::move(*done);
        return done.has_value();
    });
    CHECK(calls_of_all() == 2);
    expect_one_pair("unregister", [&] { return handle.unregister().has_value(); });
}

TEST_CASE("protection: what changes nothing leaves it alone", "[patch]") {
    static ops<count> op;
    REQUIRE(op.set_filter(sevens));
    change_count = 0;
    auto handle = register_ftrace_function(op);
    REQUIRE(handle);
    change_count = 0;
    REQUIRE(op.set_filter(sevens));
    CHECK(change_count == 0);
    // A transaction that fails before its first write.
    static ops<count, SAVE_REGS, FTRACE_OPS_FL_RECURSION | FTRACE_OPS_FL_IPMODIFY> first, second;
    REQUIRE(first.set_filter_ip(first_site()));
    REQUIRE(second.set_filter_ip(first_site()));
    auto kept = register_ftrace_function(first);
    REQUIRE(kept);
    change_count = 0;
    CHECK_FALSE(register_ftrace_function(second).has_value());
    CHECK(change_count == 0);
}
