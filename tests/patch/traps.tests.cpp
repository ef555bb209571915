// SIGTRAP belongs to the program as well: its own traps reach its own handler.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <catch2/catch_all.hpp>
#include <ftrace/ftrace.hpp>
#include <thread>

#include "program.hpp"
#include "text.hpp"

using namespace ftrace;

namespace program {

PROGRAM int work() {
    TOUCH_MEMORY;
    return 4;
}
/// A breakpoint of the program's own.
PROGRAM void breakpoint() {
    __asm__ volatile("int3\n.globl behind_int3\nbehind_int3:" ::: "memory");
}

}  // namespace program
extern "C" const char behind_int3[];

namespace {

int calls;
void count(unsigned long, unsigned long, ftrace_ops&, ftrace_regs&) noexcept { ++calls; }

volatile int traps, old_style_traps, last_code;
volatile std::uintptr_t last_pc;
volatile sig_atomic_t last_pid;

void on_trap(int, siginfo_t* info, void* context) {
    traps = traps + 1;
    last_code = info->si_code;
    last_pid = info->si_pid;
    last_pc = arch::program_counter(*static_cast<ucontext_t*>(context));
}
void on_trap_old_style(int) { old_style_traps = old_style_traps + 1; }

void handle_traps(void (*handler)(int, siginfo_t*, void*)) {
    struct sigaction action = {};
    action.sa_sigaction = handler;
    action.sa_flags = SA_SIGINFO;
    REQUIRE(::sigaction(SIGTRAP, &action, nullptr) == 0);
}
void handle_traps(void (*handler)(int)) {
    struct sigaction action = {};
    action.sa_handler = handler;
    REQUIRE(::sigaction(SIGTRAP, &action, nullptr) == 0);
}

void one_registration() {
    ops<count> op;
    REQUIRE(op.set_filter("program::work"));
    const auto handle = register_ftrace_function(op);
    REQUIRE(handle);
    calls = 0;
    CHECK(program::work() == 4);
    CHECK(calls == 1);
}

/// How a child ends that runs `scenario`: its status as waitpid() gives it.
template <class Scenario>
int status_of_child(Scenario scenario) {
    const pid_t child = ::fork();
    if (child == 0) {
        scenario();
        ::_exit(0);
    }
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    return status;
}

}  // namespace

TEST_CASE("traps: a handler installed before the first registration gets its traps", "[patch]") {
    handle_traps(on_trap);
    one_registration();
    traps = 0;
    program::breakpoint();
    CHECK(traps == 1);
    CHECK(last_code == SI_KERNEL);
    CHECK(last_pc == reinterpret_cast<std::uintptr_t>(behind_int3));

    ::raise(SIGTRAP);
    CHECK(traps == 2);
    CHECK(last_code == SI_TKILL);
    CHECK(last_pid == ::getpid());
    ::kill(::getpid(), SIGTRAP);
    CHECK(traps == 3);
    CHECK(last_code == SI_USER);
}

TEST_CASE("traps: a handler installed later is found, and gets its traps", "[patch]") {
    one_registration();
    handle_traps(on_trap_old_style);
    one_registration();
    old_style_traps = 0;
    program::breakpoint();
    CHECK(old_style_traps == 1);

    // And one with siginfo in place of that.
    handle_traps(on_trap);
    one_registration();
    traps = 0;
    old_style_traps = 0;
    program::breakpoint();
    CHECK(traps == 1);
    CHECK(old_style_traps == 0);
    CHECK(last_code == SI_KERNEL);
    CHECK(last_pc == reinterpret_cast<std::uintptr_t>(behind_int3));
}

TEST_CASE("traps: without a handler of the program a trap ends it, as ever", "[patch]") {
    const int untouched = status_of_child([] {
        ::signal(SIGTRAP, SIG_DFL);
        program::breakpoint();
    });
    REQUIRE(WIFSIGNALED(untouched));
    REQUIRE(WTERMSIG(untouched) == SIGTRAP);
    const int patched = status_of_child([] {
        ::signal(SIGTRAP, SIG_DFL);
        ops<count> op;
        if (!op.set_filter("program::work") || !register_ftrace_function(op)) ::_exit(1);
        program::breakpoint();
    });
    CHECK(WIFSIGNALED(patched));
    CHECK(WTERMSIG(patched) == SIGTRAP);
}

TEST_CASE("traps: the program's own reach it also while text changes in other threads", "[patch]") {
    handle_traps(on_trap);
    ops<count> op;
    REQUIRE(op.set_filter("program::work"));
    std::atomic<bool> stop{false};
    std::thread changing([&] {
        while (!stop) {
            auto handle = register_ftrace_function(op);
            if (!handle || !handle->unregister()) ::abort();
        }
    });
    traps = 0;
    int wrong = 0;
    constexpr int rounds = 2000;
    for (int i = 0; i < rounds; ++i) {
        program::breakpoint();
        if (program::work() != 4) ++wrong;
    }
    stop = true;
    changing.join();
    CHECK(wrong == 0);
    CHECK(traps == rounds);
}
