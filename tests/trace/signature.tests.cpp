// Signatures are read from names that the compiler made of real functions, and printed values
// compared with what was passed. Words are laid out by hand after psABI 3.2.3.
#include <ftrace/export/arguments.hpp>
#include <ftrace/sites/demangle.hpp>
#include <ftrace/trace/compilers.hpp>
#include <ftrace/trace/signature.hpp>

#include <bit>
#include <catch2/catch_test_macros.hpp>
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
             row{"int (*ns::g<int>(int, long))(char)", "ns::g<int>", "ns", "g<int>"},
             row{"int (&g<int>(int)) [3]", "g<int>", "", "g<int>"},
             row{"int (S::*g<int>(int))(char) const", "g<int>", "", "g<int>"},
             row{"int (*(*g<int>(int))(char))(long)", "g<int>", "", "g<int>"},
             row{"int (*A::g<int>(int) const)(char)", "A::g<int>", "A", "g<int>"},
             row{"A::operator int (*)(char)() const", "A::operator int (*)(char)", "A",
                 "operator int (*)(char)"},
             row{"decltype(auto) fwd<int>(int, int)", "fwd<int>", "", "fwd<int>"},
             row{"decltype ({parm#1}+{parm#2}) ns::plus<int>(int, int)", "ns::plus<int>", "ns",
                 "plus<int>"},
             row{"decltype(nullptr) arrow<int>(int)", "arrow<int>", "", "arrow<int>"},
             row{"auto f(int) const::{lambda(auto:1)#1}::operator()<int>(int) const",
                 "f(int) const::{lambda(auto:1)#1}::operator()<int>",
                 "f(int) const::{lambda(auto:1)#1}", "operator()<int>"},
             row{"f(int) (.isra.0)", "f", "", "f"},
             row{"void f<int (...)>(int (*)(...))", "f<int (...)>", "", "f<int (...)>"},
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

TEST_CASE("demangled: a function inside the declarator of its result", "[trace]") {
    const auto n = split_demangled("int (*S::g<int>(int, long) const)(char) [clone .isra.0]");
    CHECK(n.is_function);
    CHECK(n.return_type == "int (*");
    CHECK(n.parameters == "int, long");
    CHECK(n.qualifiers == " const");
    CHECK(n.clone == " [clone .isra.0]");
    CHECK(split_demangled("int (S::*g<int>(int))(char)").return_type == "int (S::*");
    CHECK(split_demangled("decltype(auto) g<int>(int)").return_type == "decltype(auto)");
    CHECK(split_demangled("f(int) (.part.1)").clone == " (.part.1)");
    // Known by the result, so no hidden argument is in front.
    CHECK(signature_from_name("int (*g<int>(int))(char)", {}).result_pointer == certainty::no);
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
          "true, 'A', -2, 0xfffe, -3, 0xfffffffd");
    CHECK(shown("f(bool, signed char, wchar_t, char16_t, long, unsigned long)", r) ==
          "true, 'A', 65534, 0xfffe, 1311768469162688509, 0x12345678fffffffd");
    CHECK(shown("f(unsigned char, char, char8_t)",
                registers().integer(0, 0x1c8).integer(1, 0x1c8).integer(2, 7)) == "0xc8, -56, 0x7");
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

TEST_CASE("signature: the operator next to the name that is not there decides", "[trace]") {
    using kind = ftrace::parameter_kind;
    struct row {
        std::string_view type;
        kind expected;
    };
    for (const row& r : {
             row{"int (*)(char)", kind::pointer},
             row{"void (**)(int)", kind::pointer},
             row{"void (* const* const)(int)", kind::pointer},
             row{"int (*(*)(int))(char)", kind::pointer},
             row{"int (&(*)(int)) [3]", kind::pointer},
             row{"int (*) [3]", kind::pointer},
             row{"int (* const&) [3]", kind::reference},
             row{"int (&&) [3]", kind::reference},
             row{"int (S::*&)(int)", kind::reference},
             row{"int (S::*)(int)", kind::member_function},
             row{"int (S::*)(int) &", kind::member_function},
             row{"int (S::*)(int) const &&", kind::member_function},
             row{"int (ns::S<int (*)(int)>::*)(int)", kind::member_function},
             row{"int ((anonymous namespace)::S::*)(int)", kind::member_function},
             row{"int (S::* const)(int)", kind::member_function},
             row{"int (S::*) [3]", kind::pointer},
             row{"int (S::**)(int)", kind::pointer},
             row{"int S::*", kind::pointer},
             row{"std::function<void (int)>", kind::object_address},
             row{"std::function<int (*(S::*)(int))(char)>&", kind::reference},
             row{"std::unique_ptr<int, void (*)(int*)>", kind::object_address},
             row{"std::map<int, std::function<void ()>, std::less<int> >", kind::object_address},
             row{"(anonymous namespace)::K", kind::unknown},
             row{"(anonymous namespace)::K*", kind::pointer},
             row{"f(int)::local", kind::unknown},
             row{"f(int (*)(char))::local", kind::unknown},
             row{"main::{lambda(int)#1}", kind::unknown},
             row{"std::pair<int, int>", kind::halves},
             row{"std::pair<unsigned long, char const*>", kind::view},
             row{"std::pair<double, double>", kind::vector_pair},
             row{"std::pair<float, float>", kind::vector_register},
             row{"std::pair<int, long>", kind::unknown},
             row{"std::pair<int, std::string>", kind::unknown},
             row{"std::pair<int&, int&>", kind::unknown},
             row{"std::complex<float>", kind::vector_register},
             row{"std::complex<double>", kind::vector_pair},
             row{"std::complex<long double>", kind::memory},
             row{"std::optional<int>", kind::optional},
             row{"std::__1::optional<char*>", kind::optional},
             row{"std::optional<double>", kind::unknown},
             row{"std::optional<std::string>", kind::unknown},
             row{"std::optional<int>::value_type", kind::unknown},
             row{"std::span<int, 3ul>", kind::pointer},
         }) {
        CAPTURE(r.type);
        CHECK(ftrace::classify_parameter(r.type).kind == r.expected);
    }
    const registers words = registers()
                                .integer(0, 0x0000'0002'0000'0001)
                                .integer(1, 0x5555'5501'0000'0003)
                                .integer(2, 0x5555'5500'0000'0003)
                                .integer(3, 7)
                                .integer(4, 0x5501)
                                .integer(5, 9);
    CHECK(shown("f(std::pair<int, int>, std::optional<int>, std::optional<int>, "
                "std::optional<long>, int)",
                words) == "{0x1, 0x2}, {0x3}, nullopt, {0x7}, 9");
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
    CHECK(shown("f(int, int, int, int, int, std::basic_string_view<char>, int)", r) ==
          "1, 0, 0, 0, 0, ..., 6");
    // Of __int128 gcc and clang think otherwise: what follows is not known, but in vector registers.
    CHECK(shown("f(int, int, int, int, int, __int128, int, double, char*)", r) ==
          "1, 0, 0, 0, 0, ..., ..., 0, ...");
    CHECK(shown("f(int, int, int, int, __int128, int, int)", r) ==
          "1, 0, 0, 0, 0x60000000000000000, ..., ...");
    CHECK(shown("f(float, float, float, float, float, float, float, double, double)", r) ==
          "0, 0, 0, 0, 0, 0, 0, 8, ...");
}

TEST_CASE("signature: nothing is printed behind a class or enum passed by value", "[trace]") {
    const registers r = registers().integer(0, 1).vector(0, 2.5);
    CHECK(shown("f(int, ns::color, int, double)", r) == "1, ...");
    CHECK(shown("f(double, T::value_type)", r) == "2.5, ...");
    CHECK(shown("f(std::span<int, 3ul>, double)", r) == "0x1, 2.5");
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
    CHECK(shown("A::operator new(unsigned long)", r, returns_else) == "0x7f001000");
    CHECK(shown("(anonymous namespace)::f(unsigned long)", r, returns_else) == "0x7f001000");
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

namespace {

// Calls as they were seen, with memory at 0x555555000000 and 0x7ffff0000000.
struct calls {
    std::string_view name;
    ftrace::function_signature signature = signature_from_name(name, {});
    ftrace::address_ranges memory = [] {
        ftrace::address_ranges out;
        out.add(0x5555'5500'0000, 0x5555'5600'0000);
        out.add(0x7fff'f000'0000, 0x7fff'f100'0000);
        return out;
    }();
    argument_evidence evidence{};

    calls& of_class(const char* scope) {
        scope_facts facts;
        facts.add("vtable for " + std::string(scope));
        signature = signature_from_name(name, facts);
        return *this;
    }
    calls& call(const registers& r) { return evidence.see_call(signature, r.word, memory), *this; }
    calls& call(const registers& r, std::uint64_t result) {
        call(r);
        return evidence.see_return(r.word[0], result), *this;
    }
    std::string operator()(const registers& r) const {
        return arguments_text(signature, evidence, r.word);
    }
};

constexpr std::uint64_t on_stack = 0x7fff'f000'1230, on_heap = 0x5555'5500'0040;

}  // namespace

TEST_CASE("signature: a number is no address where no memory is", "[trace]") {
    // A negative short as gcc passes it, in 32 bits.
    const registers r = registers().integer(0, 0xffff'fff9).integer(1, 65535);
    CHECK(calls{"f(short, unsigned short)"}.call(r)(r) == "-7, 0xffff");
    const registers large = registers().integer(0, 4'000'000'000).integer(1, 1);
    CHECK(calls{"f(unsigned int, int)"}.call(large)(large) == "0xee6b2800, 1");

    const ftrace::address_ranges memory = calls{""}.memory;
    CHECK(memory.may_hold(on_stack));
    CHECK(memory.may_hold(on_heap));
    CHECK(memory.may_hold(0x7fff'e000'0000));  // near: it may have been memory before
    CHECK_FALSE(memory.may_hold(0x1234'5678'9abc));
    CHECK_FALSE(memory.may_hold(65535));
    CHECK_FALSE(memory.may_hold(0xffff'fff9));
    CHECK_FALSE(memory.may_hold(~std::uint64_t{0}));
    ftrace::address_ranges fixed;
    fixed.add(0x40'0000, 0x50'0000);
    CHECK(fixed.may_hold(0x40'0000));
    CHECK(fixed.may_hold(0x5f'0000));
    CHECK_FALSE(fixed.may_hold(0x70'0000));
    CHECK(ftrace::address_ranges{}.may_hold(65536));
    CHECK_FALSE(ftrace::address_ranges{}.may_hold(65535));
    const auto own = ftrace::address_ranges::of_this_process();
    CHECK(own.may_hold(reinterpret_cast<std::uintptr_t>(&memory)));
    CHECK(own.may_hold(reinterpret_cast<std::uintptr_t>(r.word)));
    CHECK_FALSE(own.may_hold(3));
}

TEST_CASE("signature: a function that gives back its first word returns a class", "[trace]") {
    const registers r = registers().integer(0, on_stack).integer(1, 5);
    CHECK(calls{"sret(long)"}.call(r, on_stack)(r) == "5");
    CHECK(calls{"sret(int)"}.call(r, on_stack)(r) == "5");
    CHECK(calls{"ns::sret(long, char)"}.call(r, on_stack)(r) == "5, 0");
    // One call that gives something else back, and it does not.
    CHECK(calls{"id(long)"}.call(r, on_stack).call(r, 3)(r) == "140737219924528");
    // A number once, and it does not either.
    const registers number = registers().integer(0, 4);
    CHECK(calls{"id(long)"}.call(r, on_stack).call(number, 4)(number) == "4");
    // A pointer may be what it gives back, as strcpy() does.
    const registers two = registers().integer(0, on_stack).integer(1, on_heap);
    CHECK(calls{"copy(char*, char const*)"}.call(two, on_stack)(two).front() == '?');
    // But here the second would be a reference to nothing.
    const registers one = registers().integer(0, on_stack).integer(1, on_heap).integer(2, 2);
    CHECK(calls{"print(A&, A const&, int)"}.call(one, on_stack)(one) ==
          "0x7ffff0001230, 0x555555000040, 2");
}

TEST_CASE("signature: *this given back is no class returned", "[trace]") {
    const registers r = registers().integer(0, on_stack).integer(1, 6);
    // Static or not is open, where the 6 is is not.
    CHECK(calls{"C::chain(long)"}.of_class("C").call(r, on_stack)(r) == "?this=0x7ffff0001230, 6");
    CHECK(calls{"C::chain(long) const"}.call(r, on_stack)(r) == "this=0x7ffff0001230, 6");
    const registers both = registers().integer(0, on_stack).integer(1, on_heap).integer(2, 6);
    CHECK(calls{"C::get(long) const"}.call(both, on_stack)(both) == "this=0x555555000040, 6");
}

TEST_CASE("signature: an address in an int's register is another parameter", "[trace]") {
    const registers r = registers().integer(0, on_stack).integer(1, 9);
    calls member{"C::set(int)"};
    CHECK(member.of_class("C").call(r, 0)(r) == "this=0x7ffff0001230, 9");
    // Not in every call: it was a register that had not been cleared.
    const registers unclean = registers().integer(0, on_stack).integer(1, on_heap);
    CHECK(member.call(unclean, 0)(r) == "this=0x7ffff0001230, 9");
    // A bool is 0 or 1.
    const registers flag = registers().integer(0, on_stack).integer(1, 1);
    CHECK(calls{"C::set(bool)"}.of_class("C").call(flag, 0)(flag) == "this=0x7ffff0001230, true");
}

TEST_CASE("signature: values of a function that may have been changed are marked", "[trace]") {
    auto f = signature_from_name("f(int, double)", {});
    f.may_be_changed = true;
    CHECK(arguments_text(f, nothing_hidden, registers().integer(0, 3).vector(0, 2.5).word) ==
          "?3, ?2.5");
}

TEST_CASE("signature: only gcc is trusted with the parameters of local functions", "[trace]") {
    using namespace std::string_view_literals;
    using ftrace::detail::names_gcc_alone;
    CHECK(names_gcc_alone("GCC: (Debian 12.2.0) 12.2.0\0"sv));
    CHECK(names_gcc_alone("\0GCC: (Debian 12.2.0) 12.2.0\0Linker: LLD 16\0"sv));
    CHECK_FALSE(names_gcc_alone("GCC: (Debian 12.2.0) 12.2.0\0Debian clang version 16.0.6\0"sv));
    CHECK_FALSE(names_gcc_alone("rustc version 1.80\0GCC: 14\0"sv));
    CHECK_FALSE(names_gcc_alone("Linker: LLD 16\0"sv));
    CHECK_FALSE(names_gcc_alone(""sv));
    CHECK_FALSE(ftrace::detail::keeps_local_parameters("/nowhere"));
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
          "0x1, 1.5, 0x2, ..., 0x3, 0x4, {0x5, 0x6}, ..., ..., ..., ...");
    CHECK(shown(ftrace::demangle("_ZN6sample5twiceIdEET_S1_RKNS_6widgetE"),
                registers().integer(0, 1).vector(0, 2.5)) == "2.5, 0x1");
    CHECK(shown(ftrace::demangle("_ZNK6sample6widget4sizeEv"), r) == "this=0x1");
    CHECK(shown(ftrace::demangle("_Z1fMN6sample6widgetEKFivEPFviEMS0_ie"), r) ==
          "{0x1, 0x2}, 0x3, 0x4, ...");
}
