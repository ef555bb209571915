// Which registers a parameter of a demangled type travels in, as far as the type's name tells.
#pragma once

#include <ftrace/core/config.hpp>
#include <ftrace/trace/demangled.hpp>

#include <cstdint>
#include <string>
#include <string_view>

namespace ftrace::inline v0 {

enum class parameter_kind : std::uint8_t {
    none,  ///< void
    boolean,
    character,  ///< char, signed char: shown as a letter
    signed_integer,
    unsigned_integer,
    wide_integer,      ///< __int128: two words
    pointer,           ///< pointers, nullptr_t, data member pointers
    reference,         ///< always the address of something
    object_address,    ///< a class that its name proves non-trivial: the address of the object
    member_function,   ///< pointer to member function: two words
    view,              ///< string_view, span, initializer_list, a pair of words: two words
    halves,            ///< a pair of 32 bits each: one word
    optional,          ///< of an integer or pointer of `bits` bits: one word, or two
    single_precision,  ///< float
    double_precision,
    vector_register,  ///< one vector register, more than its low word (__m128, __float128)
    vector_pair,      ///< _Complex double: two vector registers
    memory,           ///< always on the stack: long double
    unknown,          ///< a class or enum by value: it may take any registers
};

struct parameter_type {
    parameter_kind kind = parameter_kind::unknown;
    std::uint8_t bits = 64;  ///< of the integer kinds, and of what an optional holds

    /// Words it takes of the integer argument registers, and of the vector ones.
    [[nodiscard]] FTRACE_NOTRACE constexpr int integer_words() const {
        switch (kind) {
        case parameter_kind::boolean:
        case parameter_kind::character:
        case parameter_kind::signed_integer:
        case parameter_kind::unsigned_integer:
        case parameter_kind::pointer:
        case parameter_kind::reference:
        case parameter_kind::halves:
        case parameter_kind::object_address: return 1;
        case parameter_kind::optional: return bits == 32 ? 1 : 2;
        case parameter_kind::wide_integer:
        case parameter_kind::member_function:
        case parameter_kind::view: return 2;
        default: return 0;
        }
    }
    [[nodiscard]] FTRACE_NOTRACE constexpr int vector_words() const {
        switch (kind) {
        case parameter_kind::single_precision:
        case parameter_kind::double_precision:
        case parameter_kind::vector_register: return 1;
        case parameter_kind::vector_pair: return 2;
        default: return 0;
        }
    }
};

namespace detail {

struct named_type {
    std::string_view name;
    parameter_kind kind;
    std::uint8_t bits;
};

/// Types whose name alone settles how they are passed. The sizes are those of LP64, which every
/// 64-bit Linux has.
inline constexpr named_type builtin_types[] = {
    {"void", parameter_kind::none, 0},
    {"bool", parameter_kind::boolean, 8},
    {"char", parameter_kind::character, 8},
    {"signed char", parameter_kind::character, 8},
    {"unsigned char", parameter_kind::unsigned_integer, 8},
    {"char8_t", parameter_kind::unsigned_integer, 8},
    {"std::byte", parameter_kind::unsigned_integer, 8},
    {"char16_t", parameter_kind::unsigned_integer, 16},
    {"char32_t", parameter_kind::unsigned_integer, 32},
    {"wchar_t", parameter_kind::signed_integer, 32},
    {"short", parameter_kind::signed_integer, 16},
    {"unsigned short", parameter_kind::unsigned_integer, 16},
    {"int", parameter_kind::signed_integer, 32},
    {"unsigned int", parameter_kind::unsigned_integer, 32},
    {"long", parameter_kind::signed_integer, 64},
    {"unsigned long", parameter_kind::unsigned_integer, 64},
    {"long long", parameter_kind::signed_integer, 64},
    {"unsigned long long", parameter_kind::unsigned_integer, 64},
    {"std::align_val_t", parameter_kind::unsigned_integer, 64},
    {"__int128", parameter_kind::wide_integer, 128},
    {"unsigned __int128", parameter_kind::wide_integer, 0},
    {"decltype(nullptr)", parameter_kind::pointer, 64},
    {"std::nullptr_t", parameter_kind::pointer, 64},
    {"float", parameter_kind::single_precision, 32},
    {"double", parameter_kind::double_precision, 64},
    {"float _Complex", parameter_kind::vector_register, 64},
    {"double _Complex", parameter_kind::vector_pair, 128},
    {"__float128", parameter_kind::vector_register, 128},
    {"_Float16", parameter_kind::vector_register, 16},
    {"long double", parameter_kind::memory, 80},
    {"long double _Complex", parameter_kind::memory, 160},
};

/// Class templates of the standard library, without their inline namespace. With a copy constructor
/// or destructor of its own a class is passed as the address of an object (Itanium C++
/// ABI 3.1.2.3), whatever its arguments.
inline constexpr std::string_view nontrivial_types[] = {
    "std::basic_string", "std::string",       "std::vector",        "std::deque",
    "std::list",         "std::forward_list", "std::map",           "std::multimap",
    "std::set",          "std::multiset",     "std::unordered_map", "std::unordered_set",
    "std::unique_ptr",   "std::shared_ptr",   "std::weak_ptr",      "std::function",
};
inline constexpr std::string_view view_types[] = {"std::basic_string_view", "std::string_view",
                                                  "std::initializer_list"};

[[nodiscard]] FTRACE_NOTRACE inline parameter_type classify_template(std::string_view type);

/// Where the operators of a declarator stand: "*" of "int (*)(char)", "* const&" of
/// "int (* const&) [3]", "S::*" of "void (S::*)(int) &", and the inner "*" of
/// "int (*(*)(int))(char)". Empty if there is none; `called`: whether parameters follow.
[[nodiscard]] FTRACE_NOTRACE inline std::string_view find_declarator(std::string_view type,
                                                                     bool& called) {
    for (std::size_t at = 0; at < type.size();) {
        const char c = type[at];
        if (c != '(' && c != '<' && c != '[' && c != '{') {
            at = operator_at(type, at) ? skip_operator(type, at) : at + 1;
            continue;
        }
        const std::size_t close = skip_brackets(type, at);
        if (close == std::string_view::npos) return {};
        // Behind a letter, parentheses hold the parameters of a function that is a scope.
        const char before = at == 0 ? ' ' : type[at - 1];
        if (c == '(' && (before == ' ' || before == '*' || before == '&' || before == '(')) {
            const std::string_view inner = type.substr(at + 1, close - at - 2);
            const std::string_view nested = find_declarator(inner, called);
            if (!nested.empty()) return nested;
            const bool operators =
                !inner.empty() && (inner[0] == '*' || inner[0] == '&' ||
                                   collapse_templates(inner, "").find("::*") != std::string::npos);
            if (operators) {
                called = close < type.size() && type[close] == '(';
                return inner;
            }
        }
        at = close;
    }
    return {};
}

}  // namespace detail

/// Classifies one element of a demangled parameter list. `unknown` where the name leaves it open.
[[nodiscard]] FTRACE_NOTRACE inline parameter_type classify_parameter(std::string_view type) {
    const auto drop_cv = [](std::string_view& from) FTRACE_NOTRACE {
        for (const std::string_view word : {" const", " volatile"}) detail::drop_suffix(from, word);
    };
    drop_cv(type);
    if (type.empty()) return {parameter_kind::none, 0};
    for (const detail::named_type& builtin : detail::builtin_types)
        if (type == builtin.name) return {builtin.kind, builtin.bits};
    // What is nearest to the name that is not there decides, the last of the operators.
    bool called = false;
    std::string_view operators = detail::find_declarator(type, called);
    if (operators.empty()) operators = type;
    drop_cv(operators);
    if (operators.back() == '&') return {parameter_kind::reference, 64};
    const bool member = operators.size() > 3 && operators.substr(operators.size() - 3) == "::*";
    if (member && called) return {parameter_kind::member_function, 64};
    if (operators.back() == '*') return {parameter_kind::pointer, 64};
    return detail::classify_template(type);
}

namespace detail {

/// Class templates of the standard library whose layout is part of its ABI: libstdc++ and libc++
/// have the same. A pair or an optional is passed as the structure that it is (psABI 3.2.3) where
/// what it holds can be copied bit by bit.
[[nodiscard]] FTRACE_NOTRACE inline parameter_type classify_template(std::string_view type) {
    constexpr parameter_type unknown{parameter_kind::unknown, 64};
    std::string name = collapse_templates(type, "");
    for (const std::string_view space : {"std::__cxx11::", "std::__1::"})
        if (name.compare(0, space.size(), space) == 0) name.replace(0, space.size(), "std::");
    for (const std::string_view known : nontrivial_types)
        if (name == known) return {parameter_kind::object_address, 64};
    for (const std::string_view known : view_types)
        if (name == known) return {parameter_kind::view, 64};

    const std::size_t open = type.find('<');
    if (open == std::string_view::npos || type.back() != '>' ||
        skip_brackets(type, open) != type.size())
        return unknown;
    const auto arguments = split_list(type.substr(open + 1, type.size() - open - 2));
    if (arguments.empty()) return unknown;
    if (name == "std::span" && arguments.size() == 2)
        return {arguments[1].substr(0, 20) == "18446744073709551615" ? parameter_kind::view
                                                                     : parameter_kind::pointer,
                64};
    const parameter_type first = classify_parameter(arguments[0]);
    const auto is_word = [](const parameter_type& t) FTRACE_NOTRACE {
        return t.kind == parameter_kind::signed_integer ||
               t.kind == parameter_kind::unsigned_integer || t.kind == parameter_kind::pointer;
    };
    if (name == "std::optional" && is_word(first) && (first.bits == 32 || first.bits == 64))
        return {parameter_kind::optional, first.bits};
    if (name == "std::complex") {
        if (first.kind == parameter_kind::single_precision)
            return {parameter_kind::vector_register, 64};
        if (first.kind == parameter_kind::double_precision)
            return {parameter_kind::vector_pair, 128};
        if (arguments[0] == "long double") return {parameter_kind::memory, 0};
    }
    if (name == "std::pair" && arguments.size() == 2) {
        const parameter_type second = classify_parameter(arguments[1]);
        if (is_word(first) && is_word(second) && first.bits == second.bits) {
            if (first.bits == 32) return {parameter_kind::halves, 64};
            if (first.bits == 64) return {parameter_kind::view, 64};
        }
        if (first.kind == second.kind && first.kind == parameter_kind::double_precision)
            return {parameter_kind::vector_pair, 128};
        if (first.kind == second.kind && first.kind == parameter_kind::single_precision)
            return {parameter_kind::vector_register, 64};
    }
    return unknown;
}

}  // namespace detail
}  // namespace ftrace::inline v0
