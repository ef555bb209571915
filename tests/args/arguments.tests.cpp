// The accessors in callbacks of real ops, on functions of every kind of name.
#include <ftrace/ftrace.hpp>

#include <catch2/catch_test_macros.hpp>

#include <string>
#include <string_view>

// Not in an unnamed namespace: of functions that only this file can call, optimisers change the
// parameters.
namespace args_test {

struct parser {
    int base = 0;
    FTRACE_TRACEABLE long parse(std::string_view text, double scale) const {
        return base + static_cast<long>(static_cast<double>(text.size()) * scale);
    }
    FTRACE_TRACEABLE static int count(int a, short b) { return a + b; }
};
FTRACE_TRACEABLE int overloaded(int x) { return x; }
FTRACE_TRACEABLE double overloaded(double x) { return x; }
FTRACE_TRACEABLE long eight(long a, long b, long c, long d, long e, long f, long g, long h) {
    return a + 2 * b + 3 * c + 4 * d + 5 * e + 6 * f + 7 * g + 8 * h;
}
FTRACE_TRACEABLE std::size_t by_address(std::string text, const std::string& other) {
    return text.size() * 100 + other.size();
}
FTRACE_TRACEABLE int narrow(signed char a, unsigned short b, bool c) {
    return a * 10 + b + (c ? 1000 : 0);
}
FTRACE_TRACEABLE int formatted(const char* format, ...) { return static_cast<int>(format[0]); }
FTRACE_TRACEABLE double half(double x, int n) { return x / n; }
int other_calls = 0;
FTRACE_TRACEABLE double other_half(double x, int n) {
    ++other_calls;
    return x + n;
}
// Called through pointers that no compiler can see through.
auto* volatile call_eight = eight;
auto* volatile call_half = half;
int (*volatile call_of_int)(int) = overloaded;
double (*volatile call_of_double)(double) = overloaded;
auto* volatile call_formatted = formatted;
auto* volatile call_narrow = narrow;
auto* volatile call_count = parser::count;

}  // namespace args_test

namespace {
using namespace args_test;

// What a callback does is set by the test before the call.
void (*on_call)(ftrace::ftrace_regs&) = nullptr;
void callback(unsigned long, unsigned long, ftrace::ftrace_ops&,
              ftrace::ftrace_regs& regs) noexcept {
    if (on_call != nullptr) on_call(regs);
}
int checks = 0;  // that held; Catch2's macros are not for callbacks
void held(bool condition) noexcept { checks += condition ? 1 : 0; }

template <typename F>
std::uintptr_t address_of(F function) {
    std::uintptr_t address;
    static_assert(sizeof function >= sizeof address);
    __builtin_memcpy(&address, &function, sizeof address);
    return address;
}

/// Calls `call` while `in_callback` runs on entry of `function`.
template <auto Callback, ftrace::save_policy Policy, typename F, typename Call>
void traced(F function, Call call) {
    static ftrace::ops<Callback, Policy> op;
    REQUIRE(op.set_filter_ip(address_of(function), false, true).has_value());
    auto handle = ftrace::register_ftrace_function(op);
    REQUIRE(handle.has_value());
    checks = 0;
    call();
}
template <typename F, typename Call>
void traced(F function, void (*in_callback)(ftrace::ftrace_regs&), Call call) {
    on_call = in_callback;
    traced<callback, ftrace::ARGS>(function, call);
    const int by_args = checks;
    traced<callback, ftrace::SAVE_REGS>(function, call);
    CHECK(by_args == checks);
}

void in_eight(ftrace::ftrace_regs& regs) {
    held(ftrace::regs_get_argument<0>(regs) == 11 && ftrace::regs_get_argument<5>(regs) == 16);
    held(ftrace::regs_get_argument<6>(regs) == 17 && ftrace::regs_get_argument<7>(regs) == 18);
    held(ftrace::regs_get_argument<7, &eight>(regs) == 18);
    ftrace::regs_set_argument<0>(regs, 0);
    ftrace::regs_set_argument<7>(regs, 100);
}

void in_parse(ftrace::ftrace_regs& regs) {
    const parser* self = ftrace::regs_get_argument<0, &parser::parse>(regs);
    held(self->base == 1000);
    held(ftrace::regs_get_argument<1, &parser::parse>(regs) == "four");
    held(ftrace::regs_get_argument<2, &parser::parse>(regs) == 2.5);
    ftrace::regs_set_argument<1, &parser::parse>(regs, "sixsix");
    ftrace::regs_set_argument<2, &parser::parse>(regs, 10);
}

void in_by_address(ftrace::ftrace_regs& regs) {
    std::string& text = ftrace::regs_get_argument<0, &by_address>(regs);
    const std::string& other = ftrace::regs_get_argument<1, &by_address>(regs);
    held(text == "text" && other == "other");
    text += "!";  // the function's own parameter
    static const std::string replaced = "longer than before";
    ftrace::regs_set_argument<1, &by_address>(regs, replaced);
}

void in_formatted(ftrace::ftrace_regs& regs) {
    auto tail = ftrace::regs_get_variadic<&formatted>(regs);
    held(*ftrace::regs_get_argument<0, &formatted>(regs) == 'x');
    held(tail.next<int>() == -1);
    held(tail.next<double>() == 1.5);
    held(std::string_view(tail.next<const char*>()) == "tail");
    held(tail.next<long double>() == 3.25L);
    for (int i = 2; i <= 10; ++i) held(tail.next<double>() == i);
    for (long i = 20; i <= 24; ++i) held(tail.next<long>() == i);
    held(ftrace::regs_get_argument<2, int(const char*, int, double)>(regs) == 1.5);
}

unsigned long return_address_seen = 0;
void in_half(ftrace::ftrace_regs& regs) {
    using namespace ftrace;
    held(regs_get_return_address(regs) ==
         *reinterpret_cast<unsigned long*>(regs_get_stack_pointer(regs)));
    held(regs_get_instruction_pointer(regs) - address_of(&half) < 32);
    held(regs_get_register<reg::sp>(regs) == regs_get_stack_pointer(regs));
    held(regs_get_register<reg::di>(regs) == regs_get_argument<0>(regs));
    return_address_seen = regs_get_return_address(regs);
    regs_set_instruction_pointer(regs, &other_half);
}

void with_full_regs(unsigned long, unsigned long, ftrace::ftrace_ops&,
                    ftrace::full_regs& regs) noexcept {
    using namespace ftrace;
    pt_regs& full = get_regs(regs);
    held(full.sp == regs_get_stack_pointer(regs));
    held(full.bx == regs_get_register<reg::bx>(regs));
    held(get_regs(static_cast<ftrace_regs&>(regs)) == &full);
    regs_set_register<reg::di>(regs, 7);
}
void with_args_regs(unsigned long, unsigned long, ftrace::ftrace_ops&,
                    ftrace::args_regs& regs) noexcept {
    held(ftrace::get_regs(regs) == nullptr);
    held(ftrace::regs_get_argument<0, &half>(regs) == 9.0);
}
// A sanitizer's calls would use the vector registers that the stub has not saved.
FTRACE_NO_INSTRUMENTATION FTRACE_GENERAL_REGS_ONLY void with_integer_regs(
    unsigned long, unsigned long, ftrace::ftrace_ops&, ftrace::integer_regs& regs) noexcept {
    checks += ftrace::regs_get_argument<1, &half>(regs) == 3 ? 1 : 0;
    ftrace::regs_set_argument<1, &half>(regs, 2);
}
std::string_view seen_text;
FTRACE_NO_INSTRUMENTATION FTRACE_GENERAL_REGS_ONLY void parse_by_integers(
    unsigned long, unsigned long, ftrace::ftrace_ops&, ftrace::integer_regs& regs) noexcept {
    seen_text = ftrace::regs_get_argument<1, &parser::parse>(regs);
    checks += ftrace::regs_get_argument<0, &parser::parse>(regs)->base == 1000 ? 1 : 0;
}

}  // namespace

TEST_CASE("args: integer words by position, in registers and on the stack", "[args]") {
    traced(&eight, in_eight, [] {
        CHECK(call_eight(11, 12, 13, 14, 15, 16, 17, 18) == 24 + 39 + 56 + 75 + 96 + 119 + 800);
    });
    CHECK(checks == 3);
}

TEST_CASE("args: a member function's this, class and floating-point arguments", "[args]") {
    traced(&parser::parse, in_parse, [] {
        parser p{1000};
        CHECK(p.parse("four", 2.5) == 1060);
    });
    CHECK(checks == 3);
}

TEST_CASE("args: a static member function and overloads", "[args]") {
    traced(
        &parser::count,
        [](ftrace::ftrace_regs& regs) {
            held(ftrace::regs_get_argument<0, &parser::count>(regs) == 5);
            ftrace::regs_set_argument<1, &parser::count>(regs, short(-20));
        },
        [] { CHECK(call_count(5, 6) == -15); });
    CHECK(checks == 1);
    constexpr auto of_int = static_cast<int (*)(int)>(&overloaded);
    constexpr auto of_double = static_cast<double (*)(double)>(&overloaded);
    traced(
        of_int,
        [](ftrace::ftrace_regs& regs) {
            held(ftrace::regs_get_argument<0, static_cast<int (*)(int)>(&overloaded)>(regs) == 3);
        },
        [] { CHECK(call_of_int(3) == 3); });
    CHECK(checks == 1);
    traced(
        of_double,
        [](ftrace::ftrace_regs& regs) {
            ftrace::regs_set_argument<0, static_cast<double (*)(double)>(&overloaded)>(regs, 0.5);
        },
        [] { CHECK(call_of_double(3.0) == 0.5); });
}

TEST_CASE("args: a class passed by address is the caller's object; a reference can be rebound",
          "[args]") {
    traced(&by_address, in_by_address, [] {
        const std::string other = "other";
        CHECK(by_address("text", other) == 518);
    });
    CHECK(checks == 1);
}

TEST_CASE("args: narrow integers keep their sign, read and written", "[args]") {
    traced(
        &narrow,
        [](ftrace::ftrace_regs& regs) {
            held(ftrace::regs_get_argument<0, &narrow>(regs) == -3);
            held(ftrace::regs_get_argument<1, &narrow>(regs) == 65535);
            held(ftrace::regs_get_argument<2, &narrow>(regs));
            ftrace::regs_set_argument<0, &narrow>(regs, static_cast<signed char>(-128));
            ftrace::regs_set_argument<2, &narrow>(regs, false);
        },
        [] { CHECK(call_narrow(-3, 65535, true) == -1280 + 65535); });
    CHECK(checks == 3);
}

TEST_CASE("args: a variadic tail, through registers and beyond", "[args]") {
    traced(&formatted, in_formatted, [] {
        call_formatted("x", -1, 1.5, "tail", 3.25L, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0,
                       20L, 21L, 22L, 23L, 24L);
    });
    CHECK(checks == 20);
}

TEST_CASE("args: where the call is, and where it goes instead", "[args]") {
    other_calls = 0;
    traced(&half, in_half, [] {
        CHECK(call_half(8, 2) == 10);
        CHECK(return_address_seen - address_of(&half) != 0);
    });
    CHECK(checks == 4);
    CHECK(other_calls == 2);
}

TEST_CASE("args: the views of the three policies", "[args]") {
    traced<with_full_regs, ftrace::SAVE_REGS>(&half, [] { CHECK(call_half(8, 2) == 8.0 / 7); });
    CHECK(checks == 3);
}

TEST_CASE("args: args_regs under ARGS", "[args]") {
    traced<with_args_regs, ftrace::ARGS>(&half, [] { CHECK(call_half(9, 3) == 3); });
    CHECK(checks == 2);
}

TEST_CASE("args: integer_regs under ARGS_INTEGER, in callbacks without vector registers",
          "[args]") {
    traced<with_integer_regs, ftrace::ARGS_INTEGER>(&half, [] { CHECK(call_half(9, 3) == 4.5); });
    CHECK(checks == 1);
    traced<parse_by_integers, ftrace::ARGS_INTEGER>(&parser::parse, [] {
        parser p{1000};
        CHECK(p.parse("four", 2.5) == 1010);
    });
    CHECK(seen_text == "four");
    CHECK(checks == 1);
}
