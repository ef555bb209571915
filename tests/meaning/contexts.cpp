// makecontext, swapcontext, setcontext: stacks that take turns, calls, exceptions and jumps on
// each; a context that ends by itself, one that moves to another thread, one that is dropped and
// one whose stack is used again.
#include <pthread.h>
#include <setjmp.h>
#include <ucontext.h>

#include "scenario.hpp"

namespace scenario {

constexpr std::size_t stack_size = 128 * 1024;
alignas(64) char stacks[2][stack_size];

ucontext_t outside, contexts[2];

TRACED int leaf(int x) {
    KEEP(x);
    return x + 1;
}
TRACED int works(int x) {
    int below = leaf(x);
    KEEP(below);
    return below + 1;
}

UNTRACED void start(int number, void (*function)()) {
    getcontext(&contexts[number]);
    contexts[number].uc_stack.ss_sp = stacks[number];
    contexts[number].uc_stack.ss_size = stack_size;
    contexts[number].uc_link = &outside;
    makecontext(&contexts[number], function, 0);
}
TRACED void resumes(int number) {
    KEEP(number);
    swapcontext(&outside, &contexts[number]);
    leaf(number);
}
TRACED void yields(int number) {
    swapcontext(&contexts[number], &outside);
    leaf(number);
}

// Two that take turns, each in the middle of calls.
int results[2];
TRACED int counts_down(int number, int n) {
    KEEP(n);
    if (n == 0) return works(n);
    yields(number);
    int below = counts_down(number, n - 1);
    yields(number);
    KEEP(below);
    return below + 1;
}
TRACED void first() { results[0] = counts_down(0, 2); }
TRACED void second() { results[1] = counts_down(1, 1); }
TRACED void take_turns() {
    start(0, first);
    start(1, second);
    for (int i = 0; i < 3; ++i) {
        resumes(0);
        resumes(1);
    }
    resumes(0);
    resumes(0);
    recorder::expect(results[0] == 4 && results[1] == 3, "two contexts");
}

// An exception thrown and caught on the other stack, with a switch on its way.
TRACED int throws(int x) {
    KEEP(x);
    throw x;
}
TRACED int catches(int x) {
    try {
        throws(x);
    } catch (int caught) {
        yields(0);
        return caught;
    }
    return 0;
}
TRACED void third() { results[0] = catches(5); }
TRACED int catches_here() {
    try {
        throws(6);
    } catch (int caught) {
        start(0, third);
        resumes(0);
        resumes(0);
        return caught + results[0];
    }
    return 0;
}

// A jump within the other stack.
jmp_buf back;
TRACED void jumps() { longjmp(back, leaf(0)); }
TRACED void fourth() {
    if (setjmp(back) == 0) jumps();
    results[0] = works(7);
}
TRACED void jumps_there() {
    start(0, fourth);
    resumes(0);
    recorder::expect(results[0] == 9, "jump on another stack");
}

// setcontext: back to where getcontext was, over calls; and out of a context that never ends.
ucontext_t here;
TRACED void goes_back() {
    leaf(1);
    setcontext(&here);
}
TRACED int three_times() {
    volatile int times = 0;
    getcontext(&here);
    times = times + 1;
    if (times < 3) goes_back();
    leaf(2);
    return times;
}
TRACED void never_ends() {
    leaf(3);
    setcontext(&here);
}
TRACED int drops_itself() {
    volatile bool was_here = false;
    getcontext(&here);
    if (was_here) return works(4);
    was_here = true;
    start(1, never_ends);
    resumes(1);
    return 0;
}

// Goes on in another thread, to which its calls belong from then on.
TRACED void moving() {
    results[0] = works(5);
    yields(0);
    results[0] += works(6);
}
TRACED void* resumes_there(void* result) {
    resumes(0);
    return result;
}
TRACED int moves() {
    start(0, moving);
    resumes(0);
    pthread_t thread;
    pthread_create(&thread, nullptr, resumes_there, nullptr);
    pthread_join(thread, nullptr);
    return results[0];
}

// Dropped in the middle of a call; another one then has its stack.
TRACED void dropped() { counts_down(0, 5); }
TRACED void fifth() { results[0] = works(8); }
TRACED int drops() {
    start(0, dropped);
    resumes(0);
    resumes(0);
    start(0, fifth);
    resumes(0);
    return results[0];
}

}  // namespace scenario

int main() {
    using namespace scenario;
    using recorder::expect;
    take_turns();
    expect(catches_here() == 11, "exceptions");
    jumps_there();
    expect(three_times() == 3, "setcontext");
    expect(drops_itself() == 6, "out of a context");
    expect(moves() == 15, "moved");
    expect(drops() == 10, "dropped");
    expect(works(9) == 11, "afterwards");
    std::puts("done");
}
