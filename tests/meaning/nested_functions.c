// GNU nested functions: the static chain, in r10, arrives; through trampolines on the stack, two
// levels deep, with a jump out of the inner function to a label of the outer one.
// Needs: gcc
#include <stdio.h>
#include <stdlib.h>

#define TRACED __attribute__((noinline, noclone, no_icf))

TRACED int scenario_apply(int (*function)(int), int count) {
    int sum = 0;
    for (int i = 1; i <= count; ++i) sum += function(i);
    return sum;
}
TRACED int scenario_direct(int factor) {
    TRACED int scenario_scale(int x) { return x * factor; }
    int sum = scenario_scale(1);
    factor = 10;
    return sum + scenario_scale(2);
}
TRACED int scenario_by_pointer(int factor) {
    int calls = 0;
    TRACED int scenario_scale_and_count(int x) {
        ++calls;
        return x * factor;
    }
    int sum = scenario_apply(scenario_scale_and_count, 4);
    return sum * 10 + calls;
}
TRACED int scenario_two_levels(int base) {
    TRACED int scenario_outer(int x) {
        TRACED int scenario_inner(int y) { return base + x * y; }
        return scenario_apply(scenario_inner, 2);
    }
    return scenario_apply(scenario_outer, 3);
}
TRACED int scenario_recurses(int depth) {
    int* const mine = &depth;
    TRACED int scenario_reads(int x) { return *mine + x; }
    if (depth == 0) return scenario_apply(scenario_reads, 1);
    int below = scenario_recurses(depth - 1);
    return below + scenario_apply(scenario_reads, 1);
}
// As longjmp does.
TRACED int scenario_jumps(int limit) {
    __label__ found;
    int last = 0;
    TRACED int scenario_looks(int x) {
        last = x;
        if (x == limit) goto found;
        return 0;
    }
    scenario_apply(scenario_looks, 10);
    return -1;
found:
    return last;
}
static int scenario_compare_calls;
TRACED void scenario_sorts(int* numbers, size_t count, int sign) {
    TRACED int scenario_compare(const void* a, const void* b) {
        ++scenario_compare_calls;
        return sign * (*(const int*)a - *(const int*)b);
    }
    qsort(numbers, count, sizeof *numbers, scenario_compare);
}

static void expect(int right, const char* what) {
    if (!right) printf("WRONG: %s\n", what);
}

int main(void) {
    expect(scenario_direct(3) == 23, "direct");
    expect(scenario_by_pointer(3) == 304, "by pointer");
    // 2 * 5 + x (1 + 2), for x of 1, 2, 3
    expect(scenario_two_levels(5) == 48, "two levels");
    expect(scenario_recurses(3) == 10, "recursion");
    expect(scenario_jumps(4) == 4 && scenario_jumps(11) == -1, "jump");
    int numbers[] = {2, 1};
    scenario_sorts(numbers, 2, 1);
    expect(numbers[0] == 1 && numbers[1] == 2 && scenario_compare_calls == 1, "sort");
    puts("done");
    return 0;
}
