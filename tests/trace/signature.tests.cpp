// Signatures are read from names that the compiler made of real functions, and printed values
// compared with what was passed. Words are laid out by hand after psABI 3.2.3.
#include <ftrace/export/arguments.hpp>
#include <ftrace/sites/demangle.hpp>
#include <ftrace/trace/signature.hpp>

#include <bit>
#include <catch2/catch_all.hpp>
#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>
#include <typeinfo>
#include <vector>

using ftrace::argument_evidence;
using ftrace::certainty;
using ftrace::scope_facts;
using ftrace::signature_from_name;
using ftrace::split_demangled;

namespace {

// Integer words from 0, vector words from 6.
struct registers {
    std::uint64_t word[14] = {};
    registers& integer(int n, std::uint64_t value) { return word[n] = value, *this; }
    registers& vector(int n, double value) {
        return word[6 + n] = std::bit_cast<std::uint64_t>(value), *this;
    }
    registers& vector(int n, float value) {
        return word[6 + n] = 0xaaaa'aaaa'0000'0000u | std::bit_cast<std::uint32_t>(value), *this;
    }
};

constexpr argument_evidence nothing_hidden{true, true};

std::string shown(std::string_view demangled, const registers& r,
                  const argument_evidence& evidence = nothing_hidden,
                  const scope_facts& facts = {}) {
    return arguments_text(signature_from_name(demangled, facts), evidence, r.word);
}

}  // namespace

TEST_CASE("demangled: parts of names", "[trace]") {
    const auto n = split_demangled(
        "int ns::parse<int, std::vector<int> >(char const*, A<1, 2>) const [clone .isra.0]");
    CHECK(n.return_type == "int");
    CHECK(n.name == "ns::parse<int, std::vector<int> >");
    CHECK(n.scope == "ns");
    CHECK(n.base == "parse<int, std::vector<int> >");
    CHECK(n.parameters == "char const*, A<1, 2>");
    CHECK(n.qualifiers == " const");
    CHECK(n.clone == " [clone .isra.0]");
    CHECK(ftrace::split_list(n.parameters) ==
          std::vector<std::string_view>{"char const*", "A<1, 2>"});
}

TEST_CASE("demangled: operators, conversions, lambdas and unnamed namespaces", "[trace]") {
    struct row {
        std::string_view text, name, scope, base;
    };
    for (const row& r : {
             row{"main", "main", "", "main"},
             row{"bool operator< <int>(A<int> const&)", "operator< <int>", "", "operator< <int>"},
             row{"A::operator->() const", "A::operator->", "A", "operator->"},
             row{"std::ostream& ns::operator<< <char>(std::ostream&)", "ns::operator<< <char>",
                 "ns", "operator<< <char>"},
             row{"A::operator()(int)", "A::operator()", "A", "operator()"},
             row{"A::operator std::vector<int> const&() const",
                 "A::operator std::vector<int> const&", "A", "operator std::vector<int> const&"},
             row{"operator new(unsigned long)", "operator new", "", "operator new"},
             row{"(anonymous namespace)::go(int)", "(anonymous namespace)::go",
                 "(anonymous namespace)", "go"},
             row{"A::f(int) const::{lambda(int, char)#1}::operator()(int, char) const",
                 "A::f(int) const::{lambda(int, char)#1}::operator()",
                 "A::f(int) const::{lambda(int, char)#1}", "operator()"},
             row{"B<&A::operator>, 3>::run(int)", "B<&A::operator>, 3>::run", "B<&A::operator>, 3>",
                 "run"},
             row{"f[abi:cxx11](int)", "f[abi:cxx11]", "", "f[abi:cxx11]"},
             row{"operators::operatorful(int)", "operators::operatorful", "operators",
                 "operatorful"},
         }) {
        CAPTURE(r.text);
        const auto n = split_demangled(r.text);
        CHECK(n.name == r.name);
        CHECK(n.scope == r.scope);
        CHECK(n.base == r.base);
    }
}

TEST_CASE("demangled: template arguments can be hidden", "[trace]") {
    CHECK(ftrace::collapse_templates("a<b<c>, d>::e<f>", "..") == "a<..>::e<..>");
    CHECK(ftrace::collapse_templates("a<b<c>, d>::e<f>", "") == "a::e");
    CHECK(ftrace::collapse_templates("a<b>::operator-><c>", "") == "a::operator->");
    CHECK(ftrace::collapse_templates("a::operator< <b>", "..") == "a::operator< <..>");
}

TEST_CASE("signature: integers by width and sign", "[trace]") {
    // Bits above a type's width are not defined, and are set here.
    const registers r = registers()
                            .integer(0, 0xffff'ffff'ffff'ff01)
                            .integer(1, 0xffff'ffff'ffff'ff41)
                            .integer(2, 0x1234'5678'0000'fffe)
                            .integer(3, 0x1234'5678'0000'fffe)
                            .integer(4, 0x1234'5678'ffff'fffd)
                            .integer(5, 0x1234'5678'ffff'fffd);
    CHECK(shown("f(bool, char, short, unsigned short, int, unsigned int)", r) ==
          "true, 'A', -2, 65534, -3, 4294967293");
    CHECK(shown("f(bool, signed char, wchar_t, char16_t, long, unsigned long)", r) ==
          "true, 'A', 65534, 65534, 1311768469162688509, 1311768469162688509");
    CHECK(shown("f(unsigned char, char, char8_t)",
                registers().integer(0, 0x1c8).integer(1, 0x1c8).integer(2, 7)) == "200, -56, 7");
    CHECK(shown("f(char, char)", registers().integer(0, '\'').integer(1, '\n')) == "39, 10");
    CHECK(shown("f(bool)", registers()) == "false");
}

TEST_CASE("signature: pointers, references and pairs of words", "[trace]") {
    const registers r =
        registers().integer(0, 0x10).integer(1, 0x20).integer(2, 0x30).integer(3, 0x40).integer(4,
                                                                                                5);
    CHECK(shown("f(char const*, A&, A&&, void (*)(int, char), int (&) [3])", r) ==
          "0x10, 0x20, 0x30, 0x40, 0x5");
    CHECK(shown("f(int A::*, decltype(nullptr), std::vector<int, std::allocator<int> >, int)", r) ==
          "0x10, 0x20, 0x30, 64");
    CHECK(
        shown(
            "f(std::basic_string_view<char, std::char_traits<char> >, void (A::*)(int) const, int)",
            r) == "{0x10, 0x20}, {0x30, 0x40}, 5");
    CHECK(shown("f(__int128, unsigned __int128, int)", r) ==
          "0x200000000000000010, 0x400000000000000030, 5");
}

TEST_CASE("signature: integers and floating point count apart", "[trace]") {
    const registers r = registers()
                            .integer(0, 0)
                            .integer(1, 3)
                            .vector(0, 2.5)
                            .vector(1, 0.1f)
                            .vector(2, 1e300)
                            .vector(3, 0.1);
    CHECK(shown("f(char const*, double, int, float, double, double)", r) ==
          "0x0, 2.5, 3, 0.1, 1e+300, 0.1");
    CHECK(shown("f(double, double, double, float, double)", registers()
                                                                .vector(0, 1e6)
                                                                .vector(1, 5e-324)
                                                                .vector(2, 1.0 / 3)
                                                                .vector(3, -0.0f)
                                                                .vector(4, -HUGE_VAL)) ==
          "1000000, 5e-324, 0.3333333333333333, -0, -inf");
    CHECK(shown("f(float _Complex, float, double _Complex, double)",
                registers().vector(1, 1.5f).vector(4, -4.0)) == "..., 1.5, ..., -4");
}

TEST_CASE("signature: what lies on the stack is left out, and what follows is right", "[trace]") {
    const registers r = registers().integer(0, 1).integer(5, 6).vector(7, 8.0);
    CHECK(shown("f(int, int, int, int, int, int, int, double)", r) == "1, 0, 0, 0, 0, 6, ..., 0");
    CHECK(shown("f(int, long double, int)", r) == "1, ..., 0");
    // A pair that finds one register left goes to the stack whole; the register stays for the next.
    CHECK(shown("f(int, int, int, int, int, __int128, int)", r) == "1, 0, 0, 0, 0, ..., 6");
    CHECK(shown("f(float, float, float, float, float, float, float, double, double)", r) ==
          "0, 0, 0, 0, 0, 0, 0, 8, ...");
}

TEST_CASE("signature: nothing is printed behind a class or enum passed by value", "[trace]") {
    const registers r = registers().integer(0, 1).vector(0, 2.5);
    CHECK(shown("f(int, ns::color, int, double)", r) == "1, ...");
    CHECK(shown("f(double, T::value_type)", r) == "2.5, ...");
    CHECK(shown("f(std::span<int, 3ul>)", r) == "...");
    CHECK(shown("f(std::span<int, 18446744073709551615ul>, double)", r) == "{0x1, 0x0}, 2.5");
}

TEST_CASE("signature: no parameters, variadic, unknown", "[trace]") {
    const registers r = registers().integer(0, 1);
    CHECK(shown("f()", r).empty());
    CHECK(shown("f(void)", r).empty());
    CHECK(shown("f(int, ...)", r) == "1, ...");
    CHECK(shown("c_function", r) == "...");
    CHECK(shown("f(int, int) [clone .constprop.0]", r) == "...");
    CHECK(shown("non-virtual thunk to A::f(int)", r) == "...");
}

TEST_CASE("signature: members that the name proves", "[trace]") {
    const registers r = registers().integer(0, 0x7f00'1000).integer(1, 7).vector(0, 2.5);
    const argument_evidence returns_else{false, true};
    for (const char* name : {"A::f(int) const", "A::A(int)", "A::operator=(int)", "A::f(int) &&",
                             "f()::{lambda(int)#1}::operator()(int) const", "A<int>::A(int)"}) {
        CAPTURE(name);
        CHECK(signature_from_name(name, {}).this_pointer == certainty::yes);
        CHECK(shown(name, r, returns_else) == "this=0x7f001000, 7");
    }
    CHECK(shown("A::~A()", r, {}) == "this=0x7f001000");
    CHECK(shown("A::operator int() const", r, {}) == "this=0x7f001000");
    CHECK(shown("A::operator new(unsigned long)", r, returns_else) == "2130710528");
    CHECK(shown("(anonymous namespace)::f(unsigned long)", r, returns_else) == "2130710528");
}

TEST_CASE("signature: what neither name nor values prove is marked", "[trace]") {
    const registers r = registers().integer(0, 0x7f00'1000).integer(1, 7).vector(0, 2.5);
    // f may return a class in memory.
    CHECK(shown("f(char*, int, double)", r, {}) == "?0x7f001000, ?7, 2.5");
    CHECK(shown("f(char*, int, double)", r, {false, true}) == "0x7f001000, 7, 2.5");
    CHECK(shown("f(char*, int, double)", r, {true, false}) == "0x7f001000, 7, 2.5");
    // ns may be a class.
    CHECK(shown("ns::f(char*, int, double)", r, {false, true}) == "?0x7f001000, ?7, 2.5");
    CHECK(shown("ns::f(char*, int, double)", r, {true, true}) == "0x7f001000, 7, 2.5");
    // A template is a class, but f may be static.
    CHECK(shown("A<int>::f(int, double)", r, {false, true}) == "?this=0x7f001000, ?7, 2.5");
    CHECK(shown("A<int>::f(int, int)", registers().integer(0, 3).integer(1, 4), {true, true}) ==
          "3, 4");
    // The result is in the name.
    CHECK(shown("void f<int>(int, int)", r, {}) == "2130710528, 7");
    CHECK(shown("std::vector<int, std::allocator<int> > f<int>(int)", r, {}) == "7");
}

TEST_CASE("signature: other symbols tell a class from a namespace", "[trace]") {
    const registers r = registers().integer(0, 0x7f00'1000).integer(1, 7);
    const argument_evidence returns_else{false, true};
    for (const char* symbol : {"vtable for ns::A", "typeinfo for ns::A", "ns::A::A()",
                               "ns::A::~A()", "ns::A::size() const", "g(int, ns::A const&)"}) {
        scope_facts facts;
        CHECK(facts.is_class("ns::A") == certainty::maybe);
        facts.add(symbol);
        CAPTURE(symbol);
        CHECK(facts.is_class("ns::A") == certainty::yes);
        CHECK(facts.is_class("ns") == certainty::maybe);
        CHECK(shown("ns::A::f(int)", r, returns_else, facts) == "?this=0x7f001000, ?7");
    }
    scope_facts facts;
    facts.add("VTT for ns::V");
    CHECK(shown("ns::V::V(int)", r, {}, facts) == "...");
}

TEST_CASE("signature: evidence is what calls show", "[trace]") {
    const auto f = signature_from_name("f(char*)", {});
    argument_evidence e;
    e.see_call(f, registers().integer(0, 0x7f00'1000).word);
    e.see_return(0x7f00'1000, 0x7f00'1000);
    CHECK_FALSE(e.first_is_no_address);
    CHECK_FALSE(e.returns_something_else);
    e.see_call(f, registers().integer(0, 4095).word);
    e.see_return(4095, 0);
    CHECK(e.first_is_no_address);
    CHECK(e.returns_something_else);
    argument_evidence negative;
    negative.see_call(f, registers().integer(0, ~std::uint64_t{0}).word);
    CHECK(negative.first_is_no_address);
}

TEST_CASE("signature: the likelier of two guesses is shown, and marked", "[trace]") {
    const auto guess = [](std::string_view name, const registers& r) {
        const auto signature = signature_from_name(name, {});
        argument_evidence e;
        e.see_call(signature, r.word);
        return arguments_text(signature, e, r.word);
    };
    const std::uint64_t address = 0x7ffd'1234'5678, other = 0x5555'0000'1000;
    // A first int would not have its upper half in use: so the word is a result's address.
    CHECK(guess("name(int)", registers().integer(0, address).integer(1, 40)) == "?40");
    // Nor would a second one: so something is in front, a result's address or `this`.
    CHECK(guess("A::parse(char*, int)",
                registers().integer(0, address).integer(1, other).integer(2, 3)) ==
          "?0x555500001000, ?3");
    CHECK(guess("A<int>::parse(char*, int)",
                registers().integer(0, address).integer(1, other).integer(2, 3)) ==
          "?this=0x7ffd12345678, ?0x555500001000, ?3");
    CHECK(guess("A::parse(char*, int)", registers().integer(0, address).integer(1, 3)) ==
          "?0x7ffd12345678, ?3");
    CHECK(guess("A::name(int) const",
                registers().integer(0, address).integer(1, other).integer(2, 7)) ==
          "?this=0x555500001000, ?7");
}

namespace sample {
struct widget;
enum class color : int;
using mixed = void(const char*, float, widget*, long double, unsigned char, std::string,
                   std::string_view, void (*)(int), int widget::*, int (widget::*)() const, color,
                   int);
}  // namespace sample

TEST_CASE("signature: parameters as this compiler writes them", "[trace]") {
    // A function type is mangled as F, result, parameters, E (Itanium C++ ABI 5.1.5.3).
    std::string type = typeid(sample::mixed).name();
    REQUIRE(type.substr(0, 2) == "Fv");
    type = type.substr(2, type.size() - 3);
    registers r =
        registers().integer(0, 1).integer(1, 2).integer(2, 3).integer(3, 4).integer(4, 5).integer(
            5, 6);
    r.vector(0, 1.5f);
    CHECK(shown(ftrace::demangle("_Z1f" + type), r) ==
          "0x1, 1.5, 0x2, ..., 3, 0x4, {0x5, 0x6}, ..., ..., ..., ...");
    CHECK(shown(ftrace::demangle("_ZN6sample5twiceIdEET_S1_RKNS_6widgetE"),
                registers().integer(0, 1).vector(0, 2.5)) == "2.5, 0x1");
    CHECK(shown(ftrace::demangle("_ZNK6sample6widget4sizeEv"), r) == "this=0x1");
    CHECK(shown(ftrace::demangle("_Z1fMN6sample6widgetEKFivEPFviEMS0_ie"), r) ==
          "{0x1, 0x2}, 0x3, 0x4, ...");
}
