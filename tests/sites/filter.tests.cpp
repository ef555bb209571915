#include <catch2/catch_test_macros.hpp>
#include <ftrace/sites/filter.hpp>
#include <ftrace/sites/match.hpp>
#include <string>
#include <string_view>
#include <vector>

using ftrace::name_forms;
using ftrace::name_pattern;

namespace {

ftrace::detail::demangler demangler;

bool matches(std::string_view pattern, std::string_view linker_name,
             std::string_view object = "/opt/app/program", bool executable = true) {
    const auto parsed = name_pattern::parse(pattern);
    REQUIRE(parsed);
    return parsed->matches(name_forms(demangler, linker_name, object, executable));
}

struct expected_parts {
    std::string_view name, qualified, parameters, suffix;
};

}  // namespace

TEST_CASE("names: the parts of a demangled name", "[sites]") {
    for (const expected_parts& each : std::initializer_list<expected_parts>{
             {"main", "main", "", ""},
             {"parse(int)", "parse", "(int)", ""},
             {"ns::Parser::parse(char const*, int) const", "ns::Parser::parse",
              "(char const*, int)", " const"},
             {"int ns::max<int>(int, int)", "ns::max<int>", "(int, int)", ""},
             {"std::vector<int, std::allocator<int> > make<int>(int)", "make<int>", "(int)", ""},
             {"(anonymous namespace)::local(int)", "(anonymous namespace)::local", "(int)", ""},
             {"ns::(anonymous namespace)::thing::run() &&", "ns::(anonymous namespace)::thing::run",
              "()", " &&"},
             {"main::{lambda(int)#1}::operator()(int) const", "main::{lambda(int)#1}::operator()",
              "(int)", " const"},
             {"f(int)::{lambda()#1}::operator()() const", "f(int)::{lambda()#1}::operator()", "()",
              " const"},
             {"A::f(int) const::{lambda()#1}::operator()() const",
              "A::f(int) const::{lambda()#1}::operator()", "()", " const"},
             {"A::operator()(int)", "A::operator()", "(int)", ""},
             {"operator<(A, B)", "operator<", "(A, B)", ""},
             {"bool operator< <int>(A<int>, B)", "operator< <int>", "(A<int>, B)", ""},
             {"bool operator<< <int>(A<int>, B)", "operator<< <int>", "(A<int>, B)", ""},
             {"A std::operator+<char>(A, B)", "std::operator+<char>", "(A, B)", ""},
             {"A::operator->() const", "A::operator->", "()", " const"},
             {"A::operator<=>(A const&) const", "A::operator<=>", "(A const&)", " const"},
             {"A::operator[](unsigned long)", "A::operator[]", "(unsigned long)", ""},
             {"operator new(unsigned long)", "operator new", "(unsigned long)", ""},
             {"operator delete[](void*)", "operator delete[]", "(void*)", ""},
             {"A::operator bool() const", "A::operator bool", "()", " const"},
             {"A::operator std::vector<int>()", "A::operator std::vector<int>", "()", ""},
             {"operator\"\" _km(unsigned long long)", "operator\"\" _km", "(unsigned long long)",
              ""},
             {"A::~A()", "A::~A", "()", ""},
             {"int (*ns::g<int>(int, long))(char)", "ns::g<int>", "(int, long)", ""},
             {"int (&g<int>(int)) [3]", "g<int>", "(int)", ""},
             {"int (S::*g<int>(int))(char) const", "g<int>", "(int)", ""},
             {"int (*(*g<int>(int))(char))(long)", "g<int>", "(int)", ""},
             {"int (*A::g<int>(int) const)(char)", "A::g<int>", "(int)", " const"},
             {"int (*g<int>(int))(char) [clone .isra.0]", "g<int>", "(int)", " [clone .isra.0]"},
             {"A::operator int (*)(char)() const", "A::operator int (*)(char)", "()", " const"},
             {"decltype(auto) fwd<int>(int, int)", "fwd<int>", "(int, int)", ""},
             {"decltype ({parm#1}+{parm#2}) plus<int>(int, int)", "plus<int>", "(int, int)", ""},
             {"f[abi:cxx11](int)", "f[abi:cxx11]", "(int)", ""},
             {"call(void (*)(int), int (&) [3])", "call", "(void (*)(int), int (&) [3])", ""},
             {"parse(int) [clone .isra.0]", "parse", "(int)", " [clone .isra.0]"},
             {"decltype (a+b) sum<int>(int, int)", "sum<int>", "(int, int)", ""},
             {"my_operator(int)", "my_operator", "(int)", ""},
             {"operators::f(int)", "operators::f", "(int)", ""},
         }) {
        const auto parts = ftrace::detail::split_name(each.name);
        CHECK(parts.qualified == each.qualified);
        CHECK(parts.parameters == each.parameters);
        CHECK(parts.suffix == each.suffix);
    }
}

TEST_CASE("names: without tags and template arguments", "[sites]") {
    const auto plain = [](std::string_view name, bool keep) {
        std::string out;
        ftrace::detail::append_plain(out, name, keep);
        return out;
    };
    CHECK(plain("ns::max<int>", false) == "ns::max");
    CHECK(plain("ns::max<int>", true) == "ns::max<int>");
    CHECK(plain("box<list<int> >::get[abi:v2]<3>", false) == "box::get");
    CHECK(plain("box<list<int> >::get[abi:v2]<3>", true) == "box<list<int> >::get<3>");
    CHECK(plain("operator< <int>", false) == "operator<");
    CHECK(plain("operator<<", false) == "operator<<");
    CHECK(plain("A<int>::operator-><char>", false) == "A::operator->");
    CHECK(plain("f(box<int>)::{lambda(box<int>)#1}::operator()", false) ==
          "f(box<int>)::{lambda(box<int>)#1}::operator()");
}

TEST_CASE("glob: the kernel's syntax", "[sites]") {
    const auto glob = [](std::string_view pattern, std::string_view text) {
        return ftrace::detail::glob(pattern).matches(text);
    };
    CHECK(glob("full", "full"));
    CHECK_FALSE(glob("full", "fully"));
    CHECK(glob("*end", "the_end"));
    CHECK(glob("front*", "front"));
    CHECK(glob("*mid*", "amidst"));
    CHECK_FALSE(glob("*mid*", "mad"));
    CHECK(glob("a*b*c", "a-b-b-c"));
    CHECK_FALSE(glob("a*b*c", "a-b-b"));
    CHECK(glob("?at", "cat"));
    CHECK_FALSE(glob("?at", "at"));
    CHECK(glob("[a-cx]at", "xat"));
    CHECK_FALSE(glob("[a-cx]at", "dat"));
    CHECK(glob("[!a-c]at", "dat"));
    CHECK_FALSE(glob("[!a-c]at", "bat"));
    CHECK(glob("\\*x", "*x"));
    CHECK_FALSE(glob("\\*x", "yx"));
    CHECK(glob("a[b", "a[b"));  // no class without its end
    CHECK(glob("***", ""));
    CHECK(glob("", ""));
    CHECK_FALSE(glob("", "a"));
    // No pattern takes longer than length times length.
    CHECK_FALSE(glob("*a*a*a*a*a*a*a*a*a*a*b", std::string(2000, 'a')));
}

TEST_CASE("glob: letters of C++ names keep their meaning", "[sites]") {
    const auto glob = [](std::string_view pattern, std::string_view text) {
        return ftrace::detail::glob(pattern).matches(text);
    };
    CHECK(glob("A::operator[]", "A::operator[]"));
    CHECK(glob("f[abi:cxx11]", "f[abi:cxx11]"));
    CHECK_FALSE(glob("f[abi:cxx11]", "fa"));
    CHECK(glob("f(char*)", "f(char*)"));
    CHECK_FALSE(glob("f(char*)", "f(char*,int)"));
    CHECK(glob("f(char const**,*)", "f(char const**,int)"));
    CHECK(glob("f(*)", "f(char*,int)"));
    CHECK(glob("f(int,*)", "f(int,char*,int)"));
    CHECK(glob("f(ns::*)", "f(ns::type&)"));
    CHECK(glob("operator*", "operator*"));
    CHECK_FALSE(glob("operator*", "operator+"));
    CHECK(glob("A::operator?*", "A::operator+"));
    CHECK(glob("my_operator*", "my_operator_too"));
    CHECK(glob("box<int*>::get", "box<int*>::get"));
    CHECK_FALSE(glob("box<int*>::get", "box<int const>::get"));
    CHECK(glob("box<*>::get", "box<int const>::get"));
}

TEST_CASE("filter: a name without parameters matches every overload, with them one", "[sites]") {
    const auto text = "_ZN2ns6Parser5parseEPKc", number = "_ZN2ns6Parser5parseEi";
    CHECK(matches("ns::Parser::parse", text));
    CHECK(matches("ns::Parser::parse", number));
    CHECK(matches("ns::Parser::parse(char const*)", text));
    CHECK_FALSE(matches("ns::Parser::parse(char const*)", number));
    CHECK(matches("ns::Parser::parse( char const * )", text));
    CHECK_FALSE(matches("Parser::parse", text));
    CHECK_FALSE(matches("ns::Parser::pars", text));
    CHECK(matches("*::parse", text));
    CHECK(matches("*parse*", text));
    CHECK(matches("ns::*", text));
    CHECK(matches("ns::Parser::parse(*)", number));
    CHECK_FALSE(matches("ns::Parser::parse(*char*)", number));
    CHECK(matches("_ZN2ns6Parser5parseEi", number));
    CHECK_FALSE(matches("_ZN2ns6Parser5parseEi", text));
    CHECK(matches("_ZN2ns*", text));
    CHECK(matches("*", text));
    // Linker names contain the parameters' types: only a pattern that begins as they do looks
    // there.
    CHECK_FALSE(matches("*PKc*", text));
}

TEST_CASE("filter: suffixes, templates, tags and C names", "[sites]") {
    CHECK(matches("ns::Parser::size() const", "_ZNK2ns6Parser4sizeEv"));
    CHECK(matches("ns::Parser::size()", "_ZNK2ns6Parser4sizeEv"));
    CHECK(matches("max", "_Z3maxIiET_S0_S0_"));
    CHECK(matches("max<int>", "_Z3maxIiET_S0_S0_"));
    CHECK_FALSE(matches("max<long>", "_Z3maxIiET_S0_S0_"));
    CHECK(matches("max<int>(int, int)", "_Z3maxIiET_S0_S0_"));
    CHECK(matches("max(int, int)", "_Z3maxIiET_S0_S0_"));
    CHECK(matches("int max<int>(int, int)", "_Z3maxIiET_S0_S0_"));
    CHECK(matches("f[abi:cxx11]", "_Z1fB5cxx11v"));
    CHECK(matches("f", "_Z1fB5cxx11v"));
    CHECK(matches("f()", "_Z1fB5cxx11v"));
    CHECK(matches("parse*", "parse_header"));
    CHECK(matches("operator new", "_Znwm"));
    CHECK(matches("A::operator[]", "_ZN1AixEi"));
    CHECK(matches("A::operator!", "_ZN1AntEv"));
    CHECK(matches("A::operator*", "_ZN1AdeEv"));
    CHECK_FALSE(matches("A::operator*", "_ZN1AplERKS_"));
    CHECK(matches("A::operator()", "_ZN1AclEi"));
    CHECK(matches("A::~A", "_ZN1AD1Ev"));
    CHECK(matches("A::A", "_ZN1AC2Ei"));
    CHECK(matches("libx.so+0x1234", "libx.so+0x1234"));
    CHECK(matches("libx.so+*", "libx.so+0x1234"));
}

TEST_CASE("filter: the demangler's own words are found though no linker name has them", "[sites]") {
    CHECK(matches("std::string::size", "_ZNKSs4sizeEv"));
    CHECK(matches("*string*::*", "_ZNKSs4sizeEv"));
    CHECK(matches("*basic_str*", "_ZNKSbIwE4sizeEv"));
    CHECK(matches("A::operator delete*", "_ZN1AdlEPv"));
    CHECK(matches("A::operator int", "_ZN1AcviEv"));
    CHECK(matches("*anonymous*", "_ZN12_GLOBAL__N_15localEi"));
    CHECK(matches("*lambda*", "_ZZ4mainENKUlvE_clEv"));
    CHECK(matches("f<unsi?ned int>", "_Z1fIjEvv"));
    CHECK(matches("f<tru?>", "_Z1fILb1EEvv"));
    CHECK(matches("std::allocator<*>::allocate", "_ZNSaIcE8allocateEm"));
}

TEST_CASE("filter: types as people write them", "[sites]") {
    const auto text = "_ZN2ns6Parser5parseEPKc";
    CHECK(matches("ns::Parser::parse(const char*)", text));
    CHECK(matches("ns::Parser::parse( const  char * )", text));
    CHECK_FALSE(matches("ns::Parser::parse(char*)", text));
    CHECK_FALSE(matches("ns::Parser::parse(const char*, int)", text));
    CHECK(matches("ns::Parser::parse(const char*)", "_ZNK2ns6Parser5parseEPKc"));
    CHECK(matches("ns::Parser::parse(const char*) const", "_ZNK2ns6Parser5parseEPKc"));

    // void ns::str(std::string), of libstdc++, its older form, and libc++
    for (const auto name :
         {"_ZN2ns3strENSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEE", "_ZN2ns3strESs",
          "_ZN2ns3strENSt3__112basic_stringIcNS0_11char_traitsIcEENS0_9allocator"
          "IcEEEE"}) {
        CHECK(matches("ns::str(std::string)", name));
        CHECK(matches("ns::str(const std::string)", name));  // the caller's business
        CHECK(matches("ns::str(std::basic_string<char>)", name));
        CHECK(matches("ns::str(std::str?ng)", name));
        CHECK_FALSE(matches("ns::str(std::string&)", name));
        CHECK_FALSE(matches("ns::str(std::wstring)", name));
        CHECK_FALSE(matches("ns::str(std::string_view)", name));
    }
    CHECK(matches("ns::str(const std::string&)",
                  "_ZN2ns3strERKNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEE"));
    CHECK(matches("ns::str(std::string_view)",
                  "_ZN2ns3strESt17basic_string_viewIcSt11char_traitsIcEE"));
    CHECK(matches("ns::str(std::wstring_view)",
                  "_ZN2ns3strESt17basic_string_viewIwSt11char_traitsIwEE"));
    CHECK(matches("std::string::size",
                  "_ZNKSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEE4sizeEv"));
    CHECK(matches("f(std::ostream&)", "_Z1fRSo"));
    // Default arguments, at any depth.
    const auto map =
        "_Z1fRKSt3mapINSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEESt6vectorIPKc"
        "SaIS8_EESt4lessIS5_ESaISt4pairIKS5_SA_EEE";
    CHECK(matches("f(const std::map<std::string, std::vector<const char*>>&)", map));
    CHECK(matches("f(std::map<std::string, std::vector<*>> const&)", map));
    CHECK_FALSE(matches("f(const std::map<std::string, std::vector<char*>>&)", map));
    CHECK(matches("f", map));
    CHECK(matches("f(*)", map));
    // Not outside of std: these are two types.
    CHECK_FALSE(matches("f(box<int>)", "_Z1f3boxIiSt4lessIiEE"));
    CHECK(matches("f(box<int, std::less<int>>)", "_Z1f3boxIiSt4lessIiEE"));
    // Function pointers, arrays, pointers to const pointers.
    CHECK(matches("f(void (*)(const char*))", "_Z1fPFvPKcE"));
    CHECK(matches("f(const char* (*)(int))", "_Z1fPFPKciE"));
    CHECK(matches("f(const char (&)[4])", "_Z1fRA4_Kc"));
    CHECK(matches("f(const char* const*)", "_Z1fPKPKc"));
    CHECK(matches("f(const volatile int&)", "_Z1fRVKi"));
    CHECK(matches("f(const ns::thing<const int>&)", "_Z1fRKN2ns5thingIKiEE"));
    CHECK(matches("f(unsigned, long unsigned int, const long int&)", "_Z1fjmRKl"));
    CHECK(matches("f(void)", "_Z1fv"));
    CHECK(matches("std::vector<int>::push_back(const int&)", "_ZNSt6vectorIiSaIiEE9push_backERKi"));
    CHECK(matches("max<const char*>", "_Z3maxIPKcET_S2_S2_"));
    CHECK(matches("operator<(const A&, const A&)", "_ZltRK1AS1_"));
}

TEST_CASE("filter: functions of types that demanglers do not know have names", "[sites]") {
    for (const auto name : {"_Z3f11DF16_i", "_Z3f11DF16bi", "_Z3f11DF32_i", "_Z3f11DB17_i"}) {
        CHECK(matches("f11", name));
        CHECK(matches("f1*", name));
        CHECK(matches("f11(*, int)", name));
        CHECK_FALSE(matches("f11(*, long)", name));
    }
    CHECK(matches("f11(_Float16, int)", "_Z3f11DF16_i"));
    CHECK(matches("f11(const _Float64x*)", "_Z3f11PKDF64x"));
    CHECK_FALSE(matches("f11(_Float16, int)", "_Z3f11DF16bi"));
}

TEST_CASE("filter: what a C function takes is not known", "[sites]") {
    CHECK(matches("c_func()", "c_func"));
    CHECK(matches("c_func(*)", "c_func"));
    CHECK(matches("c_f*()", "c_func"));
    CHECK_FALSE(matches("c_func(int)", "c_func"));
    CHECK_FALSE(matches("c_fun()", "c_func"));
}

TEST_CASE("filter: a copy with other parameters is another function", "[sites]") {
    for (const std::string suffix :
         {".isra.0", ".constprop.1", ".part.0", ".cold", ".isra.0.cold", ".specialized.3",
          ".constprop.0.isra.0", ".lto_priv.0.isra.0", ".resume", ".actor", ".resolver"}) {
        const std::string clone = "_ZN2ns5parseEi" + suffix, c_clone = "c_func" + suffix;
        CAPTURE(suffix);
        for (const auto pattern : {"ns::parse", "ns::parse(int)", "ns::pars?", "*::parse",
                                   "ns::parse(*)", "_ZN2ns5parseEi", "ns::[op]arse"}) {
            CHECK(matches(pattern, "_ZN2ns5parseEi"));
            CHECK_FALSE(matches(pattern, clone));
            const auto parsed = name_pattern::parse(pattern);
            const name_forms names(demangler, clone, "program", true);
            CHECK(parsed->matches_original_of(names) ==
                  !std::string_view(pattern).starts_with("_Z"));
        }
        for (const auto pattern : {"*", "ns::parse*", "ns::*", "*parse*", "_ZN2ns*"})
            CHECK(matches(pattern, clone));
        CHECK(matches(clone, clone));
        CHECK(matches("ns::parse" + suffix, clone));
        CHECK(matches(ftrace::demangle(clone), clone));
        CHECK_FALSE(matches(ftrace::demangle(clone), "_ZN2ns5parseEi"));

        CHECK_FALSE(matches("c_func", c_clone));
        CHECK_FALSE(matches("c_func()", c_clone));
        CHECK(matches("c_func*", c_clone));
        CHECK(matches(c_clone, c_clone));
    }
    CHECK(matches("ns::parse*.isra*", "_ZN2ns5parseEi.isra.0"));
    CHECK(matches("ns::parse(int) [clone .isra.0]", "_ZN2ns5parseEi.isra.0"));
    CHECK_FALSE(matches("ns::parse*.isra*", "_ZN2ns5parseEi.part.0"));
    CHECK(matches("max<int>*", "_Z3maxIiET_S0_S0_.isra.0"));
    CHECK_FALSE(matches("max<int>", "_Z3maxIiET_S0_S0_.isra.0"));
    const auto none = name_pattern::parse("ns::other");
    const name_forms clone(demangler, "_ZN2ns5parseEi.isra.0", "program", true);
    CHECK_FALSE(none->matches_original_of(clone));
    CHECK_FALSE(name_pattern::parse("ns::parse*")->matches_original_of(clone));
}

TEST_CASE("filter: a copy with the same parameters goes by its original's name", "[sites]") {
    for (const std::string suffix :
         {".lto_priv.0", ".localalias", ".llvm.1234567", ".avx2.0", ".arch_x86_64_v3", ".default.1",
          ".__uniq.12", ".7", ".memprof.1", ".apart.0"}) {
        const std::string copy = "_ZN2ns5parseEi" + suffix, c_copy = "c_func" + suffix;
        CAPTURE(suffix);
        for (const auto pattern : {"ns::parse", "ns::parse(int)", "ns::pars?", "ns::parse*", "*"})
            CHECK(matches(pattern, copy));
        for (const auto pattern : {"c_func", "c_func()", "c_fun?", "c_func*"})
            CHECK(matches(pattern, c_copy));
        CHECK(matches(copy, copy));
        CHECK(matches(c_copy, c_copy));
        CHECK_FALSE(name_pattern::parse("ns::parse")
                        ->matches_original_of(name_forms(demangler, copy, "program", true)));
    }
    CHECK_FALSE(matches("libx", "libx.so+0x1234"));
    CHECK(ftrace::detail::clone_suffix("libpart.part.so+0x1234").empty());
}

TEST_CASE("filter: negation and objects", "[sites]") {
    const auto pattern = [](std::string_view text) { return name_pattern::parse(text).value(); };
    CHECK(pattern("!parse*").negated());
    CHECK_FALSE(pattern("parse*").negated());
    CHECK(pattern("! parse*").name() == "parse*");
    const std::string_view z = "/usr/lib/libz.so.1.2";
    const auto in_z = [&](std::string_view text) { return matches(text, "inflate", z, false); };
    const auto in_program = [&](std::string_view text) { return matches(text, "inflate"); };
    CHECK(in_z("inflate:mod:libz"));
    CHECK(in_z("inflate:mod:libz.so.1.2"));
    CHECK(in_z("inflate:mod:lib?"));
    CHECK(in_z("inflate:mod:/usr/lib/*"));
    CHECK(in_z(":mod:libz"));
    CHECK(in_z("*:mod:libz"));
    CHECK(in_z("*:mod:!program"));
    CHECK_FALSE(in_z("*:mod:!libz"));
    CHECK_FALSE(in_z("inflate:mod:libzz"));
    CHECK_FALSE(in_z("deflate:mod:libz"));
    CHECK_FALSE(in_program("inflate:mod:libz"));
    CHECK(in_program("inflate:mod:program"));
    CHECK(in_program("inflate:mod:!libz"));
    // Modules are the shared objects, `!*` is what is in none.
    CHECK(in_z("*:mod:*"));
    CHECK_FALSE(in_program("*:mod:*"));
    CHECK(in_program("*:mod:!*"));
    CHECK_FALSE(in_z("*:mod:!*"));
    CHECK(pattern("!*:mod:!ext3").negated());
    // ::mod:: is a namespace.
    CHECK(matches("a::mod::b", "_ZN1a3mod1bEv"));
    CHECK(matches("a::mod::b:mod:program", "_ZN1a3mod1bEv"));
}

TEST_CASE("filter: what is no pattern", "[sites]") {
    for (const std::string_view text : {"", "  ", "!", "f:mod:", ":mod:", "f:mod:!"}) {
        const auto parsed = name_pattern::parse(text);
        REQUIRE_FALSE(parsed);
        CHECK(parsed.error().code == ftrace::errc::invalid_argument);
        CHECK(parsed.error().message.find("'" + std::string(text) + "'") != std::string::npos);
    }
}

TEST_CASE("filter: a list is parted by semicolons and lines", "[sites]") {
    std::vector<std::string_view> words;
    ftrace::detail::for_each_pattern(" f(int, char*) ;; g\n!h \n",
                                     [&](std::string_view word) { words.push_back(word); });
    CHECK(words == std::vector<std::string_view>{"f(int, char*)", "g", "!h"});
}

// Compilers make copies with other parameters of functions that are only called with constants.
#if defined(__clang__)
#define UNCHANGED __attribute__((noinline, optnone))
#else
#define UNCHANGED __attribute__((noipa))
#endif

namespace subject {
struct parser {
    UNCHANGED int parse(int x) { return x + value; }
    UNCHANGED int parse(const char* text) { return text[0] + value; }
    int value = 1;
};
UNCHANGED int parse_all(parser& p) { return p.parse(1) + p.parse("a"); }
struct thing {
    thing();
};
UNCHANGED thing::thing() {}
}  // namespace subject

TEST_CASE("match: the sites of this program", "[sites]") {
    subject::parser p;
    CHECK(subject::parse_all(p) == 'a' + 3);
    [[maybe_unused]] const subject::thing used;
    const auto objects = ftrace::detail::scan_loaded_objects();
    const auto found = [&](std::string_view pattern) {
        std::vector<std::string> names;
        ftrace::match_sites(
            objects, name_pattern::parse(pattern).value(),
            [&](const ftrace::loaded_object& object, std::uintptr_t site, const name_forms& forms) {
                CHECK(object.contains(site));
                names.emplace_back(forms.demangled());
            });
        return names;
    };
    using list = std::vector<std::string>;
    CHECK(found("subject::parser::parse").size() == 2);
    CHECK(found("subject::parser::parse(int)") == list{"subject::parser::parse(int)"});
    CHECK(found("subject::parser::parse(*)").size() == 2);
    CHECK(found("subject::pars?_all*").size() == 1);
    CHECK(found("subject::parse_all:mod:!*") == list{"subject::parse_all(subject::parser&)"});
    CHECK(found("subject::parse_all:mod:*").empty());
    CHECK(found("no_such_function").empty());
    // By the name of an alias too.
    CHECK(found("_ZN7subject5thingC1Ev").size() == 1);
    CHECK(found("_ZN7subject5thingC2Ev").size() == 1);
    CHECK(found("subject::thing::thing").size() == 1);
    CHECK(found("ftrace::*").empty());
    std::size_t everything = 0;
    for (const auto& object : objects) everything += object.sites.size();
    CHECK(found("*").size() <= everything);
    CHECK(found("*").size() > 5);
}
