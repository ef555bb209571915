// setjmp and longjmp: values, two buffers in turn, over one frame and over a thousand, ten thousand
// times in a loop, out of a nested call to a caller far up, and an exception afterwards.
#include <setjmp.h>

#include "scenario.hpp"

namespace scenario {

jmp_buf first, second;

TRACED void jumps(jmp_buf& where, int value) {
    KEEP(value);
    longjmp(where, value);
}
TRACED void passes(jmp_buf& where, int value) {
    jumps(where, value);
    std::puts("never");
}

// The value arrives; 0 arrives as 1.
TRACED int value_of(int value) {
    const int got = setjmp(first);
    if (got == 0) passes(first, value);
    return got;
}

// From one buffer to the other and back: each jump leaves the frames of the last.
TRACED int in_turn() {
    volatile int rounds = 0;
    if (setjmp(first) != 0) {
        rounds = rounds + 1;
        if (rounds == 3) return rounds;
    }
    if (setjmp(second) == 0) passes(second, 1);
    jumps(first, 1);
    return -1;
}

// To an outer buffer over an inner one, whose frame goes.
TRACED void inner() {
    if (setjmp(second) == 0) passes(second, 1);
    passes(first, 2);
}
TRACED int outer() {
    const int got = setjmp(first);
    if (got == 0) inner();
    return got;
}

// Of which the compiler does not know that it never returns.
void (*volatile leaves)(jmp_buf&, int) = jumps;

TRACED void down(int frames) {
    KEEP(frames);
    if (frames == 1) return leaves(first, 5);
    down(frames - 1);
    std::puts("never");
}
TRACED int from_below(int frames) {
    const int got = setjmp(first);
    if (got == 0) down(frames);
    return got;
}

TRACED int many_times() {
    volatile int times = 0;
    setjmp(first);
    times = times + 1;
    if (times < 10000) passes(first, 1);
    return times;
}

// Calls as before, from the frame that was jumped to.
TRACED int leaf(int x) {
    KEEP(x);
    return x + 1;
}
TRACED int goes_on() {
    volatile int sum = 0;
    if (setjmp(first) == 0) {
        sum = leaf(1);
        passes(first, 1);
    }
    const int more = leaf(sum);
    return more + leaf(more);
}
TRACED void throws() { throw 3; }
TRACED int throws_afterwards() {
    if (setjmp(first) == 0) passes(first, 1);
    try {
        throws();
    } catch (int x) {
        return x;
    }
    return 0;
}

}  // namespace scenario

int main() {
    using namespace scenario;
    using recorder::expect;
    expect(value_of(7) == 7 && value_of(-1) == -1 && value_of(0) == 1, "values");
    expect(in_turn() == 3, "in turn");
    expect(outer() == 2, "over an inner one");
    expect(from_below(1) == 5 && from_below(1000) == 5, "from below");
    expect(goes_on() == 7, "going on");
    expect(throws_afterwards() == 3, "exception");
    expect(many_times() == 10000, "many times");
    std::puts("done");
}
