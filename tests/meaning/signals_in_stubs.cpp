// Signals that arrive in the middle of a stub: raised in a callback at known calls, and from a
// timer at any instruction; their handlers call traced functions, throw and catch, jump away.
// What a handler calls while it interrupts a callback is not traced. Runs: callbacks timer jumps
#include <setjmp.h>
#include <signal.h>
#include <sys/time.h>

#include <cstring>

#include "scenario.hpp"

namespace scenario {

volatile int handled = 0;

TRACED int leaf(int x) {
    KEEP(x);
    return x + 1;
}
TRACED int works(int x) {
    int below = leaf(x);
    KEEP(below);
    return below + 1;
}
TRACED int sums(int calls) {
    int sum = 0;
    for (int i = 0; i < calls; ++i) sum += works(i) - i;
    return sum;
}

TRACED void throws(int x) {
    KEEP(x);
    throw x;
}
TRACED int catches(int x) {
    try {
        throws(x);
    } catch (int caught) {
        return caught;
    }
    return 0;
}
TRACED void handles(int number) {
    if (catches(number) == number) handled = handled + 1;
}

sigjmp_buf back;
TRACED void jumps_away(int number) {
    handles(number);
    siglongjmp(back, 1);
}

UNTRACED void install(int number, void (*handler)(int)) {
    struct sigaction action{};
    action.sa_handler = handler;
    sigaction(number, &action, nullptr);
}
UNTRACED void every(int microseconds) {
    itimerval interval{};
    interval.it_interval.tv_usec = interval.it_value.tv_usec = microseconds;
    setitimer(ITIMER_REAL, &interval, nullptr);
}

}  // namespace scenario

int main(int count, char** arguments) {
    using namespace scenario;
    using recorder::expect;
    const char* const how = count > 1 ? arguments[1] : "";

    if (std::strcmp(how, "callbacks") == 0) {
        install(SIGUSR1, handles);
        // Each entry and each return of these, and some that nothing interrupts.
        const int signals = recorder::raise_in_callbacks(SIGUSR1, 2 * (1 + 20 + 20) - 7);
        expect(sums(20) == 40 && handled == signals, "signals in callbacks");
        expect(sums(2) == 4, "no signals");
    }
    if (std::strcmp(how, "timer") == 0) {
        install(SIGALRM, handles);
        recorder::set_mode(recorder::mode::left_out);
        every(50);
        bool right = true;
        while (handled < 500) {
            right = right && sums(100) == 200;
        }
        every(0);
        expect(right, "a sum");
        expect(recorder::all_ended(), "an end for each call");
        recorder::set_mode(recorder::mode::listed);
        expect(sums(2) == 4, "afterwards");
    }
    if (std::strcmp(how, "jumps") == 0) {
        install(SIGALRM, jumps_away);
        recorder::set_mode(recorder::mode::left_out);
        volatile bool right = true;
        sigsetjmp(back, 1);
        while (handled < 200) {
            every(100);
            for (int i = 0; i < 1000; ++i) {
                const int sum = sums(10);
                right = right && sum == 20;
            }
        }
        every(0);
        expect(right, "a sum");
        recorder::set_mode(recorder::mode::listed);
        expect(sums(2) == 4, "afterwards");
    }
    std::puts("done");
}
