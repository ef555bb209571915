// A callback changes an argument, skips a function, and sends a call to another function.
#include <ftrace/ftrace.hpp>

#include <cstdio>
#include <ctime>

// volatile: what a caller already knows of a function's result, no hook can change.
volatile int waited = 0;
volatile bool files_are_gone = false;

__attribute__((noinline)) int wait_seconds(int seconds) {
    std::printf("    waiting %d s\n", seconds);
    waited = seconds;
    return waited;
}
__attribute__((noinline)) bool delete_all_files() {
    std::puts("    deleting everything");
    files_are_gone = true;
    return files_are_gone;
}
__attribute__((noinline)) long clock_now() { return static_cast<long>(std::time(nullptr)); }
__attribute__((noinline)) long clock_of_1970() { return 0; }

void wait_less(unsigned long, unsigned long, ftrace::ftrace_ops&,
               ftrace::ftrace_regs& regs) noexcept {
    if (ftrace::regs_get_argument<0, &wait_seconds>(regs) > 2)
        ftrace::regs_set_argument<0, &wait_seconds>(regs, 2);
}
void refuse(unsigned long, unsigned long, ftrace::ftrace_ops&, ftrace::ftrace_regs& regs) noexcept {
    ftrace::override_function_with_return(regs, false);
}
void turn_back_time(unsigned long, unsigned long, ftrace::ftrace_ops&,
                    ftrace::ftrace_regs& regs) noexcept {
    ftrace::regs_set_instruction_pointer(regs, &clock_of_1970);
}

// IPMODIFY: these change where the program goes on. Two such ops on one function would be refused.
static ftrace::ops<wait_less> shorten;
static ftrace::ops<refuse, ftrace::ARGS,
                   ftrace::FTRACE_OPS_FL_IPMODIFY | ftrace::FTRACE_OPS_FL_RECURSION>
    guard;
static ftrace::ops<turn_back_time, ftrace::ARGS,
                   ftrace::FTRACE_OPS_FL_IPMODIFY | ftrace::FTRACE_OPS_FL_RECURSION>
    past;

static void run() {
    std::printf("  waited: %d\n", wait_seconds(3600));
    std::printf("  deleted: %s\n", delete_all_files() ? "yes" : "no");
    std::printf("  the clock %s\n", clock_now() == 0 ? "stands at 1970" : "shows today");
}

int main() {
    if (!shorten.set_filter("wait_seconds") || !guard.set_filter("delete_all_files") ||
        !past.set_filter("clock_now"))
        return std::puts("a function is missing"), 1;
    std::puts("As written:");
    run();

    std::puts("With three callbacks:");
    {
        auto a = ftrace::register_ftrace_function(shorten);
        auto b = ftrace::register_ftrace_function(guard);
        auto c = ftrace::register_ftrace_function(past);
        if (!a || !b || !c) return std::puts("cannot be traced here"), 1;
        run();
    }  // each registration ends with its scope

    std::puts("As written, again:");
    run();
}
