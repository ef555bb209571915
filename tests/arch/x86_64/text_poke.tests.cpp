// The steps of changing a site, on bytes and signal frames made by hand.
#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cstdint>
#include <cstring>
#include <ftrace/arch/text_poke.hpp>
#include <initializer_list>

using namespace ftrace::arch;

namespace {

/// Text that nobody executes.
struct text {
    unsigned char bytes[24];
    text(std::initializer_list<unsigned char> from) {
        std::memset(bytes, 0xc3, sizeof bytes);
        std::copy(from.begin(), from.end(), bytes);
    }
    std::uintptr_t at(std::size_t offset = 0) const {
        return reinterpret_cast<std::uintptr_t>(bytes) + offset;
    }
    bool begins_with(std::initializer_list<unsigned char> expected) const {
        return std::equal(expected.begin(), expected.end(), bytes);
    }
};

/// A thread in a signal frame, with a stack of its own.
struct thread {
    std::uint64_t stack[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    ucontext_t context{};
    explicit thread(std::uintptr_t pc) {
        for (greg_t& each : context.uc_mcontext.gregs) each = 0x1111;
        set_program_counter(context, pc);
        context.uc_mcontext.gregs[REG_RSP] = reinterpret_cast<greg_t>(&stack[4]);
    }
    std::uint64_t* stack_pointer() const {
        return reinterpret_cast<std::uint64_t*>(context.uc_mcontext.gregs[REG_RSP]);
    }
    /// All but rip and rsp.
    bool other_registers_untouched() const {
        for (int i = 0; i < NGREG; ++i)
            if (i != REG_RIP && i != REG_RSP && context.uc_mcontext.gregs[i] != 0x1111)
                return false;
        return true;
    }
};

constexpr std::uintptr_t site = 0x400100;

}  // namespace

TEST_CASE("poke: a call is emulated by its return address and its target", "[arch][poke]") {
    for (const std::int64_t distance : {0x20L, -0x4000L, 0x7fffffffL, -0x80000000L}) {
        thread one(site + 1);
        CHECK(trap_address(one.context) == site);
        emulate(one.context, site, call_site_at_distance(static_cast<std::int32_t>(distance)));
        CHECK(program_counter(one.context) == site + 5 + static_cast<std::uintptr_t>(distance));
        REQUIRE(one.stack_pointer() == &one.stack[3]);
        CHECK(one.stack[3] == site + 5);
        CHECK(one.stack[2] == 3);
        CHECK(one.stack[4] == 5);
        CHECK(one.other_registers_untouched());
    }
}

TEST_CASE("poke: a nop is emulated by passing it", "[arch][poke]") {
    thread one(site + 1);
    emulate(one.context, site, nop_site);
    CHECK(program_counter(one.context) == site + 5);
    CHECK(one.stack_pointer() == &one.stack[4]);
    CHECK(one.stack[3] == 4);
    CHECK(one.other_registers_untouched());
}

TEST_CASE("poke: first a trap, then what stands behind it, then the first byte", "[arch][poke]") {
    text page{0x90, 0x90, 0x90, 0x90, 0x90};
    text_edit edit;
    edit.site = page.at();
    edit.before = read_site(page.at());
    edit.after = call_site_at_distance(0x04030201);
    CHECK_FALSE(is_trap(page.at()));
    poke_trap(edit);
    CHECK(is_trap(page.at()));
    CHECK(page.begins_with({0xcc, 0x90, 0x90, 0x90, 0x90, 0xc3}));
    poke_tail(edit, edit.after);
    CHECK(page.begins_with({0xcc, 0x01, 0x02, 0x03, 0x04, 0xc3}));
    poke_head(edit, edit.after);
    CHECK(page.begins_with({0xe8, 0x01, 0x02, 0x03, 0x04, 0xc3}));
    CHECK(read_site(page.at()) == edit.after);

    // And back, to one nop.
    poke_trap(edit);
    CHECK(page.begins_with({0xcc, 0x01, 0x02, 0x03, 0x04, 0xc3}));
    poke_tail(edit, nop_site);
    poke_head(edit, nop_site);
    CHECK(page.begins_with({0x0f, 0x1f, 0x44, 0x00, 0x08, 0xc3}));
}

TEST_CASE("poke: what is left of a longer nop becomes nops", "[arch][poke]") {
    text page{0x0f, 0x1f, 0x84, 0x00, 0x00, 0x02, 0x00, 0x00};
    text_edit edit;
    edit.site = page.at();
    edit.after = call_site_at_distance(1);
    edit.nops = 8;
    CHECK(edit.end() == page.at(8));
    poke_trap(edit);
    poke_tail(edit, edit.after);
    CHECK(page.begins_with({0xcc, 0x01, 0x00, 0x00, 0x00, 0x90, 0x90, 0x90, 0xc3}));
    poke_head(edit, edit.after);
    CHECK(page.begins_with({0xe8, 0x01, 0x00, 0x00, 0x00, 0x90, 0x90, 0x90, 0xc3}));
}

TEST_CASE("poke: the nops at a site, counted and measured", "[arch][poke]") {
    const struct {
        text bytes;
        std::size_t length, count;
    } cases[] = {
        {{0x90, 0x90, 0x90, 0x90, 0x90}, 5, 5},              // gcc
        {{0x0f, 0x1f, 0x44, 0x00, 0x08}, 5, 1},              // clang
        {{0x0f, 0x1f, 0x44, 0x00, 0x00}, 5, 1},              // gcc's -mfentry
        {{0x0f, 0x1f, 0x84, 0, 0, 2, 0, 0}, 8, 1},           // clang, eight bytes
        {{0x0f, 0x1f, 0x40, 0x00, 0x66, 0x90, 0x90}, 6, 2},  // the second reaches beyond
        {{0x90, 0x90, 0x90, 0x90, 0xc3}, 0, 0},
        {{0xe8, 1, 2, 3, 4}, 0, 0},
        {{0xcc, 0x90, 0x90, 0x90, 0x90}, 0, 0},
        {{0x55, 0x48, 0x89, 0xe5, 0x90}, 0, 0},
    };
    for (const auto& each : cases) {
        const nop_run found = nops_at(each.bytes.at());
        CAPTURE(&each - cases);
        CHECK(found.length == each.length);
        CHECK(found.count == each.count);
    }
}

TEST_CASE("poke: which SIGTRAPs are breakpoints", "[arch][poke]") {
    const struct {
        int code;
        bool breakpoint;
    } cases[] = {{SI_KERNEL, true}, {TRAP_BRKPT, true}, {TRAP_TRACE, false},
                 {SI_USER, false},  {SI_QUEUE, false},  {SI_TKILL, false}};
    siginfo_t info{};
    for (const auto& [code, breakpoint] : cases) {
        info.si_code = code;
        CAPTURE(code);
        CHECK(is_breakpoint(info) == breakpoint);
    }
}
