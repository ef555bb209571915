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
    character,  ///< char, signed char, unsigned char, char8_t: 8 bits
    signed_integer,
    unsigned_integer,
    wide_integer,      ///< __int128: two words
    pointer,           ///< pointers, references, nullptr_t, data member pointers
    object_address,    ///< a class that its name proves non-trivial: the address of the object
    member_function,   ///< pointer to member function: two words
    view,              ///< string_view, span, initializer_list: two words
    single_precision,  ///< float
    double_precision,
    vector_register,  ///< one vector register, more than its low word (__m128, __float128)
    vector_pair,      ///< _Complex double: two vector registers
    memory,           ///< always on the stack: long double
    unknown,          ///< a class or enum by value: it may take any registers
};

struct parameter_type {
    parameter_kind kind = parameter_kind::unknown;
    std::uint8_t bits = 64;  ///< of the integer kinds

    /// Words it takes of the integer argument registers, and of the vector ones.
    [[nodiscard]] FTRACE_NOTRACE constexpr int integer_words() const {
        switch (kind) {
        case parameter_kind::boolean:
        case parameter_kind::character:
        case parameter_kind::signed_integer:
        case parameter_kind::unsigned_integer:
        case parameter_kind::pointer:
        case parameter_kind::object_address: return 1;
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

[[nodiscard]] FTRACE_NOTRACE inline parameter_type classify_template(std::string_view type) {
    std::string name = collapse_templates(type, "");
    for (const std::string_view space : {"std::__cxx11::", "std::__1::"})
        if (name.compare(0, space.size(), space) == 0) name.replace(0, space.size(), "std::");
    for (const std::string_view known : nontrivial_types)
        if (name == known) return {parameter_kind::object_address, 64};
    for (const std::string_view known : view_types)
        if (name == known) return {parameter_kind::view, 64};
    constexpr std::string_view dynamic_extent = "18446744073709551615ul>";
    if (name == "std::span" && type.find(dynamic_extent) != std::string_view::npos)
        return {parameter_kind::view, 64};
    return {parameter_kind::unknown, 64};
}

}  // namespace detail

/// Classifies one element of a demangled parameter list. `unknown` where the name leaves it open.
[[nodiscard]] FTRACE_NOTRACE inline parameter_type classify_parameter(std::string_view type) {
    for (const std::string_view word : {" const", " volatile"}) detail::drop_suffix(type, word);
    if (type.empty()) return {parameter_kind::none, 0};
    for (const detail::named_type& builtin : detail::builtin_types)
        if (type == builtin.name) return {builtin.kind, builtin.bits};
    const char last = type.back();
    if (last == '*' || last == '&') return {parameter_kind::pointer, 64};
    // "int (*)(char)", "int (&) [3]", "int (X::*)(char) const": what stands in the first
    // parentheses decides, unless they belong to a name.
    if (const std::size_t open = type.find(" ("); open != std::string_view::npos) {
        const std::size_t close = detail::skip_brackets(type, open + 1);
        if (close == std::string_view::npos) return {parameter_kind::unknown, 64};
        const std::string_view inner = type.substr(open + 2, close - open - 3);
        const bool declarator = close < type.size() && (type[close] == '(' || type[close] == ' ');
        if (declarator && (inner == "*" || inner == "&" || inner == "&&"))
            return {parameter_kind::pointer, 64};
        if (declarator && inner.size() > 3 && inner.substr(inner.size() - 3) == "::*" &&
            type[close] == '(')
            return {parameter_kind::member_function, 64};
        return {parameter_kind::unknown, 64};
    }
    return detail::classify_template(type);
}

}  // namespace ftrace::inline v0
