// One spelling for the types in C++ names: demanglers write them out in full, people do not.
#pragma once

#include <cstddef>
#include <ftrace/core/config.hpp>
#include <ftrace/sites/name_forms.hpp>
#include <string>
#include <string_view>

namespace ftrace::inline v0::detail {

/// Rewrites a name without spaces (append_without_spaces()) so that these are spelled alike:
///
/// - `const char*` and `char const*`, at any depth; a parameter's own const, which is not part of
///   a function's type, is dropped;
/// - `unsigned` and `unsigned int`, `long int` and `long`;
/// - `std::string` and what it stands for, the standard libraries' inline namespaces and default
///   arguments left out: `std::__cxx11::basic_string<char,std::char_traits<char>,...>`. The same
///   for all of std's `basic_` templates, and for std's containers;
/// - `f(void)` and `f()`.
///
/// Globs are rewritten as names are.
class type_spelling {
public:
    FTRACE_NOTRACE explicit type_spelling(std::string_view name) { append(name); }
    type_spelling(const type_spelling&) = delete;
    type_spelling& operator=(const type_spelling&) = delete;
    FTRACE_NOTRACE ~type_spelling() = default;

    [[nodiscard]] FTRACE_NOTRACE const std::string& text() const noexcept { return out_; }

private:
    FTRACE_NOTRACE void append(std::string_view name) {
        std::size_t i = 0;
        while (i < name.size()) {
            if (const std::size_t behind = behind_operator(name, i); behind != i) {
                out_ += name.substr(i, behind - i);
                i = behind;
            } else if (const std::size_t inner = length_of_inline_namespace(name.substr(i));
                       inner != 0) {
                i += inner;
            } else if (name[i] == '(' || name[i] == '<') {
                const std::size_t end = behind_bracket(name, i);
                const bool closed = name[end - 1] == (name[i] == '(' ? ')' : '>') && end > i + 1;
                if (!closed) {
                    out_ += name[i++];
                    continue;
                }
                append_list(name.substr(i, end - i));
                i = end;
                // "box<int>const&": there was a space.
                if (name[end - 1] == '>' && end < name.size() && is_identifier_char(name[end]))
                    out_ += ' ';
            } else {
                out_ += name[i++];
            }
        }
    }

    /// "::__cxx11" in "::__cxx11::string".
    [[nodiscard]] FTRACE_NOTRACE static std::size_t length_of_inline_namespace(
        std::string_view rest) noexcept {
        for (const std::string_view known : {"::__cxx11", "::__1", "::__2", "::_V2"})
            if (rest.starts_with(known) && rest.substr(known.size()).starts_with("::"))
                return known.size();
        return 0;
    }

    /// A list with its brackets.
    FTRACE_NOTRACE void append_list(std::string_view list) {
        const bool parameters = list[0] == '(';
        const std::size_t begin = out_.size();
        std::size_t name = begin;  // of the template
        while (name > 0 && (is_identifier_char(out_[name - 1]) || out_[name - 1] == ':')) --name;
        const bool of_std = std::string_view(out_).substr(name).starts_with("std::");
        out_ += list[0];
        bool first = true;
        for (std::size_t i = 1; i + 1 < list.size();) {
            std::size_t end = i;
            while (end + 1 < list.size() && list[end] != ',') end = behind_item(list, end);
            if (end + 1 > list.size()) end = list.size() - 1;
            const std::size_t before = out_.size();
            if (!first) out_ += ',';
            const std::size_t argument = out_.size();
            append_argument(list.substr(i, end - i), parameters);
            if (!first && of_std && is_default_argument(std::string_view(out_).substr(argument)))
                out_.resize(before);
            first = false;
            i = end + 1;
        }
        if (parameters && std::string_view(out_).substr(begin) == "(void") out_.resize(begin + 1);
        out_ += list.back();
        if (of_std && !parameters) abbreviate(name, begin);
    }

    /// The index behind the character or the bracketed part at `i`.
    [[nodiscard]] FTRACE_NOTRACE static std::size_t behind_item(std::string_view text,
                                                                std::size_t i) noexcept {
        const char c = text[i];
        return c == '(' || c == '<' || c == '[' || c == '{' ? behind_bracket(text, i) : i + 1;
    }

    FTRACE_NOTRACE void append_argument(std::string_view argument, bool parameter) {
        bool is_const = false, is_volatile = false;
        for (bool more = true; more;) {
            more = false;
            if (argument.starts_with("const ") && argument.size() > 6) {
                argument.remove_prefix(6);
                is_const = more = true;
            } else if (argument.starts_with("volatile ") && argument.size() > 9) {
                argument.remove_prefix(9);
                is_volatile = more = true;
            }
        }
        const std::size_t begin = out_.size();
        std::size_t end = 0;  // of the type that pointers, references and arrays are made of
        while (end < argument.size() && argument[end] != '*' && argument[end] != '&' &&
               argument[end] != '(' && argument[end] != '[')
            end = behind_item(argument, end);
        append_specifier(argument.substr(0, end));
        if (is_const) out_ += " const";
        if (is_volatile) out_ += " volatile";
        append(argument.substr(end));
        if (!parameter) return;
        for (const std::string_view own : {" const", "*const"})
            if (std::string_view(out_).substr(begin).ends_with(own) &&
                out_.size() - begin > own.size())  // "*const" alone is a glob
                out_.resize(out_.size() - 5);
        if (out_.ends_with(' ')) out_.pop_back();
    }

    FTRACE_NOTRACE void append_specifier(std::string_view type) {
        struct synonym {
            std::string_view written, meant;
        };
        constexpr synonym synonyms[] = {{"unsigned", "unsigned int"},
                                        {"signed", "int"},
                                        {"signed int", "int"},
                                        {"short int", "short"},
                                        {"unsigned short int", "unsigned short"},
                                        {"long int", "long"},
                                        {"unsigned long int", "unsigned long"},
                                        {"long unsigned int", "unsigned long"},
                                        {"long long int", "long long"},
                                        {"unsigned long long int", "unsigned long long"},
                                        {"long long unsigned int", "unsigned long long"},
                                        {"long long unsigned", "unsigned long long"},
                                        {"long unsigned", "unsigned long"},
                                        {"short unsigned int", "unsigned short"},
                                        {"std::nullptr_t", "decltype(nullptr)"}};
        for (const synonym& each : synonyms)
            if (type == each.written) type = each.meant;
        append(type);
    }

    [[nodiscard]] FTRACE_NOTRACE static bool is_default_argument(std::string_view text) noexcept {
        for (const std::string_view known :
             {"std::allocator<", "std::char_traits<", "std::less<", "std::equal_to<", "std::hash<",
              "std::default_delete<"})
            if (text.starts_with(known)) return true;
        return false;
    }

    /// "std::basic_string<char>" becomes "std::string". The name begins at `name`, its list
    /// at `list`.
    FTRACE_NOTRACE void abbreviate(std::size_t name, std::size_t list) {
        constexpr std::string_view prefix = "std::basic_";
        const std::string_view made = out_;
        if (!made.substr(name).starts_with(prefix)) return;
        struct letter {
            std::string_view type, mark;
        };
        constexpr letter letters[] = {{"<char>", ""},
                                      {"<wchar_t>", "w"},
                                      {"<char8_t>", "u8"},
                                      {"<char16_t>", "u16"},
                                      {"<char32_t>", "u32"}};
        for (const letter& each : letters)
            if (made.substr(list) == each.type) {
                out_.resize(list);
                out_.replace(name, prefix.size(), std::string("std::") += each.mark);
                return;
            }
    }

    std::string out_;
};

}  // namespace ftrace::inline v0::detail
