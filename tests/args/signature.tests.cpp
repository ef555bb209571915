// What a function is declared as, from every way to name it.
#include <ftrace/args/signature.hpp>

#include <catch2/catch_test_macros.hpp>

#include <type_traits>

namespace {

using ftrace::detail::call_signature;
using ftrace::detail::is_signature;
using ftrace::detail::signature_t;

struct host {
    int plain(char);
    int constant(char) const;
    int moved(char) const volatile&& noexcept;
    int variadic(char, ...) const&;
    static int fixed(char);
    int data;
};

template <typename F, typename Wanted>
constexpr bool is = std::is_same_v<signature_t<F>, Wanted>;

static_assert(is<int(char), call_signature<false, int, char>>);
static_assert(is<int (*)(char), call_signature<false, int, char>>);
static_assert(is<int (&)(char) noexcept, call_signature<false, int, char>>);
static_assert(is<int (*const)(const char, ...), call_signature<true, int, char>>);
static_assert(is<void(int[3], void()), call_signature<false, void, int*, void (*)()>>);
static_assert(is<decltype(&host::plain), call_signature<false, int, host*, char>>);
static_assert(is<decltype(&host::constant), call_signature<false, int, const host*, char>>);
static_assert(is<decltype(&host::moved), call_signature<false, int, const volatile host*, char>>);
static_assert(is<decltype(&host::variadic), call_signature<true, int, const host*, char>>);
static_assert(is<decltype(&host::fixed), call_signature<false, int, char>>);
static_assert(!is_signature<int> && !is_signature<host> && !is_signature<decltype(&host::data)>);

}  // namespace

TEST_CASE("signature: its parameters by number", "[args]") {
    using parameters = signature_t<int(char, double, const long&)>::parameters;
    CHECK(parameters::size == 3);
    CHECK(std::is_same_v<ftrace::detail::type_at<0, parameters>::type, char>);
    CHECK(std::is_same_v<ftrace::detail::type_at<2, parameters>::type, const long&>);
}
