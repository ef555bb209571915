#include <catch2/catch_test_macros.hpp>
#include <complex>
#include <ftrace/args/args.hpp>
#include "hand_hooked.hpp"

using namespace hand_hooked;

namespace {

__extension__ typedef _Complex long double complex_long_double;
__extension__ typedef __int128 int128;
__extension__ typedef unsigned __int128 uint128;
struct small {
    long a;
    double b;
};
struct sse_pair {
    double a, b;
};
struct large {
    long words[9];
};
typedef float float8 __attribute__((vector_size(32)));
typedef float float16 __attribute__((vector_size(64)));

HOOKED int returns_int(int x) {
    HOOK_RETURN(gops(), 1);
    return x + 1;
}
HOOKED int128 returns_int128(long high, unsigned long low) {
    HOOK_RETURN(gops(), 2);
    return static_cast<int128>((static_cast<uint128>(high) << 64) | low);
}
HOOKED double returns_double(double x) {
    HOOK_RETURN(gops(), 3);
    return x * 2;
}
HOOKED sse_pair returns_two_doubles(double x) {
    HOOK_RETURN(gops(), 4);
    return {x, -x};
}
HOOKED long double returns_long_double(long double x) {
    HOOK_RETURN(gops(), 5);
    return x * 2;
}
HOOKED std::complex<long double> returns_complex(long double x) {
    HOOK_RETURN(gops(), 6);
    return {x, -x};
}
HOOKED complex_long_double returns_c_complex(long double x) {
    HOOK_RETURN(gops(), 6);
    complex_long_double value;
    __real__ value = x;
    __imag__ value = -x;
    return value;
}
HOOKED small returns_mixed(long a, double b) {
    HOOK_RETURN(gops(), 7);
    return {a, b};
}
HOOKED large returns_memory(long a) {
    HOOK_RETURN(gops(), 8);
    large value{};
    for (long& word : value.words) word = a++;
    return value;
}
HOOKED __attribute__((target("avx"))) float8 returns_m256(float x) {
    HOOK_RETURN(gops(), 9);
    return float8{x, x + 1, x + 2, x + 3, x + 4, x + 5, x + 6, x + 7};
}
__attribute__((target("avx"), noinline)) bool m256_survives() {
    const float8 v = opaque(returns_m256)(1);
    for (int i = 0; i < 8; ++i)
        if (v[i] != static_cast<float>(i + 1)) return false;
    return true;
}
HOOKED __attribute__((target("avx512f"))) float16 returns_m512(float x) {
    HOOK_RETURN(gops(), 9);
    float16 v;
    for (int i = 0; i < 16; ++i) v[i] = x + static_cast<float>(i);
    return v;
}
__attribute__((target("avx512f"), noinline)) bool m512_survives() {
    const float16 v = opaque(returns_m512)(1);
    for (int i = 0; i < 16; ++i)
        if (v[i] != static_cast<float>(i + 1)) return false;
    return true;
}

}  // namespace

TEST_CASE("return trampoline: results of every class survive a callback that destroys registers",
          "[graph]") {
    gops();
    const counts before;
    errno = 5;
    const int result = opaque(returns_int)(41);
    const int error_number = errno;
    CHECK(result == 42);
    CHECK(error_number == 5);
    CHECK(last_return.retval == 42);
    CHECK(last_return.func == 1);
    CHECK(opaque(returns_int128)(3, 4) == ((static_cast<int128>(3) << 64) | 4));
    CHECK(opaque(returns_double)(1.25) == 2.5);
    const auto two = opaque(returns_two_doubles)(1.5);
    CHECK((two.a == 1.5 && two.b == -1.5));
    CHECK(opaque(returns_long_double)(1.25L) == 2.5L);
    CHECK(opaque(returns_complex)(1.25L) == std::complex<long double>(1.25L, -1.25L));
    const complex_long_double c = opaque(returns_c_complex)(2.5L);
    CHECK((__real__ c == 2.5L && __imag__ c == -2.5L));
    const auto mixed = opaque(returns_mixed)(7, 8.5);
    CHECK((mixed.a == 7 && mixed.b == 8.5));
    const auto memory = opaque(returns_memory)(100);
    for (long i = 0; i < 9; ++i) CHECK(memory.words[i] == 100 + i);
    CHECK(before.new_entries() == 9);
    CHECK(before.new_returns() == before.new_entries());
    if (arch::widest_vector_register() != arch::vector_width::xmm) CHECK(m256_survives());
    if (arch::widest_vector_register() == arch::vector_width::zmm) CHECK(m512_survives());
}

namespace {
long double seen_result;
HOOKED long double returns_to(fgraph_ops& by, long double x) {
    HOOK_RETURN(by, 9);
    return x * 2;
}
}  // namespace

TEST_CASE("return trampoline: x87 results, wherever the x87 stack's top is", "[graph]") {
    static fgraph_ops& changes = make_ops(
        nullptr, [](const ftrace_graph_ret& call, fgraph_ops& self, ftrace_regs& regs) noexcept {
            seen_result = regs_get_return_value<long double>(regs);
            on_return(call, self, regs);
            regs_set_return_value<long double>(regs, seen_result + 1);
        });
    for (int top = 0; top < 8; ++top) {
        CAPTURE(top);
        __asm__ volatile("fincstp");  // the stack is empty: only its top moves
        const long double result = opaque(returns_to)(changes, 1.25L + top);
        CHECK(seen_result == 2.5L + 2 * top);
        CHECK(result == 3.5L + 2 * top);
    }
    remove_ops(changes);
}
