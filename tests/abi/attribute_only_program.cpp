// Functions that carry an attribute, in a file without the command-line flag: gcc keeps -fipa-ra, and what it
// learns of a function that calls nothing it uses in the callers. attribute_only.sh builds it.
//
//     attribute_only_program
//
// Ends with 0: every result was right; 3: one was not; 2: the test itself is broken.
#include <cstdio>
#include <ftrace/ftrace.hpp>

#include "tests/arch/x86_64/destroy_registers.hpp"

#if defined(ATTRIBUTE_WITHOUT_NOIPA)
#define LEAF __attribute__((noinline, noclone, patchable_function_entry(5)))
#else
#define LEAF FTRACE_TRACEABLE
#endif
#define CALLER __attribute__((noinline))

namespace {

// What the compiler cannot know.
volatile long integer_source[] = {3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59};
volatile double real_source[] = {1.5, 2.5,  3.5,  4.5,  5.5,  6.5,  7.5,  8.5,
                                 9.5, 10.5, 11.5, 12.5, 13.5, 14.5, 15.5, 16.5};

// Leaves: they use a register or two of their own, and the compiler knows which.
LEAF int leaf_integer(int x) { return x + 1; }
LEAF double leaf_real(double x) { return x * 2; }
LEAF double leaf_mixed(int a, double b, long c, float d) {
    return a + b + static_cast<double>(c) + static_cast<double>(d);
}
LEAF long leaf_stack(long a, long b, long c, long d, long e, long f, long g, long h) {
    return a + 2 * b + 3 * c + 4 * d + 5 * e + 6 * f + 7 * g + 8 * h;
}
struct pair {
    long a;
    double b;
};
LEAF pair leaf_pair(pair p) { return {p.a + 1, p.b + 1}; }
LEAF void leaf_nothing() { __asm__ volatile(""); }
struct object {
    long value;
    LEAF long method(long x) const { return value + x; }
};

// More values than there are registers that a callee preserves, live across a call.
CALLER double around_integer(int k) {
    const long a = integer_source[0], b = integer_source[1], c = integer_source[2],
               d = integer_source[3], e = integer_source[4], f = integer_source[5],
               g = integer_source[6], h = integer_source[7], i = integer_source[8],
               j = integer_source[9], l = integer_source[10], m = integer_source[11];
    const long r = leaf_integer(k);
    return static_cast<double>(a + 2 * b + 3 * c + 4 * d + 5 * e + 6 * f + 7 * g + 8 * h + 9 * i +
                               10 * j + 11 * l + 12 * m + r);
}
CALLER double around_real(int k) {
    const double a = real_source[0], b = real_source[1], c = real_source[2], d = real_source[3],
                 e = real_source[4], f = real_source[5], g = real_source[6], h = real_source[7],
                 i = real_source[8], j = real_source[9], l = real_source[10], m = real_source[11],
                 n = real_source[12], o = real_source[13];
    const double r = leaf_real(k);
    return a + 2 * b + 3 * c + 4 * d + 5 * e + 6 * f + 7 * g + 8 * h + 9 * i + 10 * j + 11 * l +
           12 * m + 13 * n + 14 * o + r;
}
CALLER double around_mixed(int k) {
    const long a = integer_source[0], b = integer_source[1], c = integer_source[2],
               d = integer_source[3], e = integer_source[4], f = integer_source[5],
               g = integer_source[6], h = integer_source[7];
    const double i = real_source[0], j = real_source[1], l = real_source[2], m = real_source[3],
                 n = real_source[4], o = real_source[5], p = real_source[6], q = real_source[7],
                 s = real_source[8], t = real_source[9];
    const double r = leaf_mixed(k, j, c, 4.5F);
    return static_cast<double>(a + 2 * b + 3 * c + 4 * d + 5 * e + 6 * f + 7 * g + 8 * h) + 9 * i +
           10 * j + 11 * l + 12 * m + 13 * n + 14 * o + 15 * p + 16 * q + 17 * s + 18 * t + r;
}
CALLER double around_stack(int k) {
    const double a = real_source[0], b = real_source[1], c = real_source[2], d = real_source[3],
                 e = real_source[4], f = real_source[5], g = real_source[6], h = real_source[7],
                 i = real_source[8], j = real_source[9], l = real_source[10];
    const long r = leaf_stack(k, 2, 3, 4, 5, 6, integer_source[6], integer_source[7]);
    return a + 2 * b + 3 * c + 4 * d + 5 * e + 6 * f + 7 * g + 8 * h + 9 * i + 10 * j + 11 * l +
           static_cast<double>(r);
}
CALLER double around_pair(int k) {
    const double a = real_source[0], b = real_source[1], c = real_source[2], d = real_source[3],
                 e = real_source[4], f = real_source[5], g = real_source[6], h = real_source[7],
                 i = real_source[8], j = real_source[9], l = real_source[10];
    const pair r = leaf_pair({k, a});
    return a + 2 * b + 3 * c + 4 * d + 5 * e + 6 * f + 7 * g + 8 * h + 9 * i + 10 * j + 11 * l +
           static_cast<double>(r.a) + r.b;
}
CALLER double around_method(int k) {
    const object o{integer_source[3]};
    const double a = real_source[0], b = real_source[1], c = real_source[2], d = real_source[3],
                 e = real_source[4], f = real_source[5], g = real_source[6], h = real_source[7],
                 i = real_source[8], j = real_source[9], l = real_source[10];
    const long r = o.method(k);
    return a + 2 * b + 3 * c + 4 * d + 5 * e + 6 * f + 7 * g + 8 * h + 9 * i + 10 * j + 11 * l +
           static_cast<double>(r);
}
// Nothing on its stack, so gcc need not align it for a callee that it knows.
CALLER int unaligned(int k) {
    leaf_nothing();
    return leaf_integer(k) + 1;
}
// The same whatever the compiler: both alignments that the psABI does not allow, and the one it does.
CALLER double by_hand(int k) {
    long sum = 0;
    for (const long shift : {0L, 8L, 16L, 24L, 4L}) {
        int argument = k, result;
        __asm__ volatile(
            "movq %%rsp, %%rbx\n"
            "subq $128, %%rsp\n"
            "andq $-64, %%rsp\n"
            "subq %[shift], %%rsp\n"
            "call *%[leaf]\n"
            "movq %%rbx, %%rsp\n"
            : "=a"(result), "+D"(argument)
            : [shift] "r"(shift), [leaf] "r"(&leaf_integer)
            : "rbx", "rcx", "rdx", "rsi", "r8", "r9", "r10", "r11", "cc", "memory", "xmm0", "xmm1",
              "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11",
              "xmm12", "xmm13", "xmm14", "xmm15");
        sum += result;
    }
    return static_cast<double>(sum);
}

constexpr int callers = 8;
/// Noted one by one, so that one wrong result does not hide another.
struct results {
    double of[callers];
};
CALLER results run_all() {
    const auto k = [](int i) { return static_cast<int>(integer_source[i]); };
    return {{around_integer(k(3)), around_real(k(4)), around_mixed(k(5)), around_stack(k(6)),
             around_pair(k(7)), around_method(k(8)), static_cast<double>(unaligned(k(9))),
             by_hand(k(10))}};
}
constexpr unsigned calls = 7 + 1 + 5;  // unaligned() makes two, by_hand() five

const results untraced = run_all();
int wrong = 0, broken = 0;

template <class... Ops>
void expect_right(const char* what, unsigned callbacks) {
    destroyed = 0;
    const results traced = run_all();
    if (destroyed != callbacks) {
        std::printf("%s: %u callbacks, expected %u\n", what, destroyed, callbacks);
        ++broken;
    }
    for (int i = 0; i < callers; ++i)
        if (traced.of[i] != untraced.of[i]) {
            std::printf("%s: caller %d gets %g, expected %g\n", what, i, traced.of[i],
                        untraced.of[i]);
            ++wrong;
        }
}

bool choose(ftrace::ftrace_ops& op) {
    const auto done = op.set_filter("*leaf_*");
    const auto method = op.set_filter("*object::method*");
    if (done && *done == 6 && method && *method == 1) return true;
    std::puts(!done     ? done.error().message.c_str()
              : !method ? method.error().message.c_str()
                        : "other functions match");
    ++broken;
    return false;
}

template <class Ops>
void alone(const char* what) {
    static Ops op;
    if (!choose(op)) return;
    const auto on = ftrace::register_ftrace_function(op);
    if (!on) ++broken;
    expect_right(what, calls);
}
template <class Ops>
void in_list(const char* what) {
    static Ops first, second;
    if (!choose(first) || !choose(second)) return;
    const auto on = ftrace::register_ftrace_function(first);
    const auto also = ftrace::register_ftrace_function(second);
    if (!on || !also) ++broken;
    expect_right(what, 2 * calls);
}
template <class Ops>
void in_registry(const char* what) {
    static ftrace::registry<Ops, Ops> both;
    if (!choose(both.template get<0>()) || !choose(both.template get<1>())) return;
    const auto on = both.register_all();
    if (!on) ++broken;
    expect_right(what, 2 * calls);
}

}  // namespace

#define EVERY_WAY(...)                           \
    alone<__VA_ARGS__>("alone: " #__VA_ARGS__);  \
    in_list<__VA_ARGS__>("list: " #__VA_ARGS__); \
    in_registry<__VA_ARGS__>("registry: " #__VA_ARGS__)

int main() {
    EVERY_WAY(ftrace::ops<destroy>);
    EVERY_WAY(ftrace::ops<destroy, ftrace::SAVE_REGS>);
    EVERY_WAY(ftrace::ops<destroy_integers, ftrace::ARGS_INTEGER>);
    expect_right("untraced again", 0);
    return broken != 0 ? 2 : wrong != 0 ? 3 : 0;
}
