// Text that somebody else changed: an error that says what and where, and nothing else was changed.
#include <sys/mman.h>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_all.hpp>
#include <cstring>
#include <ftrace/ftrace.hpp>

#include "program.hpp"
#include "text.hpp"

using namespace ftrace;
using Catch::Matchers::ContainsSubstring;

namespace program {

PROGRAM int before() {
    TOUCH_MEMORY;
    return 1;
}
PROGRAM int meddled_with() {
    TOUCH_MEMORY;
    return 2;
}
PROGRAM int behind() {
    TOUCH_MEMORY;
    return 3;
}

}  // namespace program

namespace {

int calls;
void count(unsigned long, unsigned long, ftrace_ops&, ftrace_regs&) noexcept { ++calls; }

int calls_of_all() {
    calls = 0;
    CHECK(program::before() == 1);
    CHECK(program::behind() == 3);
    return calls;
}

void write_text(std::uintptr_t at, const text::site_bytes& bytes) {
    constexpr std::uintptr_t page = 4096;
    auto* const begin = reinterpret_cast<void*>(at & ~(page - 1));
    REQUIRE(::mprotect(begin, 2 * page, PROT_READ | PROT_WRITE | PROT_EXEC) == 0);
    std::memcpy(reinterpret_cast<void*>(at), bytes.byte, sizeof bytes.byte);
    REQUIRE(::mprotect(begin, 2 * page, PROT_READ | PROT_EXEC) == 0);
}

/// A jump of another patcher, or of a debugger.
constexpr text::site_bytes jump{{0xe9, 0x01, 0x02, 0x03, 0x04}};
const std::uintptr_t site = text::site_of(program::meddled_with);

void check_error(const error& failure, const char* expected) {
    CHECK(failure.code == errc::unexpected_bytes);
    CHECK(failure.address == site);
    CHECK_THAT(failure.function, ContainsSubstring("program::meddled_with"));
    CHECK_THAT(failure.message, ContainsSubstring(detail::hex(site)));
    CHECK_THAT(failure.message, ContainsSubstring("e9 01 02 03 04"));
    CHECK_THAT(failure.message, ContainsSubstring(expected));
}

}  // namespace

TEST_CASE("verification: a site somebody patched before us", "[patch]") {
    const text::site_bytes original = text::read_site(site);
    ops<count> op;
    REQUIRE(op.set_filter("program::*").value() == 3);
    write_text(site, jump);
    const auto before = text::all_sites();
    const auto refused = register_ftrace_function(op);
    REQUIRE_FALSE(refused);
    check_error(refused.error(), "nop");
    CHECK((text::all_sites() == before));
    CHECK_FALSE(op.registered());
    CHECK(calls_of_all() == 0);

    write_text(site, original);
    const auto handle = register_ftrace_function(op);
    REQUIRE(handle);
    CHECK(calls_of_all() == 2);
    CHECK(program::meddled_with() == 2);
    CHECK(calls == 3);
}

TEST_CASE("verification: a site somebody patched after us", "[patch]") {
    ops<count> op;
    REQUIRE(op.set_filter("program::before"));
    REQUIRE(op.set_filter("program::meddled_with"));
    auto handle = register_ftrace_function(op);
    REQUIRE(handle);
    REQUIRE(handle->unregister());
    REQUIRE(text::read_site(site) == arch::nop_site);

    write_text(site, jump);
    const auto before = text::all_sites();
    const auto refused = register_ftrace_function(op);
    REQUIRE_FALSE(refused);
    check_error(refused.error(), "0f 1f 44 00 08");
    CHECK((text::all_sites() == before));

    // Neither does a filter that comes to include it.
    ops<count> other;
    REQUIRE(other.set_filter("program::behind"));
    const auto other_handle = register_ftrace_function(other);
    REQUIRE(other_handle);
    const auto with_other = text::all_sites();
    const auto refused_filter = other.set_filter("program::meddled_with");
    REQUIRE_FALSE(refused_filter);
    check_error(refused_filter.error(), "0f 1f 44 00 08");
    CHECK((text::all_sites() == with_other));
    CHECK(calls_of_all() == 1);
    write_text(site, arch::nop_site);
    CHECK(other.set_filter("program::meddled_with"));
}

TEST_CASE("verification: a call of ours that somebody replaced stops only that ops, harmlessly",
          "[patch]") {
    ops<count> op;
    REQUIRE(op.set_filter("program::*"));
    auto handle = register_ftrace_function(op);
    REQUIRE(handle);
    const text::site_bytes ours = text::read_site(site);
    write_text(site, jump);
    const auto failed = handle->unregister();
    REQUIRE_FALSE(failed);
    CHECK(failed.error().code == errc::unexpected_bytes);
    CHECK(failed.error().address == site);
    // The calls stand, but lead to nobody.
    CHECK(calls_of_all() == 0);
    CHECK_FALSE(op.registered());

    // An ops of the same type does not inherit them.
    ops<count> next;
    REQUIRE(next.set_filter("program::before"));
    auto next_handle = register_ftrace_function(next);
    REQUIRE(next_handle);
    CHECK(calls_of_all() == 1);
    REQUIRE(next_handle->unregister());
    CHECK(text::read_site(text::site_of(program::before)) == arch::nop_site);

    // What it was taken off by force is refused until that is gone, and then is as ever.
    const auto again = register_ftrace_function(op);
    REQUIRE_FALSE(again);
    CHECK(again.error().code == errc::unexpected_bytes);
    write_text(site, ours);
    calls = 0;
    CHECK(program::meddled_with() == 2);
    CHECK(calls == 0);
    auto at_last = register_ftrace_function(op);
    REQUIRE(at_last);
    CHECK(calls_of_all() == 2);
    CHECK(program::meddled_with() == 2);
    CHECK(calls == 3);
    REQUIRE(at_last->unregister());
    CHECK(text::read_site(site) == arch::nop_site);
}
