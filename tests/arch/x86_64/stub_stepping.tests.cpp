#include <signal.h>
#include <ucontext.h>
#include <unwind.h>
#include <x86intrin.h>

#include <catch2/catch_test_macros.hpp>
#include <ftrace/ftrace.hpp>

// What an unwinder sees from a signal at each single instruction on the way from a site to its
// function's body.

namespace {

constexpr unsigned most_steps = 4000, most_frames = 200;

struct {
    std::uintptr_t site;       // of the function that is called
    std::uintptr_t caller;     // where it returns to
    std::uintptr_t outermost;  // where a backtrace ends
    std::uintptr_t end;        // the first instruction behind the stub
    bool begun, ended;
    unsigned steps, wrong;
    std::uintptr_t at[most_steps], wrong_at;
} stepping;

struct frames {
    std::uintptr_t ip[most_frames];
    unsigned count;
};

_Unwind_Reason_Code visit(_Unwind_Context* context, void* data) {
    auto& seen = *static_cast<frames*>(data);
    if (seen.count == most_frames) return _URC_NORMAL_STOP;
    seen.ip[seen.count++] = ::_Unwind_GetIP(context);
    return _URC_NO_REASON;
}

/// The traced function, at its site or called from there, then its caller, and so on to the end.
bool is_right(std::uintptr_t at) {
    frames seen;
    seen.count = 0;
    ::_Unwind_Backtrace(visit, &seen);
    const std::uintptr_t in_function = at == stepping.site ? at : stepping.site + 5;
    for (unsigned i = 0; i + 1 < seen.count; ++i)
        if (seen.ip[i] == in_function)
            return seen.ip[i + 1] == stepping.caller &&
                   seen.ip[seen.count - 1] == stepping.outermost;
    return false;
}

void on_step(int, siginfo_t*, void* context) {
    const auto at = static_cast<std::uintptr_t>(
        static_cast<const ucontext_t*>(context)->uc_mcontext.gregs[REG_RIP]);
    if (at == stepping.site) stepping.begun = true;
    if (!stepping.begun || stepping.ended) return;
    if (at == stepping.end) {
        stepping.ended = true;
        return;
    }
    if (stepping.steps < most_steps) stepping.at[stepping.steps++] = at;
    if (!is_right(at) && stepping.wrong++ == 0) stepping.wrong_at = at;
}

__attribute__((always_inline)) inline void step(bool on) {
    constexpr unsigned long long trap = 0x100;
    __writeeflags(on ? __readeflags() | trap : __readeflags() & ~trap);
}

bool redirected;
std::uint64_t flags_to_change;

void note_caller() {
    frames seen;
    seen.count = 0;
    ::_Unwind_Backtrace(visit, &seen);
    stepping.outermost = seen.ip[seen.count - 1];
}

}  // namespace

// By their linker names: with arguments in xmm registers, and in zmm.
int stepped_narrow(int) __asm__("_Z14stepped_narrowi");
int stepped_wide(int) __asm__("_Z12stepped_wideDv16_f");
int stepped_elsewhere(int) __asm__("_Z17stepped_elsewherei");

__attribute__((noinline)) int stepped_narrow(int x) {
    stepping.caller = reinterpret_cast<std::uintptr_t>(__builtin_return_address(0));
    __asm__ volatile("" : "+r"(x));
    return x + 1;
}
__attribute__((noinline)) int stepped_wide(int x) {
    stepping.caller = reinterpret_cast<std::uintptr_t>(__builtin_return_address(0));
    __asm__ volatile("" : "+r"(x));
    return x + 2;
}
__attribute__((noinline)) int stepped_elsewhere(int x) {
    __asm__ volatile("" : "+r"(x));
    return x + 3;
}

namespace {

__attribute__((noinline)) int steps_through(int (*function)(int), bool on) {
    note_caller();
    if (on) step(true);
    int result = function(1);
    __asm__ volatile("" : "+r"(result));
    step(false);
    return result;
}

void act(unsigned long ip, unsigned long, ftrace::ftrace_ops&, ftrace::ftrace_regs& regs) noexcept {
    stepping.site = ip;
    if (redirected) ftrace::regs_set_instruction_pointer(regs, &stepped_elsewhere);
    if (ftrace::pt_regs* const full = ftrace::get_regs(regs)) full->flags ^= flags_to_change;
}
FTRACE_GENERAL_REGS_ONLY void act_integer(unsigned long ip, unsigned long, ftrace::ftrace_ops&,
                                          ftrace::integer_regs& regs) noexcept {
    stepping.site = ip;
    if (redirected) ftrace::regs_set_instruction_pointer(regs, &stepped_elsewhere);
}
void idle(unsigned long, unsigned long, ftrace::ftrace_ops&, ftrace::ftrace_regs&) noexcept {}
FTRACE_GENERAL_REGS_ONLY void idle_integer(unsigned long, unsigned long, ftrace::ftrace_ops&,
                                           ftrace::integer_regs&) noexcept {}

/// How many steps were in entry stubs, and how many in veneers, which are this program's own.
void count_places(unsigned& in_stub, unsigned& in_veneer) {
    in_stub = in_veneer = 0;
    for (unsigned i = 0; i < stepping.steps; ++i) {
        const std::string name = ftrace::symbol_of(stepping.at[i]).name;
        in_stub += name.find("entry_stub") != std::string::npos;
        in_veneer += name.find("veneer_text") != std::string::npos;
    }
}

void compare_steps(int (*function)(int), int result, bool through_veneer) {
    struct sigaction action{}, before;
    REQUIRE(::sigaction(SIGTRAP, nullptr, &before) == 0);
    action.sa_sigaction = on_step;
    action.sa_flags = SA_SIGINFO;
    REQUIRE(::sigaction(SIGTRAP, &action, nullptr) == 0);
    redirected = false;
    steps_through(function, false);  // finds the site and the caller; does what is done only once
    const std::uintptr_t site = stepping.site, caller = stepping.caller;
    for (const bool to_elsewhere : {false, true}) {
        redirected = to_elsewhere;
        stepping = {};
        stepping.site = site;
        stepping.caller = caller;
        stepping.end =
            to_elsewhere ? reinterpret_cast<std::uintptr_t>(&stepped_elsewhere) : site + 5;
        const int returned = steps_through(function, true);
        unsigned in_stub = 0, in_veneer = 0;
        count_places(in_stub, in_veneer);
        CAPTURE(to_elsewhere, stepping.steps);
        INFO("first wrong at " << ftrace::detail::hex(stepping.wrong_at) << ", "
                               << ftrace::symbol_of(stepping.wrong_at).name);
        CHECK(returned == (to_elsewhere ? 4 : result));
        CHECK(stepping.ended);
        CHECK(stepping.steps < most_steps);
        CHECK(in_stub > 40);
        CHECK(in_veneer == (through_veneer ? 2 : 0));
        CHECK(stepping.wrong == 0);
    }
    ::sigaction(SIGTRAP, &before, nullptr);
}

template <class Ops>
struct registered {
    Ops op;
    ftrace::registration handle;
    registered() {
        REQUIRE(op.set_filter("stepped_narrow"));
        REQUIRE(op.set_filter("stepped_wide"));
        auto done = ftrace::register_ftrace_function(op);
        REQUIRE(done);
        handle = std::move(*done);
    }
};

constexpr unsigned modifies = ftrace::FTRACE_OPS_FL_RECURSION | ftrace::FTRACE_OPS_FL_IPMODIFY;
using args = ftrace::ops<act, ftrace::ARGS, modifies>;
using full = ftrace::ops<act, ftrace::SAVE_REGS, modifies>;
using integers = ftrace::ops<act_integer, ftrace::ARGS_INTEGER, modifies>;
using idle_args = ftrace::ops<idle>;
using idle_full = ftrace::ops<idle, ftrace::SAVE_REGS>;
using idle_integers = ftrace::ops<idle_integer, ftrace::ARGS_INTEGER>;

/// With flags as they came, and with the carry flag changed, if the stub saves them: then it leaves by popf.
void compare_steps_and_flags(int (*function)(int), int result, bool through_veneer) {
    for (const std::uint64_t change : {0u, 1u}) {
        flags_to_change = change;
        compare_steps(function, result, through_veneer);
    }
    flags_to_change = 0;
}

template <class First, class Second>
void compare_list() {
    const registered<First> op;
    const registered<Second> other;
    compare_steps_and_flags(stepped_narrow, 2, true);
    compare_steps_and_flags(stepped_wide, 3, true);
}

template <class First, class Second>
void compare_registry() {
    ftrace::registry<First, Second> all;
    for (const char* const name : {"stepped_narrow", "stepped_wide"}) {
        REQUIRE(all.template get<0>().set_filter(name));
        REQUIRE(all.template get<1>().set_filter(name));
    }
    auto handle = all.register_all();
    REQUIRE(handle);
    compare_steps_and_flags(stepped_narrow, 2, true);
    compare_steps_and_flags(stepped_wide, 3, true);
}

/// What the stubs below call.
struct FTRACE_LOCAL owner {
    static inline void* context = nullptr;
    FTRACE_NOTRACE FTRACE_GENERAL_REGS_ONLY static void callee(unsigned long ip,
                                                               unsigned long parent_ip, void*,
                                                               ftrace::ftrace_regs& regs) noexcept {
        stepping.site = ip;
        stepping.caller = parent_ip;
        if (redirected) ftrace::regs_set_instruction_pointer(regs, &stepped_elsewhere);
        if (ftrace::pt_regs* const all = ftrace::get_regs(regs)) all->flags ^= flags_to_change;
    }
};

/// A function with a call of a stub at its entry, as patching would leave it: of every width that the CPU
/// has, not only of the one that patching would choose.
template <ftrace::arch::saved_set Set, ftrace::arch::vector_width Width>
struct function_with {
    __attribute__((naked, noinline)) FTRACE_NO_INSTRUMENTATION static int entry(int) {
        __asm__(
            "call %P0\n"
            "leal 5(%%rdi), %%eax\n"
            "ret\n" ::"X"(&ftrace::arch::entry_stub<owner, Set, Width>::entry));
    }
};

template <ftrace::arch::saved_set Set>
void compare_widths() {
    using enum ftrace::arch::vector_width;
    const ftrace::arch::vector_width widest = ftrace::arch::widest_vector_register();
    compare_steps_and_flags(function_with<Set, none>::entry, 6, false);
    compare_steps_and_flags(function_with<Set, xmm>::entry, 6, false);
    if (widest >= ymm) compare_steps_and_flags(function_with<Set, ymm>::entry, 6, false);
    if (widest >= zmm) compare_steps_and_flags(function_with<Set, zmm>::entry, 6, false);
}

}  // namespace

TEST_CASE("entry stub: unwinding is right at every instruction, ARGS at every width", "[arch]") {
    compare_widths<ftrace::arch::saved_set::arguments>();
}
TEST_CASE("entry stub: unwinding is right at every instruction, SAVE_REGS at every width",
          "[arch]") {
    compare_widths<ftrace::arch::saved_set::all>();
}
TEST_CASE("entry stub: unwinding is right at every instruction, an ops alone", "[arch]") {
    SECTION("ARGS") {
        const registered<args> op;
        compare_steps(stepped_narrow, 2, false);
        compare_steps(stepped_wide, 3, false);
    }
    SECTION("ARGS_INTEGER") {
        const registered<integers> op;
        compare_steps(stepped_narrow, 2, false);
        compare_steps(stepped_wide, 3, false);
    }
    SECTION("SAVE_REGS") {
        const registered<full> op;
        compare_steps_and_flags(stepped_narrow, 2, false);
        compare_steps_and_flags(stepped_wide, 3, false);
    }
}
TEST_CASE("veneer: unwinding is right at every instruction, to a list", "[arch]") {
    SECTION("ARGS") { compare_list<args, idle_args>(); }
    SECTION("SAVE_REGS") { compare_list<full, idle_full>(); }
    SECTION("ARGS_INTEGER") { compare_list<integers, idle_integers>(); }
    SECTION("all of them") { compare_list<idle_integers, full>(); }
}
TEST_CASE("veneer: unwinding is right at every instruction, to a compile-time registry", "[arch]") {
    SECTION("ARGS") { compare_registry<args, idle_args>(); }
    SECTION("SAVE_REGS") { compare_registry<full, idle_full>(); }
    SECTION("ARGS_INTEGER") { compare_registry<integers, idle_integers>(); }
    SECTION("all of them") { compare_registry<idle_integers, full>(); }
}
