// Everything one function may be called.
#pragma once

#include <cstddef>
#include <ftrace/core/config.hpp>
#include <ftrace/sites/demangle.hpp>
#include <ftrace/sites/glob.hpp>
#include <string>
#include <string_view>

namespace ftrace::inline v0 {
namespace detail {

/// The parts of a demangled function name: "int ns::max<int>(int, int) const" has the return type
/// "int", the qualified name "ns::max<int>", the parameters "(int, int)" and the suffix " const".
struct name_parts {
    std::string_view qualified;
    std::string_view parameters;  ///< empty: the name of a C function, or none at all
    std::string_view suffix;
};

/// The index behind the bracket that closes the one at `open`; size() if none does. The `>` of
/// `->` closes nothing.
[[nodiscard]] FTRACE_NOTRACE inline std::size_t behind_bracket(std::string_view name,
                                                               std::size_t open) noexcept {
    int depth = 0;
    for (std::size_t i = open; i < name.size(); ++i) {
        const char c = name[i];
        if (c == '(' || c == '<' || c == '[' || c == '{') ++depth;
        if (c == ')' || c == ']' || c == '}' || (c == '>' && name[i - 1] != '-')) --depth;
        if (depth == 0) return i + 1;
    }
    return name.size();
}

/// The index behind the word `operator` at `i` and what belongs to it; `i` if there is none.
[[nodiscard]] FTRACE_NOTRACE inline std::size_t behind_operator(std::string_view name,
                                                                std::size_t i) noexcept {
    constexpr std::string_view word = "operator";
    if (!name.substr(i).starts_with(word) || (i > 0 && is_identifier_char(name[i - 1]))) return i;
    std::size_t at = i + word.size();
    if (at == name.size() || is_identifier_char(name[at])) return i;
    const std::string_view rest = name.substr(at);
    if (rest.starts_with("()") || rest.starts_with("[]")) return at + 2;
    if (rest.starts_with(' ') && !rest.starts_with(" <")) {  // new, delete, conversion to a type
        while (at < name.size() && name[at] != '(')
            at = name[at] == '<' ? behind_bracket(name, at) : at + 1;
        return at;
    }
    if (rest.starts_with("\"\" ")) return at + 3;
    for (const std::string_view symbol :
         {"<=>", "<<=", ">>=", "->*", "<<", ">>", "<=", ">=", "==", "!=", "&&", "||",
          "++",  "--",  "->",  "+=",  "-=", "*=", "/=", "%=", "^=", "&=", "|="})
        if (rest.starts_with(symbol)) return at + symbol.size();
    return at + 1;
}

/// The length of the qualifiers of a member function at the beginning of `rest`.
[[nodiscard]] FTRACE_NOTRACE inline std::size_t length_of_qualifiers(
    std::string_view rest) noexcept {
    std::size_t length = 0;
    for (bool more = true; more;) {
        more = false;
        for (const std::string_view word : {" const", " volatile", " restrict", " &&", " &"})
            if (rest.substr(length).starts_with(word)) {
                length += word.size();
                more = true;
            }
    }
    return length;
}

/// Whether `rest`, behind a closing parenthesis and qualifiers, ends a function's name.
[[nodiscard]] FTRACE_NOTRACE inline bool ends_name(std::string_view rest) noexcept {
    if (rest.empty()) return true;
    for (const std::string_view word : {" [", " (.", " noexcept", " requires ", " ->", "@"})
        if (rest.starts_with(word)) return true;
    return false;
}

/// The index of the name in "*f<int>(char)", what the parentheses of "int (*f<int>(char))(long)"
/// hold: a function that returns a pointer or a reference to a function, array or member. 0: none.
[[nodiscard]] FTRACE_NOTRACE inline std::size_t behind_declarator(std::string_view inner) noexcept {
    std::size_t at = 0;
    if (!inner.starts_with('*') && !inner.starts_with('&')) {
        at = inner.find("::*");
        if (at == std::string_view::npos || inner.find('(') < at) return 0;
        at += 2;
    }
    while (at < inner.size() && (inner[at] == '*' || inner[at] == '&')) ++at;
    return at < inner.size() ? at : 0;
}

[[nodiscard]] FTRACE_NOTRACE inline name_parts split_name(std::string_view name) noexcept {
    std::size_t begin = 0, i = 0;
    while (i < name.size()) {
        if (const std::size_t behind = behind_operator(name, i); behind != i) {
            i = behind;
            // "operator< <int>": the space belongs to the name.
            if (name.substr(i).starts_with(" <")) i = behind_bracket(name, i + 1);
            continue;
        }
        const char c = name[i];
        if (c == '(') {
            const std::size_t end = behind_bracket(name, i);
            const std::string_view rest = name.substr(end);
            const std::size_t qualifiers = length_of_qualifiers(rest);
            if (i == begin && (rest.starts_with('(') || rest.starts_with(" ["))) {
                const std::string_view inner = name.substr(i + 1, end - i - 2);
                if (const std::size_t at = behind_declarator(inner); at != 0) {
                    name_parts nested = split_name(inner.substr(at));
                    const std::size_t clone = rest.find(" [clone ");
                    if (nested.suffix.empty() && clone != std::string_view::npos)
                        nested.suffix = rest.substr(clone);
                    if (!nested.parameters.empty()) return nested;
                }
            }
            if (ends_name(rest.substr(qualifiers)))
                return {name.substr(begin, i - begin), name.substr(i, end - i), rest};
            // "(anonymous namespace)::f", "f(int) const::{lambda()#1}": the name goes on.
            i = end;
            if (rest.substr(qualifiers).starts_with("::")) i += qualifiers;
        } else if (c == '<' || c == '[' || c == '{') {
            i = behind_bracket(name, i);
        } else {
            ++i;
            if (c == ' ') begin = i;
        }
    }
    return {name.substr(begin), {}, {}};
}

/// Appends a qualified name without ABI tags, and without template argument lists if asked to.
FTRACE_NOTRACE inline void append_plain(std::string& out, std::string_view name,
                                        bool keep_templates) {
    std::size_t i = 0;
    while (i < name.size()) {
        if (const std::size_t behind = behind_operator(name, i); behind != i) {
            out += name.substr(i, behind - i);
            i = behind;
            if (!keep_templates && name.substr(i).starts_with(" <")) ++i;
            continue;
        }
        const bool tag = name.substr(i).starts_with("[abi:");
        if (tag || (name[i] == '<' && !keep_templates)) {
            i = behind_bracket(name, i);
        } else if (name[i] == '(' || name[i] == '{') {
            const std::size_t end = behind_bracket(name, i);
            out += name.substr(i, end - i);
            i = end;
        } else {
            out += name[i++];
        }
    }
}

}  // namespace detail

/// The names of one function, made as they are asked for. Refers to what it was made from: for use
/// within one call.
class name_forms {
public:
    /// `object` is the path or name of the object the function is in.
    FTRACE_NOTRACE name_forms(detail::demangler& demangle, std::string_view linker_name,
                              std::string_view object, bool in_executable) noexcept
        : demangle_(&demangle),
          linker_name_(linker_name),
          object_(object),
          in_executable_(in_executable) {}

    /// "_ZN2ns6Parser5parseEPKc"
    [[nodiscard]] FTRACE_NOTRACE std::string_view linker_name() const noexcept {
        return linker_name_;
    }
    [[nodiscard]] FTRACE_NOTRACE std::string_view object() const noexcept { return object_; }
    [[nodiscard]] FTRACE_NOTRACE bool in_executable() const noexcept { return in_executable_; }

    /// "ns::Parser::parse(char const*)"
    [[nodiscard]] FTRACE_NOTRACE std::string_view demangled() const {
        if (demangled_.data() == nullptr) demangled_ = (*demangle_)(linker_name_);
        return demangled_;
    }
    /// Its parts; "ns::Parser::parse" is the qualified name.
    [[nodiscard]] FTRACE_NOTRACE const detail::name_parts& parts() const {
        if (parts_.qualified.data() == nullptr) parts_ = detail::split_name(demangled());
        return parts_;
    }

private:
    detail::demangler* demangle_;
    std::string_view linker_name_;
    std::string_view object_;
    bool in_executable_;
    mutable std::string_view demangled_{};
    mutable detail::name_parts parts_{};
};

}  // namespace ftrace::inline v0
