// Classes that are passed in unusual ways, and accessors under ARGS_INTEGER.
#include <ftrace/ftrace.hpp>
#include <ftrace/graph/fgraph.hpp>

#include <catch2/catch_test_macros.hpp>

#include <atomic>
#include <string>

namespace odd_types {

// All copy and move constructors deleted: passed by address, though trivially copyable for gcc.
struct fixed {
    int value;
    explicit fixed(int v) : value(v) {}
    fixed(const fixed&) = delete;
    fixed& operator=(const fixed&) = delete;
};
struct big_fixed {
    long value[5];
    explicit big_fixed(long v) : value{v, v, v, v, v} {}
    big_fixed(big_fixed&&) = delete;
};
// Passed in registers, but the copies are nobody's business.
class secret {
public:
    FTRACE_NOTRACE static secret make(int v) { return secret(v); }
    FTRACE_NOTRACE static int add(int (*f)(secret, int), int v, int n) { return f(secret(v), n); }
    int value;

private:
    explicit secret(int v) : value(v) {}
    secret(const secret&) = default;
};
class long_secret {
public:
    FTRACE_NOTRACE static int add(int (*f)(long_secret, int), long v, int n) {
        return f(long_secret(v), n);
    }
    long value[2];

private:
    explicit long_secret(long v) : value{v, v} {}
    long_secret(const long_secret&) = default;
};
struct from_lvalue {
    int value;
    explicit from_lvalue(int v) : value(v) {}
    from_lvalue(from_lvalue&) = default;
};
struct explicit_copy {
    int value;
    explicit explicit_copy(int v) : value(v) {}
    explicit explicit_copy(const explicit_copy&) = default;
};
struct copy_only {
    int a;
    float b;
    copy_only(int x, float y) : a(x), b(y) {}
    copy_only(const copy_only&) = default;
    copy_only(copy_only&&) = delete;
};
struct trio {
    int a, b, c;
};
struct incomplete;
struct mixed {
    int a;
    float b;
};

FTRACE_TRACEABLE int of_fixed(fixed f, int n) { return f.value + n; }
FTRACE_TRACEABLE int of_big_fixed(double, big_fixed f, int n) { return int(f.value[4]) + n; }
FTRACE_TRACEABLE int of_atomic(std::atomic<int> a, int n) { return a.load() + n; }
FTRACE_TRACEABLE fixed make_fixed(int n) { return fixed(n); }
FTRACE_TRACEABLE std::atomic<int> make_atomic(int n) { return std::atomic<int>(n); }
FTRACE_TRACEABLE int of_secret(secret s, int n) { return s.value + n; }
FTRACE_TRACEABLE int of_long_secret(long_secret s, int n) { return int(s.value[1]) + n; }
FTRACE_TRACEABLE int of_from_lvalue(from_lvalue f, int n) { return f.value + n; }
FTRACE_TRACEABLE int of_explicit_copy(explicit_copy e, int n) { return e.value + n; }
FTRACE_TRACEABLE int of_copy_only(copy_only c, double d) { return c.a + int(c.b) + int(d); }
FTRACE_TRACEABLE int beside(mixed m, incomplete& i, int (&function)(int)) {
    return m.a + int(m.b) + function(reinterpret_cast<mixed&>(i).a);
}
using complex = ftrace::arch::complex_long_double;
FTRACE_TRACEABLE complex make_complex(int n) {
    complex c;
    __real__ c = n;
    __imag__ c = 2;
    return c;
}
FTRACE_NOTRACE int successor(int n) { return n + 1; }
FTRACE_NOTRACE int predecessor(int n) { return n - 1; }
FTRACE_TRACEABLE int (&choose(int n))(int) { return n == 0 ? predecessor : successor; }
FTRACE_TRACEABLE int of_trio(trio t) { return t.a + t.b + t.c; }
FTRACE_TRACEABLE int formatted(const char* format, ...) { return format[0]; }
FTRACE_TRACEABLE int plain(int a, double b) { return a + int(b); }
FTRACE_TRACEABLE mixed make_mixed(int a) { return {a, 2}; }
FTRACE_TRACEABLE const std::string& name(int n) {
    static std::string names[2] = {"zero", "one"};
    return names[n & 1];
}

// Called through pointers that no compiler can see through.
auto* volatile call_of_fixed = of_fixed;
auto* volatile call_of_big_fixed = of_big_fixed;
auto* volatile call_of_atomic = of_atomic;
auto* volatile call_make_fixed = make_fixed;
auto* volatile call_make_atomic = make_atomic;
auto* volatile call_of_secret = of_secret;
auto* volatile call_of_long_secret = of_long_secret;
auto* volatile call_of_from_lvalue = of_from_lvalue;
auto* volatile call_of_explicit_copy = of_explicit_copy;
auto* volatile call_of_copy_only = of_copy_only;
auto* volatile call_beside = beside;
auto* volatile call_make_complex = make_complex;
auto* volatile call_choose = choose;
auto* volatile call_of_trio = of_trio;
auto* volatile call_formatted = formatted;
auto* volatile call_plain = plain;
auto* volatile call_make_mixed = make_mixed;
auto* volatile call_name = name;

}  // namespace odd_types

namespace {
using namespace odd_types;
using namespace ftrace;

int held = 0;  // checks that held; Catch2's macros are not for callbacks
void check(bool condition) noexcept { held += condition ? 1 : 0; }

/// Calls `call` while `Callback` runs on entry of `function`.
template <auto Callback, save_policy Policy = ARGS, typename Function, typename Call>
void traced(Function* function, Call call) {
    static ops<Callback, Policy> op;
    REQUIRE(op.set_filter_ip(reinterpret_cast<std::uintptr_t>(function), false, true).has_value());
    auto handle = register_ftrace_function(op);
    REQUIRE(handle.has_value());
    held = 0;
    call();
}

bool enter(const ftrace_graph_ent&, fgraph_ops&, ftrace_regs&) noexcept { return true; }
void (*on_exit_of)(ftrace_regs&) = nullptr;
void leave(const ftrace_graph_ret&, fgraph_ops&, ftrace_regs& regs) noexcept { on_exit_of(regs); }
template <typename Function, typename Call>
void returned(Function* function, void (*on_exit)(ftrace_regs&), Call call) {
    static fgraph_ops op(enter, leave);
    on_exit_of = on_exit;
    REQUIRE(
        op.ops.set_filter_ip(reinterpret_cast<std::uintptr_t>(function), false, true).has_value());
    auto handle = register_ftrace_graph(op);
    REQUIRE(handle.has_value());
    held = 0;
    call();
}

#define CALLBACK(name) \
    void name(unsigned long, unsigned long, ftrace_ops&, ftrace_regs& regs) noexcept
#define INTEGER_CALLBACK(name)                                    \
    FTRACE_NO_INSTRUMENTATION FTRACE_GENERAL_REGS_ONLY void name( \
        unsigned long, unsigned long, ftrace_ops&, integer_regs& regs) noexcept

fixed other_fixed(500);
CALLBACK(in_of_fixed) {
    check(regs_get_argument<1, &of_fixed>(regs) == 7);
    fixed& f = regs_get_argument<0, &of_fixed>(regs);
    check(f.value == 42);
    f.value = 43;
    regs_set_argument<1, &of_fixed>(regs, 8);
}
CALLBACK(replace_fixed) { regs_set_argument<0, &of_fixed>(regs, other_fixed); }
CALLBACK(in_of_big_fixed) {
    check(regs_get_argument<0, &of_big_fixed>(regs) == 1.5);
    check(regs_get_argument<1, &of_big_fixed>(regs).value[4] == 42);
    check(regs_get_argument<2, &of_big_fixed>(regs) == 7);
}
CALLBACK(in_of_atomic) {
    check(regs_get_argument<0, &of_atomic>(regs).fetch_add(1) == 42);
    check(regs_get_argument<1, &of_atomic>(regs) == 7);
}
CALLBACK(in_make_fixed) {
    check(regs_get_argument<0, &make_fixed>(regs) == 9);
    regs_set_argument<0, &make_fixed>(regs, 10);
}
CALLBACK(in_make_atomic) { override_function_with_return<&make_atomic>(regs, 5); }
CALLBACK(in_of_secret) {
    check(regs_get_argument<0, &of_secret>(regs).value == 42);
    check(regs_get_argument<1, &of_secret>(regs) == 7);
    regs_get_argument<0, &of_secret>(regs).value = 50;
}
CALLBACK(in_of_long_secret) { check(regs_get_argument<1, &of_long_secret>(regs) == 7); }
CALLBACK(in_of_from_lvalue) {
    check(regs_get_argument<0, &of_from_lvalue>(regs).value == 42);
    check(regs_get_argument<1, &of_from_lvalue>(regs) == 7);
    from_lvalue other(50);
    regs_set_argument<0, &of_from_lvalue>(regs, other);
}
CALLBACK(in_of_explicit_copy) {
    check(regs_get_argument<0, &of_explicit_copy>(regs).value == 42);
    check(regs_get_argument<1, &of_explicit_copy>(regs) == 7);
    regs_set_argument<0, &of_explicit_copy>(regs, explicit_copy(50));
}
CALLBACK(in_of_copy_only) {
    auto&& c = regs_get_argument<0, &of_copy_only>(regs);
    check(c.a == 3 && c.b == 4.5f);
    check(regs_get_argument<1, &of_copy_only>(regs) == 7.5);
}
mixed object_in_place{0, 0};  // of the incomplete class, as far as addresses go
CALLBACK(in_beside) {
    check(regs_get_argument<0, &beside>(regs).b == 2);
    check(reinterpret_cast<mixed*>(&regs_get_argument<1, &beside>(regs)) == &object_in_place);
    check(&regs_get_argument<2, &beside>(regs) == &successor);
}
INTEGER_CALLBACK(override_by_integers) {
    check(regs_get_argument<0, &plain>(regs) == 1);
    override_function_with_return<&plain>(regs, 5);
}
INTEGER_CALLBACK(override_untyped_by_integers) { override_function_with_return(regs, 6); }
INTEGER_CALLBACK(tail_by_integers) {
    auto tail = regs_get_variadic<&formatted>(regs);
    check(tail.next<int>() == 2);
    check(tail.next<const char*>()[0] == 't');
}
// No callback shows a result under ARGS_INTEGER: it has to compile.
INTEGER_CALLBACK(result_by_integers) {
    (void)regs_get_return_value<&plain>(regs);
    regs_set_return_value<&plain>(regs, 3);
    override_function_with_return<&plain>(regs, 7);
}
INTEGER_CALLBACK(in_of_trio) {
    trio t = regs_get_argument<0, &of_trio>(regs);
    check(t.a == 1 && t.b == 2 && t.c == 3);
    t.c = 4;
    regs_set_argument<0, &of_trio>(regs, t);
}
std::string fake_name = "fake";
CALLBACK(another_name) { override_function_with_return<&name>(regs, fake_name); }

static_assert(std::is_same_v<decltype(regs_get_return_value<&choose>(std::declval<ftrace_regs&>())),
                             int (&)(int)>);

}  // namespace

TEST_CASE("odd types: a class that cannot be copied is the caller's object", "[args]") {
    traced<in_of_fixed>(&of_fixed, [] { CHECK(call_of_fixed(fixed(42), 7) == 51); });
    CHECK(held == 2);
    traced<replace_fixed>(&of_fixed, [] { CHECK(call_of_fixed(fixed(42), 7) == 507); });
    traced<in_of_big_fixed>(&of_big_fixed,
                            [] { CHECK(call_of_big_fixed(1.5, big_fixed(42), 7) == 49); });
    CHECK(held == 3);
    traced<in_of_atomic>(&of_atomic, [] { CHECK(call_of_atomic(std::atomic<int>(42), 7) == 50); });
    CHECK(held == 2);
}

TEST_CASE("odd types: a result that cannot be copied", "[args]") {
    traced<in_make_fixed>(&make_fixed, [] { CHECK(call_make_fixed(9).value == 10); });
    CHECK(held == 1);
    traced<in_make_atomic>(&make_atomic, [] { CHECK(call_make_atomic(9).load() == 5); });
    returned(
        &make_atomic,
        [](ftrace_regs& regs) {
            check(regs_get_return_value<&make_atomic>(regs).exchange(3) == 9);
        },
        [] { CHECK(call_make_atomic(9).load() == 3); });
    CHECK(held == 1);
}

TEST_CASE("odd types: classes with few constructors, in registers", "[args]") {
    traced<in_of_secret>(&of_secret, [] { CHECK(secret::add(call_of_secret, 42, 7) == 57); });
    CHECK(held == 2);
    traced<in_of_long_secret>(&of_long_secret,
                              [] { CHECK(long_secret::add(call_of_long_secret, 42, 7) == 49); });
    CHECK(held == 1);
    traced<in_of_from_lvalue>(&of_from_lvalue,
                              [] { CHECK(call_of_from_lvalue(from_lvalue(42), 7) == 57); });
    CHECK(held == 2);
    traced<in_of_explicit_copy>(&of_explicit_copy,
                                [] { CHECK(call_of_explicit_copy(explicit_copy(42), 7) == 57); });
    CHECK(held == 2);
    traced<in_of_copy_only>(&of_copy_only,
                            [] { CHECK(call_of_copy_only(copy_only(3, 4.5f), 7.5) == 14); });
    CHECK(held == 2);
}

TEST_CASE("odd types: references to an incomplete class and to a function, beside a class",
          "[args]") {
    traced<in_beside>(&beside, [] {
        CHECK(call_beside({1, 2}, reinterpret_cast<incomplete&>(object_in_place), successor) == 4);
    });
    CHECK(held == 3);
}

TEST_CASE("odd types: a const result, and one that refers to a function", "[args]") {
    returned(
        &make_complex,
        [](ftrace_regs& regs) {
            const complex c = regs_get_return_value<const complex>(regs);
            check(__real__ c == 41 && __imag__ c == 2);
        },
        [] { CHECK(__real__ call_make_complex(41) == 41); });
    CHECK(held == 1);
    returned(
        &choose,
        [](ftrace_regs& regs) { check(&regs_get_return_value<&choose>(regs) == &successor); },
        [] { CHECK(call_choose(1)(2) == 3); });
    CHECK(held == 1);
}

TEST_CASE("odd types: a reference is set to an object that lives on", "[args]") {
    traced<another_name>(&name, [] { CHECK(call_name(1) == "fake"); });
    returned(
        &name, [](ftrace_regs& regs) { regs_set_return_value<&name>(regs, fake_name); },
        [] { CHECK(&call_name(1) == &fake_name); });
}

TEST_CASE("odd types: overriding and variadic tails under ARGS_INTEGER", "[args]") {
    traced<override_by_integers, ARGS_INTEGER>(&plain, [] { CHECK(call_plain(1, 2) == 5); });
    CHECK(held == 1);
    traced<override_untyped_by_integers, ARGS_INTEGER>(&plain,
                                                       [] { CHECK(call_plain(1, 2) == 6); });
    traced<result_by_integers, ARGS_INTEGER>(&plain, [] { CHECK(call_plain(1, 2) == 7); });
    traced<tail_by_integers, ARGS_INTEGER>(&formatted,
                                           [] { CHECK(call_formatted("x", 2, "tail") == 'x'); });
    CHECK(held == 2);
}

TEST_CASE("odd types: accessors do not depend on the direction flag", "[args]") {
    traced<in_of_trio, ARGS_INTEGER>(&of_trio, [] {
        CHECK(call_of_trio({1, 2, 3}) == 7);
        asm volatile("std" : : : "memory", "cc");
        const int sum = call_of_trio({1, 2, 3});
        asm volatile("cld" : : : "memory", "cc");
        CHECK(sum == 7);
    });
    CHECK(held == 2);
}
