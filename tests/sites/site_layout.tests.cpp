#include <catch2/catch_test_macros.hpp>
#include <ftrace/arch/site_layout.hpp>
#include <iterator>
#include <utility>
#include <vector>

using bytes = std::vector<unsigned char>;
namespace arch = ftrace::arch;

namespace {

std::size_t length_of(const bytes& code) { return arch::nop_length(code.data(), code.size()); }

arch::entry_site find(const bytes& code, std::size_t entry, std::size_t start_plus_one) {
    const auto begin = reinterpret_cast<std::uintptr_t>(code.data());
    const std::uintptr_t start = start_plus_one == 0 ? 0 : begin + start_plus_one - 1;
    arch::entry_site found = arch::find_site(begin + entry, start, begin + code.size());
    found.address -= begin;
    return found;
}

bytes joined(std::initializer_list<bytes> parts) {
    bytes all;
    for (const bytes& part : parts) all.insert(all.end(), part.begin(), part.end());
    return all;
}

const bytes endbr = {0xf3, 0x0f, 0x1e, 0xfa};
const bytes clang5 = {0x0f, 0x1f, 0x44, 0x00, 0x08};
const bytes ret = {0xc3};
const bytes body = {0x8d, 0x44, 0x3f, 0x01, 0xc3};  // lea 1(%rdi,%rdi),%eax; ret

// SDM volume 2, NOP: the recommended forms, and LLVM's of ten bytes and more.
const bytes nops[] = {
    {0x90},
    {0x66, 0x90},
    {0x0f, 0x1f, 0x00},
    {0x0f, 0x1f, 0x40, 0x00},
    {0x0f, 0x1f, 0x44, 0x00, 0x00},
    {0x66, 0x0f, 0x1f, 0x44, 0x00, 0x00},
    {0x0f, 0x1f, 0x80, 0x00, 0x00, 0x00, 0x00},
    {0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00},
    {0x66, 0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00},
    {0x66, 0x2e, 0x0f, 0x1f, 0x84, 0x00, 0x00, 0x02, 0x00, 0x00},
    {0x66, 0x66, 0x2e, 0x0f, 0x1f, 0x84, 0x00, 0x00, 0x02, 0x00, 0x00},
    {0x66, 0x66, 0x66, 0x2e, 0x0f, 0x1f, 0x84, 0x00, 0x00, 0x02, 0x00, 0x00},
    {0x66, 0x66, 0x66, 0x66, 0x2e, 0x0f, 0x1f, 0x84, 0x00, 0x00, 0x02, 0x00, 0x00},
    {0x66, 0x66, 0x66, 0x66, 0x2e, 0x66, 0x0f, 0x1f, 0x84, 0x00, 0x00, 0x02, 0x00, 0x00},
    {0x66, 0x66, 0x66, 0x66, 0x66, 0x2e, 0x66, 0x0f, 0x1f, 0x84, 0x00, 0x00, 0x02, 0x00, 0x00},
};

}  // namespace

TEST_CASE("site layout: the length of every form of nop", "[sites]") {
    for (std::size_t i = 0; i < std::size(nops); ++i) {
        REQUIRE(nops[i].size() == i + 1);
        CHECK(length_of(nops[i]) == i + 1);
        CHECK(length_of(joined({nops[i], body})) == i + 1);
        // Cut short, it is none.
        for (std::size_t cut = 0; cut < i; ++cut) CHECK(arch::nop_length(nops[i].data(), cut) == 0);
    }
    CHECK(length_of({0x0f, 0x1f, 0x04, 0x25, 0x00, 0x00, 0x00, 0x00}) == 8);  // nopl 0
    CHECK(length_of({0x0f, 0x1f, 0x05, 0x00, 0x00, 0x00, 0x00}) == 7);        // nopl 0(%rip)
    CHECK(length_of({0x0f, 0x1f, 0xc0}) == 3);                                // nop %eax
}

TEST_CASE("site layout: what is no nop", "[sites]") {
    for (const bytes& code :
         {bytes{0xf3, 0x90}, endbr, body, ret, bytes{0x0f, 0x1f, 0x48, 0x00},
          bytes{0x0f, 0x1e, 0x40, 0x00}, bytes{0x66}, bytes{}, bytes{0xcc}, bytes{0x87, 0xc0}})
        CHECK(length_of(code) == 0);
}

TEST_CASE("site layout: a site is behind endbr64 and behind nops in front of the function",
          "[sites]") {
    const bytes five(5, 0x90), two(2, 0x90), ten(10, 0x90);
    using kind = arch::entry_kind;
    const auto at = [](std::size_t address, kind what) { return std::pair{address, what}; };
    const auto found = [](const bytes& code, std::size_t entry, std::size_t start) {
        const arch::entry_site site = find(code, entry, start);
        return std::pair{static_cast<std::size_t>(site.address), site.kind};
    };
    CHECK(found(joined({five, body}), 0, 1) == at(0, kind::site));
    CHECK(found(joined({clang5, body}), 0, 1) == at(0, kind::site));
    CHECK(found(joined({endbr, five, body}), 4, 1) == at(4, kind::site));
    CHECK(found(joined({endbr, five, body}), 0, 0) ==
          at(4, kind::site));  // an entry at the endbr64
    CHECK(found(joined({two, five, body}), 0, 3) == at(2, kind::site));
    CHECK(found(joined({two, endbr, clang5, body}), 0, 3) == at(6, kind::site));
    CHECK(found(joined({two, endbr, clang5, body}), 0, 0) == at(6, kind::site));
    CHECK(found(joined({ten, body}), 0, 6) == at(5, kind::site));
    CHECK(found(joined({ten, body}), 0, 1) == at(0, kind::site));
    // Five in front, none at the entry.
    CHECK(found(joined({five, body}), 0, 6).second == kind::none);
    CHECK(found(joined({{0x90, 0x90, 0x90, 0x90}, body}), 0, 0).second == kind::too_short);
    CHECK(found(joined({{0x0f, 0x1f, 0x00}, body}), 0, 0).second == kind::too_short);
    CHECK(found(body, 0, 0).second == kind::none);
    // The end of the text is never passed.
    CHECK(found(bytes(4, 0x90), 0, 0).second == kind::too_short);
    CHECK(found(bytes(5, 0x90), 0, 1) == at(0, kind::site));
}

TEST_CASE(
    "site layout: where nothing tells of the function's begin, only what is certain is a site",
    "[sites]") {
    using kind = arch::entry_kind;
    const auto kind_of = [](const bytes& code) { return find(code, 0, 0).kind; };
    // -fpatchable-function-entry=5, or =5,2: gcc's nops are the same.
    CHECK(kind_of(joined({bytes(5, 0x90), body})) == kind::unknown);
    CHECK(kind_of(joined({bytes(7, 0x90), body})) == kind::unknown);
    CHECK(kind_of(bytes(5, 0x90)) == kind::unknown);
    // clang's =7,2: two nops, of two bytes and of five. =10,5: twice five.
    CHECK(kind_of(joined({nops[1], clang5, body})) == kind::unknown);
    CHECK(kind_of(joined({clang5, clang5, body})) == kind::unknown);
    CHECK(kind_of(joined({nops[14], nops[5], body})) == kind::unknown);
    // No function begins within an instruction.
    CHECK(kind_of(joined({clang5, body})) == kind::site);
    CHECK(kind_of(joined({nops[9], body})) == kind::wide_nop);
    // endbr64 begins the function, and four bytes are too few wherever it begins.
    CHECK(kind_of(joined({bytes(2, 0x90), endbr, bytes(5, 0x90), body})) == kind::site);
    CHECK(kind_of(joined({bytes(5, 0x90), endbr, body})) == kind::none);
    CHECK(kind_of(joined({bytes(4, 0x90), body})) == kind::too_short);
    CHECK(kind_of(body) == kind::none);
    CHECK(kind_of(joined({{0xe8, 0x10, 0x20, 0x30, 0x40}, body})) == kind::site);

    const bytes behind = joined({endbr, bytes(5, 0x90), body});
    const auto begin = reinterpret_cast<std::uintptr_t>(behind.data());
    CHECK(arch::is_behind_landing_pad(begin + 4, begin));
    CHECK_FALSE(arch::is_behind_landing_pad(begin + 4, begin + 1));  // not readable
    CHECK_FALSE(arch::is_behind_landing_pad(begin + 5, begin));
}

TEST_CASE("site layout: a site that is patched already is recognised", "[sites]") {
    for (const int first : {0xe8, 0xe9, 0xcc}) {
        const bytes patched = {static_cast<unsigned char>(first), 0x10, 0x20, 0x30, 0x40};
        CHECK(find(joined({patched, body}), 0, 1).kind == arch::entry_kind::site);
        CHECK(find(joined({endbr, patched, body}), 4, 1).kind == arch::entry_kind::site);
    }
    // Behind nops in front of a function a call may be the function's own.
    const bytes call = {0xe8, 0x10, 0x20, 0x30, 0x40};
    CHECK(find(joined({bytes(5, 0x90), call, ret}), 0, 6).kind == arch::entry_kind::none);
}

TEST_CASE("site layout: a nop that reaches beyond the five bytes is told from five bytes",
          "[sites]") {
    for (std::size_t length = 1; length <= std::size(nops); ++length) {
        const bytes code = joined({nops[length - 1], body});
        const arch::entry_kind expected = length < 5    ? arch::entry_kind::too_short
                                          : length == 5 ? arch::entry_kind::site
                                                        : arch::entry_kind::wide_nop;
        CHECK(arch::classify_nops(code.data(), code.size()) == expected);
        // Behind the first byte of the five, as after a shorter nop.
        const bytes shifted = joined({nops[0], nops[length - 1], nops[0], nops[0], nops[0]});
        CHECK(arch::classify_nops(shifted.data(), shifted.size()) ==
              (length <= 4 ? arch::entry_kind::site : arch::entry_kind::wide_nop));
    }
}

TEST_CASE("site layout: whose site it is, the function's or its neighbour's", "[sites]") {
    const unsigned char with_pad[] = {0xf3, 0x0f, 0x1e, 0xfa, 0x90, 0x90, 0x90, 0x90, 0x90};
    const unsigned char tiny[] = {0x31, 0xc0, 0x90, 0xc3, 0x90, 0x90, 0x90, 0x90, 0x90};
    const auto at = [](const unsigned char* byte) {
        return reinterpret_cast<std::uintptr_t>(byte);
    };
    CHECK(ftrace::arch::is_site_of(at(tiny), at(tiny)));
    CHECK(ftrace::arch::is_site_of(at(with_pad + 4), at(with_pad)));
    CHECK_FALSE(ftrace::arch::is_site_of(at(tiny + 4), at(tiny)));
    CHECK_FALSE(ftrace::arch::is_site_of(at(with_pad + 3), at(with_pad)));
    CHECK_FALSE(ftrace::arch::is_site_of(at(with_pad), at(with_pad + 4)));
}
