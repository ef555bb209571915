#include <signal.h>
#include <ucontext.h>

#include <catch2/catch_test_macros.hpp>
#include <cstring>
#include <ftrace/ftrace.hpp>

#include "machine_state.hpp"

using ftrace::pt_regs;

STATE_FUNCTION(written, "_Z7writtendddddddd", 1)
STATE_FUNCTION(written_wide, "_Z12written_wideDv16_f", 1)
STATE_FUNCTION(elsewhere, "_Z9elsewhere", 2)

// As written(), behind a breakpoint of its own.
extern "C" void breaks() __asm__("_Z6breaksdddddddd");
__attribute__((naked, noinline, used)) void breaks() {
    __asm__("int3\n");
    RECORD_STATE(3);
}

namespace {

struct named_member {
    std::uint64_t pt_regs::* member;
    int index;  // of machine_state::gpr
    bool saved_by_args;
};
constexpr named_member members[] = {
    {&pt_regs::ax, machine_state::ax, true},    {&pt_regs::cx, machine_state::cx, true},
    {&pt_regs::dx, machine_state::dx, true},    {&pt_regs::bx, machine_state::bx, false},
    {&pt_regs::bp, machine_state::bp, true},    {&pt_regs::si, machine_state::si, true},
    {&pt_regs::di, machine_state::di, true},    {&pt_regs::r8, machine_state::r8, true},
    {&pt_regs::r9, machine_state::r9, true},    {&pt_regs::r10, machine_state::r10, true},
    {&pt_regs::r11, machine_state::r11, true},  {&pt_regs::r12, machine_state::r12, false},
    {&pt_regs::r13, machine_state::r13, false}, {&pt_regs::r14, machine_state::r14, false},
    {&pt_regs::r15, machine_state::r15, false},
};

// What the callbacks do.
const named_member* to_write;
std::uint64_t new_value;
bool write_flags;
bool write_vectors;
bool redirect, write_ip_directly;
pt_regs shown;  // what the callback was shown

FTRACE_GENERAL_REGS_ONLY void change(ftrace::ftrace_regs& regs) {
    pt_regs* const full = ftrace::get_regs(regs);
    pt_regs& gpr = ftrace::arch_access::saved(regs).gpr;
    const std::uint64_t* const from = reinterpret_cast<const std::uint64_t*>(&gpr);
    std::uint64_t* const to = reinterpret_cast<std::uint64_t*>(&shown);
    for (std::size_t i = 0; i < sizeof gpr / sizeof *from; ++i) to[i] = from[i];
    if (to_write != nullptr && full == nullptr && to_write->member == &pt_regs::bp)
        ftrace::regs_set_register<ftrace::reg::bp>(regs, new_value);
    else if (to_write != nullptr)
        gpr.*to_write->member = new_value;
    if (write_flags && full != nullptr) full->flags = new_value;
    if (redirect && full != nullptr && write_ip_directly)
        full->ip = reinterpret_cast<std::uint64_t>(&elsewhere);
    else if (redirect)
        ftrace::regs_set_instruction_pointer(regs, &elsewhere);
}
void write_args(unsigned long, unsigned long, ftrace::ftrace_ops&,
                ftrace::ftrace_regs& regs) noexcept {
    change(regs);
    if (!write_vectors) return;
    const auto width = static_cast<std::size_t>(ftrace::arch_access::saved(regs).width);
    for (unsigned n = 0; n < 8; ++n)
        std::memset(ftrace::arch_access::vector(regs, n), static_cast<int>(0x40 + n), width);
}
FTRACE_GENERAL_REGS_ONLY void write_integers(unsigned long, unsigned long, ftrace::ftrace_ops&,
                                             ftrace::integer_regs& regs) noexcept {
    change(regs);
}
void nothing(unsigned long, unsigned long, ftrace::ftrace_ops&, ftrace::ftrace_regs&) noexcept {}

constexpr unsigned modifies = ftrace::FTRACE_OPS_FL_RECURSION | ftrace::FTRACE_OPS_FL_IPMODIFY;
using writer = ftrace::ops<write_args, ftrace::ARGS, modifies>;
using full_writer = ftrace::ops<write_args, ftrace::SAVE_REGS, modifies>;
using integer_writer = ftrace::ops<write_integers, ftrace::ARGS_INTEGER, modifies>;

// The rest must be what the caller left; so what was written on purpose counts as left by it.
void call_and_compare(void (*function)(), unsigned visited, std::uint64_t flags = 0) {
    for (const std::uint64_t misalignment : {0u, 8u}) {
        load_new_state(flags);
        new_value = 0x8877665544332211 ^ flags;
        call_with_state(function, misalignment);
        if (to_write != nullptr) state_loaded.gpr[to_write->index] = new_value;
        if (write_vectors)
            for (int n = 0; n < 8; ++n)
                std::memset(state_loaded.vector[n], 0x40 + n, sizeof state_loaded.vector[n]);
        CAPTURE(misalignment, flags, to_write == nullptr ? -1 : to_write->index);
        REQUIRE(state_visited == visited);
        REQUIRE(first_difference() == std::string_view(""));
    }
}
void write_everything(bool full, bool vectors) {
    for (const named_member& member : members) {
        if (!full && !member.saved_by_args) continue;
        for (const bool to_elsewhere : {false, true}) {
            to_write = &member;
            redirect = to_elsewhere;
            write_ip_directly = !write_ip_directly;
            call_and_compare(written, to_elsewhere ? 2 : 1);
        }
    }
    to_write = nullptr;
    for (const bool to_elsewhere : {false, true}) {
        redirect = to_elsewhere;
        for (unsigned n = 0; n < 64; ++n)
            call_and_compare(written, to_elsewhere ? 2 : 1,
                             machine_state::flags_of(n) | (n % 2 * machine_state::direction));
    }
    redirect = false;
    write_flags = full;
    for (unsigned n = 0; n < 128 && full; ++n) {
        load_new_state(machine_state::flags_of(63 - n % 64));
        new_value = 0x202 | machine_state::flags_of(n % 64) | n / 64 * machine_state::direction;
        call_with_state(written, n % 2 * 8);
        state_loaded.flags = new_value;
        REQUIRE(first_difference() == std::string_view(""));
    }
    write_flags = false;
    if (vectors) {
        write_vectors = true;
        call_and_compare(written, 1);
        const auto widest = static_cast<std::uint32_t>(ftrace::arch::widest_vector_register());
        for (const std::uint32_t width : {32u, 64u}) {
            if (width > widest) continue;
            state_width = width;
            call_and_compare(written_wide, 1);
        }
        state_width = 16;
        write_vectors = false;
    }
}
template <class Ops>
void write_through(bool full, bool vectors) {
    Ops op;
    REQUIRE(op.set_filter("written*"));
    auto registered = ftrace::register_ftrace_function(op);
    REQUIRE(registered);
    write_everything(full, vectors);
    // And with a second ops behind it, as a list.
    ftrace::ops<nothing> second;
    REQUIRE(second.set_filter("written*"));
    auto also = ftrace::register_ftrace_function(second);
    REQUIRE(also);
    write_everything(full, vectors);
}

// The ucontext at the breakpoint behind the site.
ucontext_t trapped;
unsigned traps;
void on_trap(int, siginfo_t*, void* context) {
    ++traps;
    std::memcpy(&trapped, context, sizeof trapped);
}

}  // namespace

TEST_CASE("entry stub: what a callback writes arrives, ARGS", "[arch]") {
    write_through<writer>(false, true);
}
TEST_CASE("entry stub: what a callback writes arrives, SAVE_REGS", "[arch]") {
    write_through<full_writer>(true, true);
}
TEST_CASE("entry stub: what a callback writes arrives, ARGS_INTEGER", "[arch]") {
    write_through<integer_writer>(false, false);
}

TEST_CASE("entry stub: SAVE_REGS shows what a breakpoint at the same place shows", "[arch]") {
    struct sigaction action{}, before;
    action.sa_sigaction = on_trap;
    action.sa_flags = SA_SIGINFO;
    REQUIRE(::sigaction(SIGTRAP, &action, &before) == 0);
    full_writer op;
    REQUIRE(op.set_filter("breaks"));
    auto registered = ftrace::register_ftrace_function(op);
    REQUIRE(registered);
    for (unsigned n = 0; n < 128; ++n) {
        load_new_state(machine_state::flags_of(n % 64) | (n / 64 * machine_state::direction));
        const unsigned traps_before = traps;
        call_with_state(breaks, n % 2 * 8);
        REQUIRE(state_visited == 3);
        REQUIRE(traps == traps_before + 1);
        const auto reg = [](int index) {
            return static_cast<std::uint64_t>(trapped.uc_mcontext.gregs[index]);
        };
        CHECK(shown.ip == reg(REG_RIP) - 1);  // the int3 itself is behind
        CHECK(shown.sp == reg(REG_RSP));
        CHECK(shown.flags == reg(REG_EFL));
        CHECK(shown.cs == (reg(REG_CSGSFS) & 0xffff));
        CHECK(shown.ss == reg(REG_CSGSFS) >> 48);
        CHECK(shown.ax == reg(REG_RAX));
        CHECK(shown.bx == reg(REG_RBX));
        CHECK(shown.cx == reg(REG_RCX));
        CHECK(shown.dx == reg(REG_RDX));
        CHECK(shown.si == reg(REG_RSI));
        CHECK(shown.di == reg(REG_RDI));
        CHECK(shown.bp == reg(REG_RBP));
        CHECK(shown.r8 == reg(REG_R8));
        CHECK(shown.r9 == reg(REG_R9));
        CHECK(shown.r10 == reg(REG_R10));
        CHECK(shown.r11 == reg(REG_R11));
        CHECK(shown.r12 == reg(REG_R12));
        CHECK(shown.r13 == reg(REG_R13));
        CHECK(shown.r14 == reg(REG_R14));
        CHECK(shown.r15 == reg(REG_R15));
    }
    REQUIRE(registered->unregister());
    ::sigaction(SIGTRAP, &before, nullptr);
}
