// Signal handlers, on the stack they interrupt and on one of their own: that return, that interrupt
// each other, that jump away, that throw; faults that are handled.
#include <setjmp.h>
#include <signal.h>

#include "scenario.hpp"

namespace scenario {

sigjmp_buf back;
int handled = 0;

TRACED int leaf(int x) {
    KEEP(x);
    return x + 1;
}
TRACED int works(int x) {
    int below = leaf(x);
    KEEP(below);
    return below + 1;
}

// Through a pointer of which the compiler does not know that nothing is thrown.
int (*volatile raises_signal)(int) = raise;

TRACED int raises(int number) {
    int result = works(number);
    raises_signal(number);
    KEEP(result);
    return result + leaf(result);
}

TRACED void returns(int number) { handled += works(number) - number; }
// Is itself interrupted by the next signal.
TRACED void nests(int number) {
    handled += works(number) - number;
    raises_signal(SIGUSR2);
    handled += leaf(1);
}
TRACED void jumps(int) { siglongjmp(back, leaf(8)); }
TRACED void jumps_from_within(int) {
    raises_signal(SIGUSR2);
    std::puts("never");
}
TRACED void throws(int number) { throw number; }

UNTRACED void install(int number, void (*handler)(int), bool alternate) {
    struct sigaction action{};
    action.sa_handler = handler;
    action.sa_flags = alternate ? SA_ONSTACK : 0;
    sigaction(number, &action, nullptr);
}

TRACED int comes_back(int number, bool keep_mask) {
    const int got = sigsetjmp(back, keep_mask ? 1 : 0);
    if (got == 0) raises(number);
    return got + leaf(got);
}
TRACED int catches(int number) {
    try {
        raises(number);
    } catch (int caught) {
        return caught;
    }
    return 0;
}

int* volatile nowhere = nullptr;
TRACED void faults() {
    leaf(0);
    *nowhere = 1;
}
TRACED int survives() {
    if (sigsetjmp(back, 1) == 0) faults();
    return leaf(1);
}

UNTRACED bool blocked(int number) {
    sigset_t mask;
    sigprocmask(SIG_BLOCK, nullptr, &mask);
    return sigismember(&mask, number) == 1;
}
UNTRACED void unblock(int number) {
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, number);
    sigprocmask(SIG_UNBLOCK, &mask, nullptr);
}

UNTRACED void all(bool alternate) {
    using recorder::expect;
    const int one = SIGUSR1;
    install(one, returns, alternate);
    expect(raises(one) == 2 * one + 5 && handled == 2, "returns");

    install(one, nests, alternate);
    install(SIGUSR2, returns, alternate);
    handled = 0;
    expect(raises(one) == 2 * one + 5 && handled == 6, "nested");

    install(one, jumps, alternate);
    expect(comes_back(one, true) == 19 && !blocked(one), "jump that restores the mask");
    expect(comes_back(one, false) == 19 && blocked(one), "jump that does not");
    unblock(one);

    install(one, jumps_from_within, alternate);
    install(SIGUSR2, jumps, alternate);
    expect(comes_back(one, true) == 19 && !blocked(one) && !blocked(SIGUSR2), "jump over two");

    install(SIGSEGV, jumps, alternate);
    expect(survives() == 2 && survives() == 2, "faults");

    install(one, throws, alternate);
    expect(catches(one) == one, "exception");
    unblock(one);

    expect(works(1) == 3, "afterwards");
}

alignas(16) char other_stack[256 * 1024];

}  // namespace scenario

int main() {
    using namespace scenario;
    all(false);
    handled = 0;
    stack_t stack{};
    stack.ss_sp = other_stack;
    stack.ss_size = sizeof other_stack;
    sigaltstack(&stack, nullptr);
    all(true);
    std::puts("done");
}
