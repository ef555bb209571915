// Thousands of functions whose results everybody can check: in the program, and in the library that it loads and unloads.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <ftrace/core/config.hpp>
#include <utility>

// The compiler makes no copies of them, and takes nothing for granted of what they do.
#if defined(__clang__)
#define TORTURE_WORK __attribute__((noinline))
#else
#define TORTURE_WORK __attribute__((noipa))
#endif
#define TORTURE_KEEP(value) __asm__ volatile("" : "+r"(value)::"memory")

namespace torture {

/// What may come of a number: each function has an own N, and one of six shapes.
enum class shape { leaf, calls, throws, stack_arguments, recurses, real };
constexpr shape shape_of(int n) { return static_cast<shape>(n % 6); }

template <int N>
long work(long x);

template <int N>
TORTURE_WORK long raise(long x) {
    TORTURE_KEEP(x);
    if (x % 2 != 0) throw x + N;
    return x;
}
template <int N>
TORTURE_WORK long nine(long a, long b, long c, long d, long e, long f, long g, double h, long i) {
    TORTURE_KEEP(a);
    return a + 2 * b + 3 * c + 4 * d + 5 * e + 6 * f + 7 * g + static_cast<long>(h) + 9 * i + N;
}
template <int N>
TORTURE_WORK long deep(long x, long levels) {
    TORTURE_KEEP(x);
    if (levels == 0) return x;
    long below = deep<N>(x, levels - 1);
    TORTURE_KEEP(below);
    return below + N;
}
template <int N>
TORTURE_WORK double real(double x) {
    __asm__ volatile("" : "+x"(x)::"memory");
    return x * 2 + N;
}

template <int N>
TORTURE_WORK long work(long x) {
    TORTURE_KEEP(x);
    if constexpr (shape_of(N) == shape::calls) {
        return work<N - 1>(x) + 1;
    } else if constexpr (shape_of(N) == shape::throws) {
        try {
            return raise<N>(x) - 1;
        } catch (long thrown) {
            return thrown;
        }
    } else if constexpr (shape_of(N) == shape::stack_arguments) {
        return nine<N>(x, 1, 2, 3, 4, 5, 6, 7.5, x);
    } else if constexpr (shape_of(N) == shape::recurses) {
        return deep<N>(x, x % 8);
    } else if constexpr (shape_of(N) == shape::real) {
        return static_cast<long>(real<N>(static_cast<double>(x)));
    } else {
        return x * N + 3;
    }
}

/// The same, worked out by hand.
FTRACE_NOTRACE constexpr long expected(int n, long x) {
    switch (shape_of(n)) {
    case shape::leaf: return x * n + 3;
    case shape::calls: return x * (n - 1) + 3 + 1;
    case shape::throws: return x % 2 != 0 ? x + n : x - 1;
    case shape::stack_arguments: return x + 2 + 6 + 12 + 20 + 30 + 42 + 7 + 9 * x + n;
    case shape::recurses: return x + (x % 8) * n;
    case shape::real: return 2 * x + n;
    }
    return 0;
}

using function = long (*)(long);
template <int... N>
constexpr std::array<function, sizeof...(N)> make_table(std::integer_sequence<int, N...>) {
    return {work<N>...};
}

/// Numbers are at least 0, and small enough that nothing overflows.
FTRACE_NOTRACE inline long argument_from(std::uint32_t random) {
    return static_cast<long>(random % 100'000);
}

/// A generator of its own for each thread, so that a seed repeats what each of them does.
class random_numbers {
public:
    FTRACE_NOTRACE explicit random_numbers(std::uint64_t seed) : state_(seed * 2 + 1) {}
    /// From 0 to `end` - 1.
    FTRACE_NOTRACE std::uint32_t below(std::uint32_t end) {
        state_ = state_ * 6'364'136'223'846'793'005U + 1'442'695'040'888'963'407U;
        return static_cast<std::uint32_t>(state_ >> 33) % end;
    }
    FTRACE_NOTRACE bool once_in(std::uint32_t n) { return below(n) == 0; }

private:
    std::uint64_t state_;
};

}  // namespace torture
