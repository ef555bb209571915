// Results in every place the psABI knows: rax, rax:rdx, xmm0, xmm0:xmm1, rax and xmm0, st0, st0:st1,
// memory, wide vectors; and arguments of variadic functions. Each through a call that hooks twice.
#include <immintrin.h>

#include <cstdarg>
#include <cstring>
#include <string>

#include "scenario.hpp"

// _Complex is C.
#pragma GCC diagnostic ignored "-Wpedantic"
#if defined(__clang__)
#pragma GCC diagnostic ignored "-Wc99-extensions"
#endif

namespace scenario {

struct two_words {
    long a, b;
};
struct two_doubles {
    double a, b;
};
struct word_and_double {
    long a;
    double b;
};
struct double_and_word {
    double a;
    long b;
};
struct floats {
    float a, b, c;
};
struct packed {
    short a;
    char b, c, d;
};
struct large {
    long words[9];
};
// Not trivial: returned in memory, whatever its size.
struct handle {
    UNTRACED explicit handle(int x) : value(x) {}
    UNTRACED handle(const handle& other) : value(other.value + 100) {}
    UNTRACED ~handle() {}
    int value;
};
__extension__ typedef __int128 int128;

template <class Complex, class Real>
UNTRACED Complex both(int real, Real imaginary) {
    Complex made;
    __real__ made = static_cast<Real>(real);
    __imag__ made = imaginary;
    return made;
}

// Each function, and one that returns what the other does.
#define RESULT(type, name, ...)       \
    TRACED type name(int x) {         \
        KEEP(x);                      \
        return __VA_ARGS__;           \
    }                                 \
    TRACED type name##_twice(int x) { \
        KEEP(x);                      \
        return name(x + 1);           \
    }

RESULT(bool, flag, x == 6)
RESULT(unsigned char, byte, static_cast<unsigned char>(x * 40))
RESULT(long, word, x * 1000000007L)
RESULT(int128, wide, static_cast<int128>(x) << 70)
RESULT(two_words, words, {x, -x})
RESULT(packed, small, {static_cast<short>(x), 'b', 'c', 'd'})
RESULT(float, single, static_cast<float>(x) / 4)
RESULT(double, number, x / 8.0)
RESULT(two_doubles, doubles, {x / 2.0, x / 4.0})
RESULT(floats, three, {1.5F, 2.5F, static_cast<float>(x)})
RESULT(word_and_double, integer_first, {x, x / 2.0})
RESULT(double_and_word, number_first, {x / 2.0, x})
RESULT(long double, extended, static_cast<long double>(x) / 3)
RESULT(_Complex double, complex_double, both<_Complex double>(x, x / 2.0))
RESULT(_Complex long double, complex_extended,
       both<_Complex long double>(x, static_cast<long double>(x) / 3))
RESULT(large, memory, {{x, x + 1, x + 2, x + 3, x + 4, x + 5, x + 6, x + 7, x + 8}})
RESULT(handle, in_memory, handle(x))
RESULT(std::string, text, std::string(static_cast<std::size_t>(x) * 10, 'x'))
RESULT(__m128, vector128, _mm_set1_ps(static_cast<float>(x)))

#define AVX __attribute__((target("avx")))
TRACED AVX __m256d vector256(int x) {
    KEEP(x);
    return _mm256_set1_pd(x / 2.0);
}
TRACED AVX __m256d vector256_twice(int x) {
    KEEP(x);
    return vector256(x + 1);
}

UNTRACED AVX bool vectors() {
    const __m256d wide = vector256_twice(5);
    double parts[4];
    _mm256_storeu_pd(parts, wide);
    for (const double part : parts)
        if (part != 3.0) return false;
    return true;
}

// Variadic: al counts the vector registers, and the callee saves those.
TRACED double sums(const char* kinds, ...) {
    KEEP(kinds);
    std::va_list arguments;
    va_start(arguments, kinds);
    double sum = 0;
    for (; *kinds != '\0'; ++kinds) {
        switch (*kinds) {
        case 'i': sum += va_arg(arguments, int); break;
        case 'l': sum += static_cast<double>(va_arg(arguments, long)); break;
        case 'd': sum += va_arg(arguments, double); break;
        case 'e': sum += static_cast<double>(va_arg(arguments, long double)); break;
        default: sum += static_cast<double>(va_arg(arguments, two_words).b); break;
        }
    }
    va_end(arguments);
    return sum;
}
TRACED int formats(char* out, std::size_t size, const char* format, ...) {
    std::va_list arguments;
    va_start(arguments, format);
    const int length = std::vsnprintf(out, size, format, arguments);
    va_end(arguments);
    return length;
}

// And passes on the results of functions that are called with everything in use.
TRACED double many(int a, long b, char c, short d, int e, int f, int g, double h, double i,
                   double j, double k, double l, double m, double n, double o, double p, float q,
                   two_words r) {
    KEEP(a);
    return static_cast<double>(a + b + c + d + e + f + g + r.a + r.b) + h + i + j + k + l + m + n +
           o + p + static_cast<double>(q);
}

}  // namespace scenario

int main() {
    using namespace scenario;
    using recorder::expect;
    expect(flag_twice(5) && !flag_twice(6), "bool");
    expect(byte_twice(5) == 240, "byte");
    expect(word_twice(5) == 6000000042, "word");
    expect(wide_twice(5) == static_cast<int128>(6) << 70, "rax:rdx, one integer");
    const two_words w = words_twice(5);
    expect(w.a == 6 && w.b == -6, "rax:rdx");
    const packed s = small_twice(5);
    expect(s.a == 6 && s.b == 'b' && s.c == 'c' && s.d == 'd', "a few bytes");
    expect(single_twice(5) == 1.5F, "xmm0, float");
    expect(number_twice(5) == 0.75, "xmm0");
    const two_doubles d = doubles_twice(5);
    expect(d.a == 3 && d.b == 1.5, "xmm0:xmm1");
    const floats t = three_twice(5);
    expect(t.a == 1.5F && t.b == 2.5F && t.c == 6.0F, "xmm0:xmm1, packed");
    const word_and_double wd = integer_first_twice(5);
    expect(wd.a == 6 && wd.b == 3, "rax and xmm0");
    const double_and_word dw = number_first_twice(5);
    expect(dw.a == 3 && dw.b == 6, "xmm0 and rax");
    expect(extended_twice(5) == 2.0L, "st0");
    const _Complex double cd = complex_double_twice(5);
    expect(__real__ cd == 6 && __imag__ cd == 3, "xmm0:xmm1, complex");
    const _Complex long double ce = complex_extended_twice(5);
    expect(__real__ ce == 6 && __imag__ ce == 2, "st0:st1");
    const large m = memory_twice(5);
    expect(m.words[0] == 6 && m.words[8] == 14, "memory");
    expect(in_memory_twice(5).value == 6, "memory, not copied on the way");
    expect(text_twice(5) == std::string(60, 'x'), "a string");
    const __m128 v = vector128_twice(5);
    expect(_mm_cvtss_f32(v) == 6.0F, "a vector");
    expect(!__builtin_cpu_supports("avx") || vectors(), "a wide vector");

    expect(sums("") == 0 && sums("iii", 1, 2, 3) == 6, "variadic, integers");
    expect(sums("dddddddddd", 1., 2., 3., 4., 5., 6., 7., 8., 9., 10.) == 55, "variadic, doubles");
    expect(sums("ildies", 1, 2L, 3.5, 4, 5.0L, two_words{6, 7}) == 22.5, "variadic, mixed");
    char line[40];
    expect(formats(line, sizeof line, "%d %s %.1f %c", 1, "two", 3.0, '4') == 11 &&
               std::strcmp(line, "1 two 3.0 4") == 0,
           "variadic, format");
    expect(many(1, 2, 3, 4, 5, 6, 7, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0.5F, {10, 20}) == 103.5, "many");
    // No value was left on the x87 stack: eight more fit.
    long double left[8];
    for (int i = 0; i < 8; ++i) left[i] = extended_twice(3 * i + 2);
    for (int i = 0; i < 8; ++i) expect(left[i] == i + 1, "x87 stack");
    std::puts("done");
}
