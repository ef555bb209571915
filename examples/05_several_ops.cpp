// Several ops on one function: they are called in the order of their registration, and each gets
// the registers it asked for, whatever the others want.
#include <ftrace/ftrace.hpp>

#include <cstdio>

__attribute__((noinline)) void work(int n) { std::printf("  work:   n = %d\n", n); }

void first(unsigned long, unsigned long, ftrace::ftrace_ops&, ftrace::ftrace_regs& regs) noexcept {
    std::printf("  first:  n = %d\n", ftrace::regs_get_argument<0, &work>(regs));
}

// SAVE_REGS: all registers, as a breakpoint would show them.
void second(unsigned long, unsigned long, ftrace::ftrace_ops&, ftrace::ftrace_regs& regs) noexcept {
    const ftrace::pt_regs* const all = ftrace::get_regs(regs);
    std::printf("  second: n = %d, %s\n", ftrace::regs_get_argument<0, &work>(regs),
                all != nullptr ? "all registers are here" : "no full registers");
}

// Callback and data chosen at run time.
void third(unsigned long, unsigned long, ftrace::ftrace_ops& op, ftrace::ftrace_regs&) noexcept {
    std::printf("  third:  call number %d\n", ++*static_cast<int*>(op.private_data));
}

static ftrace::ops<first> by_arguments;
static ftrace::ops<second, ftrace::SAVE_REGS> by_registers;

int main() {
    int calls = 0;
    ftrace::ftrace_ops dynamic(third, ftrace::ARGS, &calls);
    for (ftrace::ftrace_ops* each : {static_cast<ftrace::ftrace_ops*>(&by_arguments),
                                     static_cast<ftrace::ftrace_ops*>(&by_registers), &dynamic})
        if (auto set = each->set_filter("work"); !set)
            return std::puts(set.error().message.c_str()), 1;

    auto a = ftrace::register_ftrace_function(by_arguments);
    auto b = ftrace::register_ftrace_function(by_registers);
    auto c = ftrace::register_ftrace_function(dynamic);
    if (!a || !b || !c) return std::puts("cannot be traced here"), 1;

    std::puts("work(1) with three:");
    work(1);
    (void)b->unregister();
    std::puts("work(2) without the second:");
    work(2);
    (void)a->unregister();
    (void)c->unregister();
    std::puts("work(3) with none:");
    work(3);
    if (auto again = a->unregister(); !again)
        std::printf("and once more: %s\n", again.error().message.c_str());
}
