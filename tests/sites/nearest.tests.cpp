#include <catch2/catch_test_macros.hpp>
#include <ftrace/sites/nearest.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace {

std::vector<std::string> nearest(std::string_view pattern,
                                 const std::vector<std::string_view>& names, std::size_t count) {
    return ftrace::nearest_names(ftrace::name_pattern::parse(pattern).value(), names, count);
}

using list = std::vector<std::string>;

}  // namespace

TEST_CASE("nearest: edit distance with swapped neighbours", "[sites]") {
    ftrace::detail::edit_distance distance;
    CHECK(distance("", "", 5) == 0);
    CHECK(distance("abc", "", 5) == 3);
    CHECK(distance("", "abc", 5) == 3);
    CHECK(distance("parse", "parse", 5) == 0);
    CHECK(distance("prase", "parse", 5) == 1);
    CHECK(distance("kitten", "sitting", 5) == 3);
    CHECK(distance("abcdef", "uvwxyz", 3) == 4);  // more than the limit
    CHECK(distance("a", "abcdefgh", 3) == 4);
}

TEST_CASE("nearest: the last component counts first, then the whole name", "[sites]") {
    const std::vector<std::string_view> names = {
        "_ZN3app6Parser5parseEPKc",
        "_ZN3app6Parser5parseEi",
        "_ZN3net6Parser5parseEv",
        "_ZN3app6Writer5writeEv",
        "main",
        "parse_header",
        "_ZN3app5eraseEv",
        "_ZN3app3maxIiEEiT_",
    };
    CHECK(nearest("app::Parser::prase", names, 2) ==
          list{"app::Parser::parse", "net::Parser::parse"});
    CHECK(nearest("net::Parser::prase", names, 1) == list{"net::Parser::parse"});
    CHECK(nearest("prase*", names, 1).size() == 1);
    CHECK(nearest("app::maxx", names, 1) == list{"app::max"});
    CHECK(nearest("mian", names, 3).at(0) == "main");
    CHECK(nearest("qqqqqqqqqqqqqqqqqq", names, 3).empty());
    CHECK(nearest("main", names, 0).empty());
    CHECK(nearest("*", names, 3).empty());
    CHECK(nearest("main", {}, 3).empty());
}

TEST_CASE("nearest: a pattern with parameters is answered with parameters", "[sites]") {
    const std::vector<std::string_view> names = {
        "_ZN3app6Parser5parseEi",
        "_ZN3app6Parser5parseEPKc",
        "_ZN3app6Parser5parseERKNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEEi",
        "_ZN3net6Parser5parseEPKc",
        "c_parse",
    };
    CHECK(nearest("app::Parser::parse(const char*, int)", names, 2) ==
          list{"app::Parser::parse(char const*)", "app::Parser::parse(std::string const&, int)"});
    CHECK(nearest("app::Parser::parse()", names, 1) == list{"app::Parser::parse(int)"});
    CHECK(nearest("c_parse(int)", names, 1) == list{"c_parse"});
    CHECK(nearest("app::Parser::prase", names, 1) == list{"app::Parser::parse"});
}

TEST_CASE("nearest: never the same name twice", "[sites]") {
    const std::vector<std::string_view> names = {"_Z5parsei", "_Z5parsed", "_Z5parsel"};
    CHECK(nearest("pars", names, 3) == list{"parse"});
}
