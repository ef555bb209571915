// Calls in a tail, which are jumps: direct, mutual, through pointers, with more arguments than the
// caller got, of a member function; left by an exception; ten million of them, whose stack does not
// grow. Runs: few many
// (gcc makes none at -O0: there "many" are few.)
// Flags: -foptimize-sibling-calls
#include <cstring>

#include "scenario.hpp"

// clang has a way to demand a tail call; gcc makes one wherever it optimises.
#if defined(__clang__)
#define TAIL [[clang::musttail]] return
#else
#define TAIL return
#endif
#if defined(__clang__) || defined(__OPTIMIZE__)
constexpr bool has_tail_calls = true;
#else
constexpr bool has_tail_calls = false;
#endif

namespace scenario {

TRACED int leaf(int x) {
    KEEP(x);
    return x + 1;
}
TRACED int direct(int x) {
    KEEP(x);
    TAIL leaf(x);
}
TRACED int direct_twice(int x) {
    KEEP(x);
    TAIL direct(x);
}

TRACED bool odd(int n);
TRACED bool even(int n) {
    KEEP(n);
    if (n == 0) return true;
    TAIL odd(n - 1);
}
bool odd(int n) {
    KEEP(n);
    if (n == 0) return false;
    TAIL even(n - 1);
}

int (*volatile pointer)(int) = leaf;
TRACED int through_pointer(int x) {
    KEEP(x);
    TAIL pointer(x);
}

struct member {
    TRACED int adds(int x) const;
    TRACED int twice(int x) const;
    int value;
};
int member::adds(int x) const {
    KEEP(x);
    return x + value;
}
int member::twice(int x) const {
    KEEP(x);
    TAIL adds(2 * x);
}

TRACED double mixed(double a, int b, double c) {
    KEEP(b);
    return a + b + c;
}
TRACED double swaps(double a, int b, double c) {
    KEEP(b);
    TAIL mixed(c, b + 1, 2 * a);
}

// Left by an exception, both at once; one of the callers has a frame of its own between.
TRACED int throws(int x) {
    KEEP(x);
    if (x < 0) throw x;
    return x;
}
TRACED int throws_in_tail(int x) {
    KEEP(x);
    TAIL throws(x);
}
TRACED int between(int x) {
    int below = throws_in_tail(x);
    KEEP(below);
    return below;
}
TRACED int between_in_tail(int x) {
    KEEP(x);
    TAIL between(x);
}
TRACED int catches(int x) {
    try {
        return between_in_tail(x);
    } catch (int caught) {
        return -caught;
    }
}

using step = int (*)(int, int);

// To itself, by a way that the compiler does not make a loop of.
extern step volatile itself;
TRACED int counts(int n, int sum) {
    KEEP(n);
    if (n == 0) return sum;
    TAIL itself(n - 1, sum + 1);
}
step volatile itself = counts;
TRACED int calls_counts(int n) {
    int result = counts(n, 0);
    KEEP(result);
    return result;
}

// Three in turn, each through a pointer.
extern step volatile steps[3];
TRACED int one(int n, int sum) {
    KEEP(n);
    if (n == 0) return sum;
    TAIL steps[1](n - 1, sum + 1);
}
TRACED int two(int n, int sum) {
    KEEP(n);
    if (n == 0) return sum;
    TAIL steps[2](n - 1, sum + 2);
}
TRACED int three(int n, int sum) {
    KEEP(n);
    if (n == 0) return sum;
    TAIL steps[0](n - 1, sum + 3);
}
step volatile steps[3] = {one, two, three};

}  // namespace scenario

int main(int count, char** arguments) {
    using namespace scenario;
    using recorder::expect;
    if (count > 1 && std::strcmp(arguments[1], "few") == 0) {
        expect(direct_twice(1) == 2, "direct");
        expect(even(10) && !odd(4), "mutual");
        expect(through_pointer(3) == 4, "through a pointer");
        expect(member{5}.twice(2) == 9, "member");
        expect(swaps(1, 2, 3) == 8, "mixed arguments");
        expect(catches(1) == 1 && catches(-2) == 2, "exceptions");
    } else {
        constexpr int many = has_tail_calls ? 10000000 : 1000;
        expect(calls_counts(20) == 20, "to itself, few");
        recorder::set_mode(recorder::mode::counted);
        expect(even(many), "mutual");
        expect(calls_counts(many / 10) == many / 10, "to itself");
        // 1 + 2 + 3 + ... + 1
        expect(one(many / 10, 0) == many / 10 / 3 * 6 + 1, "in turn");
        recorder::set_mode(recorder::mode::listed);
        expect(direct(1) == 2, "afterwards");
    }
    std::puts("done");
}
