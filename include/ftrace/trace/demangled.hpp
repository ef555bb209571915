// The parts of a demangled C++ name.
#pragma once

#include <ftrace/core/config.hpp>

#include <cctype>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace ftrace::inline v0 {

/// `int ns::parse<int>(char const*, int) const [clone .isra.0]`, in parts. All views point into the
/// text given.
struct demangled_name {
    FTRACE_NOTRACE demangled_name() = default;

    /// "int"; only function templates carry it. Of "int (*f<int>(char))(long)" what stands before
    /// the name: "int (*".
    std::string_view return_type;
    std::string_view name;        ///< "ns::parse<int>"
    std::string_view scope;       ///< "ns"; empty where there is none
    std::string_view base;        ///< "parse<int>"
    std::string_view parameters;  ///< "char const*, int"
    std::string_view qualifiers;  ///< " const"
    std::string_view clone;       ///< " [clone .isra.0]", or " (.isra.0)" of LLVM's demangler
    /// Whether there is a parameter list; without one all is in `name`.
    bool is_function = false;
};

namespace detail {

[[nodiscard]] FTRACE_NOTRACE inline bool is_identifier(char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '$';
}

/// Whether the word "operator" stands at `at`.
[[nodiscard]] FTRACE_NOTRACE inline bool operator_at(std::string_view text, std::size_t at) {
    constexpr std::string_view word = "operator";
    return text.substr(at, word.size()) == word && (at == 0 || !is_identifier(text[at - 1])) &&
           (at + word.size() == text.size() || !is_identifier(text[at + word.size()]));
}

/// Behind the symbol of the operator at `at`: of "operator<<(", the place of the parenthesis. A
/// conversion, new, delete or a literal operator has no symbol: then behind the word "operator".
[[nodiscard]] FTRACE_NOTRACE inline std::size_t skip_operator(std::string_view text,
                                                              std::size_t at) {
    at += std::string_view("operator").size();
    constexpr std::string_view symbols[] = {
        "<=>", "->*", "<<=", ">>=", "()", "[]", "->", "<<", ">>", "<=", ">=", "==", "!=",
        "&&",  "||",  "++",  "--",  "+=", "-=", "*=", "/=", "%=", "^=", "&=", "|=", "<",
        ">",   "+",   "-",   "*",   "/",  "%",  "^",  "&",  "|",  "~",  "!",  "=",  ","};
    for (const std::string_view symbol : symbols)
        if (text.substr(at, symbol.size()) == symbol) return at + symbol.size();
    return at;
}

/// Behind the bracket that closes the one at `at`, brackets of all kinds nested; npos where
/// none does.
[[nodiscard]] FTRACE_NOTRACE inline std::size_t skip_brackets(std::string_view text,
                                                              std::size_t at) {
    std::size_t depth = 0;
    while (at < text.size()) {
        if (operator_at(text, at)) {
            at = skip_operator(text, at);
            continue;
        }
        const char c = text[at++];
        if (c == '(' || c == '<' || c == '[' || c == '{') ++depth;
        const bool arrow = c == '>' && at >= 2 && text[at - 2] == '-';
        if (c == ')' || c == ']' || c == '}' || (c == '>' && !arrow)) {
            if (depth == 0) return std::string_view::npos;
            if (--depth == 0) return at;
        }
    }
    return std::string_view::npos;
}

/// Takes `suffix` from the end of `text`; says whether it was there.
FTRACE_NOTRACE inline bool drop_suffix(std::string_view& text, std::string_view suffix) {
    if (text.size() < suffix.size() || text.substr(text.size() - suffix.size()) != suffix)
        return false;
    text.remove_suffix(suffix.size());
    return true;
}

/// The place of the '(' that the text's last character, a ')', closes.
[[nodiscard]] FTRACE_NOTRACE inline std::size_t opening_parenthesis(std::string_view text) {
    std::size_t depth = 0;
    for (std::size_t at = text.size(); at-- > 0;) {
        if (text[at] == ')') ++depth;
        if (text[at] == '(' && --depth == 0) return at;
    }
    return std::string_view::npos;
}

/// Takes the qualifiers of a member function from the end of `text`.
FTRACE_NOTRACE inline void drop_qualifiers(std::string_view& text) {
    for (bool again = true; again;) {
        again = false;
        for (const std::string_view word : {" const", " volatile", " &&", " &", "&&", "&"})
            again |= drop_suffix(text, word);
    }
}

/// Behind the qualifiers of a function that is a scope, as in "f(int) const::{lambda()#1}"; `at`
/// where others follow: in "decltype(auto) f<int>" it is the name.
[[nodiscard]] FTRACE_NOTRACE inline std::size_t skip_scope_qualifiers(std::string_view text,
                                                                      std::size_t at) {
    const std::size_t end = text.find("::", at);
    if (end == std::string_view::npos) return at;
    std::string_view between = text.substr(at, end - at);
    drop_qualifiers(between);
    return between.empty() ? end : at;
}

/// "*f<int>(char)", what stands in the parentheses of "int (*f<int>(char))(long)": behind the
/// operators of the declarator; 0 if there is none, or nothing behind.
[[nodiscard]] FTRACE_NOTRACE inline std::size_t skip_declarator(std::string_view text) {
    std::size_t at = 0;
    if (text.empty() || (text[0] != '*' && text[0] != '&')) {
        // "S::*f<int>(char)": a pointer to a member
        at = text.find("::*");
        if (at == std::string_view::npos || text.substr(0, at).find('(') != std::string_view::npos)
            return 0;
        at += 2;
    }
    while (at < text.size() && (text[at] == '*' || text[at] == '&')) ++at;
    for (const std::string_view word : {" const ", " volatile "})
        if (text.substr(at, word.size()) == word) at += word.size();
    return at < text.size() ? at : 0;
}

/// Fills return_type, name, scope and base from what stands before the parameter list.
FTRACE_NOTRACE inline void split_head(std::string_view head, demangled_name& out) {
    std::size_t begin = 0, base = 0;
    for (std::size_t at = 0; at < head.size();) {
        if (operator_at(head, at)) {
            const std::size_t behind = skip_operator(head, at);
            // A conversion's type, and the words new and delete, reach to the end.
            if (behind == at + std::string_view("operator").size()) break;
            at = behind;
            if (head.substr(at, 2) == " <") ++at;  // "operator< <int>"
            continue;
        }
        const char c = head[at];
        if (c == '(' || c == '<' || c == '[' || c == '{') {
            const std::size_t behind = skip_brackets(head, at);
            if (behind == std::string_view::npos) break;
            at = behind;
            continue;
        }
        if (c == ' ' && at > 0 && head[at - 1] == ')') {
            if (const std::size_t behind = skip_scope_qualifiers(head, at); behind != at) {
                at = behind;
                continue;
            }
        }
        if (c == ' ') begin = base = at + 1;
        if (c == ':' && head.substr(at, 2) == "::") {
            base = at + 2;
            ++at;
        }
        ++at;
    }
    out.return_type = head.substr(0, begin == 0 ? 0 : begin - 1);
    out.name = head.substr(begin);
    out.base = head.substr(base);
    out.scope = base == begin ? std::string_view{} : head.substr(begin, base - begin - 2);
}

[[nodiscard]] FTRACE_NOTRACE inline bool split_declarator(std::string_view text,
                                                          demangled_name& out);

}  // namespace detail

/// Splits a name as the demangler writes it. A name without a parameter list (a C function, a
/// variable) is kept whole.
[[nodiscard]] FTRACE_NOTRACE inline demangled_name split_demangled(std::string_view text) {
    demangled_name out;
    std::string_view rest = text;
    std::size_t clone = rest.find(" [clone ");
    if (clone == std::string_view::npos) {
        clone = rest.rfind(" (.");
        if (clone != std::string_view::npos && rest.substr(clone, 6) == " (...)")
            clone = std::string_view::npos;
    }
    if (clone != std::string_view::npos) {
        out.clone = rest.substr(clone);
        rest = rest.substr(0, clone);
    }
    const std::size_t whole = rest.size();
    detail::drop_qualifiers(rest);
    // "int (&f<int>(int)) [3]"
    std::string_view declarator = rest;
    while (!declarator.empty() && declarator.back() == ']') {
        const std::size_t bracket = declarator.rfind('[');
        declarator.remove_suffix(declarator.size() -
                                 (bracket == std::string_view::npos ? 0 : bracket));
        detail::drop_suffix(declarator, " ");
    }
    if (detail::split_declarator(declarator, out)) return out;
    if (rest.empty() || rest.back() != ')') {
        out.name = out.base = text.substr(0, whole);
        return out;
    }
    const std::size_t open = detail::opening_parenthesis(rest);
    if (open != std::string_view::npos && detail::split_declarator(rest.substr(0, open), out))
        return out;
    if (open == std::string_view::npos || open == 0) {
        out.name = out.base = text.substr(0, whole);
        return out;
    }
    out.is_function = true;
    out.qualifiers = text.substr(rest.size(), whole - rest.size());
    out.parameters = rest.substr(open + 1, rest.size() - open - 2);
    detail::split_head(rest.substr(0, open), out);
    return out;
}

namespace detail {

/// "int (*f<int>(char) const)", without the parameters of the function that f returns the address
/// of: a function inside of its result's declarator. False: it is not that.
FTRACE_NOTRACE inline bool split_declarator(std::string_view text, demangled_name& out) {
    if (text.empty() || text.back() != ')') return false;
    const std::size_t open = opening_parenthesis(text);
    if (open == std::string_view::npos || (open != 0 && text[open - 1] != ' ')) return false;
    const std::string_view inner = text.substr(open + 1, text.size() - open - 2);
    const std::size_t operators = skip_declarator(inner);
    if (operators == 0) return false;
    const demangled_name nested = split_demangled(inner.substr(operators));
    if (!nested.is_function || nested.name.empty()) return false;
    out.name = nested.name;
    out.scope = nested.scope;
    out.base = nested.base;
    out.parameters = nested.parameters;
    out.qualifiers = nested.qualifiers;
    out.is_function = true;
    out.return_type = text.substr(0, open + 1 + operators);
    return true;
}

}  // namespace detail

/// The elements of a parameter or template argument list, split at its own commas.
[[nodiscard]] FTRACE_NOTRACE inline std::vector<std::string_view> split_list(
    std::string_view list) {
    std::vector<std::string_view> elements;
    std::size_t begin = 0, at = 0;
    const auto add = [&](std::size_t end) FTRACE_NOTRACE {
        std::string_view element = list.substr(begin, end - begin);
        while (!element.empty() && element.front() == ' ') element.remove_prefix(1);
        elements.push_back(element);
        begin = end + 1;
    };
    while (at < list.size()) {
        if (detail::operator_at(list, at)) {
            at = detail::skip_operator(list, at);
        } else if (list[at] == '(' || list[at] == '<' || list[at] == '[' || list[at] == '{') {
            const std::size_t behind = detail::skip_brackets(list, at);
            at = behind == std::string_view::npos ? list.size() : behind;
        } else {
            if (list[at] == ',') add(at);
            ++at;
        }
    }
    if (!list.empty()) add(list.size());
    return elements;
}

/// `text` with the contents of all template argument lists replaced by `with`; "" removes the
/// brackets too.
[[nodiscard]] FTRACE_NOTRACE inline std::string collapse_templates(std::string_view text,
                                                                   std::string_view with) {
    std::string out;
    for (std::size_t at = 0; at < text.size();) {
        if (detail::operator_at(text, at)) {
            const std::size_t behind = detail::skip_operator(text, at);
            out += text.substr(at, behind - at);
            at = behind;
        } else if (text[at] == '<') {
            const std::size_t behind = detail::skip_brackets(text, at);
            if (behind == std::string_view::npos) return out.append(text.substr(at));
            if (!with.empty()) out.append("<").append(with).append(">");
            at = behind;
        } else {
            out += text[at++];
        }
    }
    return out;
}

/// The last `count` components of a qualified name.
[[nodiscard]] FTRACE_NOTRACE inline std::string_view last_components(std::string_view name,
                                                                     std::size_t count) {
    std::string_view scope = name;
    for (; count > 0; --count) {
        demangled_name parts;
        detail::split_head(scope, parts);
        if (parts.scope.empty()) return name;
        scope = parts.scope;
    }
    return name.substr(scope.size() + 2);
}

}  // namespace ftrace::inline v0
