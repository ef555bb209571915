// The types the torture test passes and returns: for each a way to make a value from a seed, and
// equality.
#pragma once

#include <array>
#include <complex>
#include <cstddef>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace torture {

__extension__ typedef __int128 int128;
__extension__ typedef unsigned __int128 uint128;
__extension__ typedef _Complex float complex_f;
__extension__ typedef _Complex double complex_d;
__extension__ typedef _Complex long double complex_ld;
__extension__ typedef __float128 float128;
typedef float v4f __attribute__((vector_size(16)));
typedef double v2d __attribute__((vector_size(16)));
typedef long v2l __attribute__((vector_size(16)));
#if defined(__AVX__)
typedef float v8f __attribute__((vector_size(32)));
typedef long v4l __attribute__((vector_size(32)));
#else
struct v8f;  // no such type without the registers: the compilers pass it in another way then
struct v4l;
#endif
#if defined(__AVX512F__)
typedef double v8d __attribute__((vector_size(64)));
#else
struct v8d;
#endif

/// A number in which every byte depends on the seed and no two seeds agree.
constexpr unsigned long mix(unsigned long seed) {
    seed += 0x9e3779b97f4a7c15;
    seed = (seed ^ (seed >> 30)) * 0xbf58476d1ce4e5b9;
    seed = (seed ^ (seed >> 27)) * 0x94d049bb133111eb;
    return seed ^ (seed >> 31);
}

inline int objects[256];
struct host {
    int first[256];
    void f(int) {}
    void g(int) {}
};
inline void function_a() {}
inline void function_b() {}

enum e_default { e_zero, e_max = 0x7fffffff };

/// Any value of T. A class says how by `static T make(seed)`.
template <typename T>
T make(unsigned long seed) {
    const unsigned long m = mix(seed);
    if constexpr (requires { T::make(seed); })
        return T::make(seed);
    else if constexpr (std::is_same_v<T, bool>)
        return (m & 1) != 0;
    else if constexpr (std::is_same_v<T, int128> || std::is_same_v<T, uint128>)
        return static_cast<T>(static_cast<uint128>(m) << 64 | mix(m));
    else if constexpr (std::is_same_v<T, std::nullptr_t>)
        return nullptr;
    else if constexpr (std::is_same_v<T, e_default>)
        return static_cast<T>(m % (1UL << 31));
    else if constexpr (std::is_integral_v<T> || std::is_enum_v<T>)
        return static_cast<T>(m);
    else if constexpr (std::is_same_v<T, void (*)()>)
        return (m & 1) != 0 ? function_a : function_b;
    else if constexpr (std::is_pointer_v<T>)
        return reinterpret_cast<T>(&objects[m % 256]);
    else if constexpr (std::is_same_v<T, void (host::*)(int)>)
        return (m & 1) != 0 ? &host::f : &host::g;
    else if constexpr (std::is_same_v<T, complex_f> || std::is_same_v<T, complex_d> ||
                       std::is_same_v<T, complex_ld>) {
        T value{};
        __real__ value = static_cast<float>(m % 1000000);
        __imag__ value = static_cast<float>(mix(m) % 1000000);
        return value;
    } else if constexpr (std::is_same_v<T, v4f> || std::is_same_v<T, v8f>) {
        T value{};
        for (std::size_t i = 0; i < sizeof(T) / 4; ++i)
            value[i] = static_cast<float>(mix(m + i) % 1000000);
        return value;
    } else if constexpr (std::is_same_v<T, v2d> || std::is_same_v<T, v8d>) {
        T value{};
        for (std::size_t i = 0; i < sizeof(T) / 8; ++i)
            value[i] = static_cast<double>(mix(m + i) % 1000000000);
        return value;
    } else if constexpr (std::is_same_v<T, v2l> || std::is_same_v<T, v4l>) {
        T value{};
        for (std::size_t i = 0; i < sizeof(T) / 8; ++i) value[i] = static_cast<long>(mix(m + i));
        return value;
    } else
        return static_cast<T>(static_cast<double>(m % 10000000));
}

template <typename T>
bool equal(const T& a, const T& b) {
    if constexpr (std::is_same_v<T, v4f> || std::is_same_v<T, v8f> || std::is_same_v<T, v2d> ||
                  std::is_same_v<T, v8d> || std::is_same_v<T, v2l> || std::is_same_v<T, v4l>)
        return std::memcmp(&a, &b, sizeof a) == 0;
    else if constexpr (std::is_same_v<T, std::nullptr_t>)
        return true;
    else
        return a == b;
}

enum class e_i8 : signed char {};
enum class e_u16 : unsigned short {};
enum class e_i32 : int {};
enum class e_u64 : unsigned long {};

template <typename T>
T at(unsigned long seed, unsigned long n) {
    return make<T>(mix(seed) + n);
}
template <typename A>
void fill(A& array, unsigned long seed) {
    unsigned long n = 0;
    for (auto& element : array) element = at<std::remove_reference_t<decltype(element)>>(seed, ++n);
}

// Members a, b, c in order, equal if all members are.
#define TORTURE_STRUCT1(name, A)                                             \
    struct name {                                                            \
        A a;                                                                 \
        bool operator==(const name&) const = default;                        \
        static name make(unsigned long s) { return {torture::at<A>(s, 1)}; } \
    }
#define TORTURE_STRUCT2(name, A, B)                                                                \
    struct name {                                                                                  \
        A a;                                                                                       \
        B b;                                                                                       \
        bool operator==(const name&) const = default;                                              \
        static name make(unsigned long s) { return {torture::at<A>(s, 1), torture::at<B>(s, 2)}; } \
    }
#define TORTURE_STRUCT3(name, A, B, C)                                                 \
    struct name {                                                                      \
        A a;                                                                           \
        B b;                                                                           \
        C c;                                                                           \
        bool operator==(const name&) const = default;                                  \
        static name make(unsigned long s) {                                            \
            return {torture::at<A>(s, 1), torture::at<B>(s, 2), torture::at<C>(s, 3)}; \
        }                                                                              \
    }
#define TORTURE_ARRAY(name, A, n)                     \
    struct name {                                     \
        A a[n];                                       \
        bool operator==(const name&) const = default; \
        static name make(unsigned long s) {           \
            name v;                                   \
            fill(v.a, s);                             \
            return v;                                 \
        }                                             \
    }

// INTEGER
TORTURE_STRUCT1(s_c, char);
TORTURE_STRUCT2(s_sc, short, char);
TORTURE_STRUCT2(s_ii, int, int);
TORTURE_STRUCT1(s_l, long);
TORTURE_STRUCT2(s_ll, long, long);
TORTURE_STRUCT2(s_pi, void*, int);
TORTURE_STRUCT3(s_ccl, char, char, long);
TORTURE_STRUCT1(s_i128, int128);
TORTURE_ARRAY(s_i3, int, 3);
TORTURE_ARRAY(s_c5, char, 5);
TORTURE_ARRAY(s_c9, char, 9);
TORTURE_ARRAY(s_c16, char, 16);
// SSE
TORTURE_STRUCT1(s_f, float);
TORTURE_STRUCT2(s_ff, float, float);
TORTURE_STRUCT1(s_d, double);
TORTURE_STRUCT2(s_dd, double, double);
TORTURE_STRUCT3(s_ffd, float, float, double);
TORTURE_STRUCT3(s_fff, float, float, float);
TORTURE_ARRAY(s_f4, float, 4);
// both
TORTURE_STRUCT2(s_dl, double, long);
TORTURE_STRUCT2(s_ld, long, double);
TORTURE_STRUCT2(s_if, int, float);
TORTURE_STRUCT2(s_dc, double, char);
TORTURE_STRUCT2(s_cd, char, double);
TORTURE_STRUCT3(s_ffi, float, float, int);
TORTURE_STRUCT3(s_iff, int, float, float);
TORTURE_STRUCT2(s_nested, s_ff, s_ii);
TORTURE_STRUCT2(s_nested_mixed, s_if, s_d);
// MEMORY
TORTURE_ARRAY(m_l3, long, 3);
TORTURE_ARRAY(m_c17, char, 17);
TORTURE_ARRAY(m_c40, char, 40);
TORTURE_ARRAY(m_d4, double, 4);
TORTURE_ARRAY(m_l8, long, 8);
TORTURE_STRUCT1(m_ld, long double);
TORTURE_STRUCT2(m_lds, long double, short);
struct alignas(16) a16_ll {
    long a, b;
    bool operator==(const a16_ll&) const = default;
    static a16_ll make(unsigned long s) { return {at<long>(s, 1), at<long>(s, 2)}; }
};
struct alignas(32) a32_i {
    int a;
    bool operator==(const a32_i&) const = default;
    static a32_i make(unsigned long s) { return {at<int>(s, 1)}; }
};
// no member at all, or nothing in the members
struct empty {
    bool operator==(const empty&) const = default;
    static empty make(unsigned long) { return {}; }
};
struct empty_nested {
    empty e;
    bool operator==(const empty_nested&) const = default;
    static empty_nested make(unsigned long) { return {}; }
};
struct empty_derived : empty {
    bool operator==(const empty_derived&) const = default;
    static empty_derived make(unsigned long) { return {}; }
};
struct empty_then_float : empty {
    float a;
    bool operator==(const empty_then_float&) const = default;
    static empty_then_float make(unsigned long s) { return {{}, at<float>(s, 1)}; }
};
struct empty_member_long {
    empty e;
    long a;
    bool operator==(const empty_member_long&) const = default;
    static empty_member_long make(unsigned long s) { return {{}, at<long>(s, 1)}; }
};
// bases
struct b_base {
    int a;
    char b;
    b_base() = default;
    bool operator==(const b_base&) const = default;
};
struct b_tail : b_base {  // may stand in the base's tail padding
    char c;
    bool operator==(const b_tail&) const = default;
    static b_tail make(unsigned long s) {
        b_tail v;
        v.a = at<int>(s, 1), v.b = at<char>(s, 2), v.c = at<char>(s, 3);
        return v;
    }
};
struct b_float : s_f {
    float b;
    double c;
    bool operator==(const b_float&) const = default;
    static b_float make(unsigned long s) {
        return {{at<float>(s, 1)}, at<float>(s, 2), at<double>(s, 3)};
    }
};
// private members
class p_private {
    int a_ = 0;
    double b_ = 0;

public:
    bool operator==(const p_private&) const = default;
    static p_private make(unsigned long s) {
        p_private v;
        v.a_ = at<int>(s, 1), v.b_ = at<double>(s, 2);
        return v;
    }
};
// unions
union u_fi {
    float f;
    int i;
    bool operator==(const u_fi& o) const { return i == o.i; }
    static u_fi make(unsigned long s) { return {.f = at<float>(s, 1)}; }
};
union u_df2 {
    double d;
    float f[2];
    bool operator==(const u_df2& o) const { return std::memcmp(this, &o, sizeof o) == 0; }
    static u_df2 make(unsigned long s) { return {.d = at<double>(s, 1)}; }
};
union u_ldi {
    long double d;
    int i;
    bool operator==(const u_ldi& o) const { return d == o.d; }
    static u_ldi make(unsigned long s) { return {.d = at<long double>(s, 1)}; }
};
union u_dll {
    double d[2];
    long l;
    bool operator==(const u_dll& o) const { return std::memcmp(this, &o, sizeof o) == 0; }
    static u_dll make(unsigned long s) {
        u_dll v;
        fill(v.d, s);
        return v;
    }
};
struct u_anonymous {
    __extension__ union {
        float f;
        int i;
    };
    float g;
    bool operator==(const u_anonymous& o) const { return i == o.i && g == o.g; }
    static u_anonymous make(unsigned long s) {
        u_anonymous v;
        v.i = at<int>(s, 1), v.g = at<float>(s, 2);
        return v;
    }
};
// bit-fields
struct f_small {
    int a : 3;
    int b : 5;
    bool operator==(const f_small&) const = default;
    static f_small make(unsigned long s) {
        return {static_cast<int>(mix(s) % 4), static_cast<int>(mix(s + 1) % 16)};
    }
};
struct f_long {
    long a : 40;
    long b : 50;
    bool operator==(const f_long&) const = default;
    static f_long make(unsigned long s) {
        f_long v;
        v.a = static_cast<int>(mix(s));
        v.b = static_cast<int>(mix(s + 1));
        return v;
    }
};
struct f_float {
    float a;
    unsigned b : 7;
    unsigned : 0;
    double c;
    // Written out: clang 16 does not finish compiling a defaulted one that meets an unnamed
    // bit-field.
    bool operator==(const f_float& o) const { return a == o.a && b == o.b && c == o.c; }
    static f_float make(unsigned long s) {
        return {at<float>(s, 1), static_cast<unsigned>(mix(s) % 128), at<double>(s, 2)};
    }
};
// packed
struct __attribute__((packed)) k_ci {
    char a;
    int b;
    bool operator==(const k_ci& o) const { return std::memcmp(this, &o, sizeof o) == 0; }
    static k_ci make(unsigned long s) { return {at<char>(s, 1), at<int>(s, 2)}; }
};
struct __attribute__((packed)) k_fd {
    float a;
    double b;
    bool operator==(const k_fd& o) const { return std::memcmp(this, &o, sizeof o) == 0; }
    static k_fd make(unsigned long s) { return {at<float>(s, 1), at<double>(s, 2)}; }
};
struct __attribute__((packed, aligned(8))) k_aligned {
    char a;
    double b;
    char c[7];
    bool operator==(const k_aligned& o) const { return std::memcmp(this, &o, sizeof o) == 0; }
    static k_aligned make(unsigned long s) {
        k_aligned v{at<char>(s, 1), at<double>(s, 2), {}};
        fill(v.c, s);
        return v;
    }
};
// vectors in classes
struct v_m128 {
    v4f a;
    bool operator==(const v_m128& o) const { return equal(a, o.a); }
    static v_m128 make(unsigned long s) { return {torture::make<v4f>(s)}; }
};
#if defined(__AVX__)
struct v_m256 {
    v8f a;
    bool operator==(const v_m256& o) const { return equal(a, o.a); }
    static v_m256 make(unsigned long s) { return {torture::make<v8f>(s)}; }
};
#endif
// passed by address
struct n_copy {
    int a;
    explicit n_copy(int v) : a(v) {}
    n_copy(const n_copy& o) : a(o.a) {}
    bool operator==(const n_copy&) const = default;
    static n_copy make(unsigned long s) { return n_copy(at<int>(s, 1)); }
};
struct n_destroy {
    int a;
    ~n_destroy() { a = -1; }
    bool operator==(const n_destroy&) const = default;
    static n_destroy make(unsigned long s) { return {at<int>(s, 1)}; }
};
struct n_virtual {
    int a;
    explicit n_virtual(int v) : a(v) {}
    n_virtual(const n_virtual&) = default;
    virtual int get() const { return a; }
    virtual ~n_virtual() = default;
    bool operator==(const n_virtual& o) const { return a == o.get(); }
    static n_virtual make(unsigned long s) { return n_virtual(at<int>(s, 1)); }
};
struct n_string {
    std::string a;
    bool operator==(const n_string&) const = default;
    static n_string make(unsigned long s) {
        return {std::to_string(mix(s)) + " and what does not fit in place"};
    }
};
struct n_unique {
    std::unique_ptr<long> a;
    bool operator==(const n_unique& o) const { return *a == *o.a; }
    static n_unique make(unsigned long s) { return {std::make_unique<long>(at<long>(s, 1))}; }
};
// not trivially copyable by the trait, and passed in registers all the same
struct t_assign {
    int a;
    float b;
    t_assign(int x, float y) : a(x), b(y) {}
    t_assign(const t_assign&) = default;
    t_assign& operator=(const t_assign& o) {
        a = o.a, b = o.b;
        return *this;
    }
    bool operator==(const t_assign&) const = default;
    static t_assign make(unsigned long s) { return {at<int>(s, 1), at<float>(s, 2)}; }
};
struct t_move_only {
    long a;
    explicit t_move_only(long v) : a(v) {}
    t_move_only(const t_move_only&) = delete;
    t_move_only(t_move_only&&) = default;
    bool operator==(const t_move_only&) const = default;
    static t_move_only make(unsigned long s) { return t_move_only(at<long>(s, 1)); }
};

template <>
inline std::complex<float> make(unsigned long s) {
    return {at<float>(s, 1), at<float>(s, 2)};
}
template <>
inline std::complex<double> make(unsigned long s) {
    return {at<double>(s, 1), at<double>(s, 2)};
}
template <>
inline std::complex<long double> make(unsigned long s) {
    return {at<long double>(s, 1), at<long double>(s, 2)};
}
template <>
inline std::string_view make(unsigned long s) {
    return {reinterpret_cast<const char*>(objects) + mix(s) % 512, mix(s + 1) % 100};
}
template <>
inline std::pair<int, float> make(unsigned long s) {
    return {at<int>(s, 1), at<float>(s, 2)};
}
template <>
inline std::array<short, 5> make(unsigned long s) {
    std::array<short, 5> v;
    fill(v, s);
    return v;
}
template <>
inline std::optional<int> make(unsigned long s) {
    return at<int>(s, 1);
}
template <>
inline int host::* make(unsigned long s) {
    int host::* p = nullptr;
    const long offset = static_cast<long>(mix(s) % 256 * sizeof(int));
    std::memcpy(&p, &offset, sizeof p);
    return p;
}

}  // namespace torture
