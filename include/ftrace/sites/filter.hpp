// Patterns of set_ftrace_filter, for C++ names.
#pragma once

#include <cstddef>
#include <ftrace/core/config.hpp>
#include <ftrace/core/result.hpp>
#include <ftrace/sites/glob.hpp>
#include <ftrace/sites/library_names.hpp>
#include <ftrace/sites/loaded_image.hpp>
#include <ftrace/sites/name_forms.hpp>
#include <ftrace/sites/type_spelling.hpp>
#include <string>
#include <string_view>
#include <utility>

namespace ftrace::inline v0 {
namespace detail {

/// What the demangler writes that stands in no linker name: a word within one of these says nothing
/// about the linker name.
inline constexpr std::string_view words_of_demanglers =
    "operator new delete co_await void wchar_t bool char signed unsigned short int long __int128 "
    "float double __float128 _Float16 _Float32x _Float64x _Float128x half std::bfloat16_t "
    "decimal32 decimal64 decimal128 char8_t char16_t char32_t auto decltype nullptr_t _BitInt "
    "_Complex _Imaginary __vector restrict const volatile noexcept throw typename template class "
    "enum union struct requires concept std allocator basic_string string istream ostream iostream "
    "basic_istream basic_ostream basic_iostream char_traits anonymous namespace lambda unnamed "
    "type block literal default arg parm this true false sizeof alignof typeid dynamic_cast "
    "static_cast const_cast reinterpret_cast clone initializer for thunk virtual non guard fp "
    "variable reference temporary transaction safe pack expansion global constructors destructors "
    "keyed to vtable typeinfo name construction ull substitution "
    // Abbreviations of type_spelling.hpp.
    "wstring u8string u16string u32string wstring_view u8string_view u16string_view u32string_view "
    "wistream wostream wiostream wifstream wofstream wfstream wistringstream wostringstream "
    "wstringstream wstreambuf wfilebuf wstringbuf wsyncbuf wosyncstream wios ";

/// The word that a name's linker form must contain if the pattern is to match; empty if no such
/// word is certain.
[[nodiscard]] FTRACE_NOTRACE inline std::string certain_word(const glob& pattern) {
    std::string word = pattern.longest_word();
    if (words_of_demanglers.find(word) != std::string_view::npos) word.clear();
    return word;
}

[[nodiscard]] FTRACE_NOTRACE inline std::string_view without_blanks(
    std::string_view text) noexcept {
    constexpr std::string_view blanks = " \t\r\n";
    const std::size_t begin = text.find_first_not_of(blanks);
    if (begin == std::string_view::npos) return {};
    return text.substr(begin, text.find_last_not_of(blanks) - begin + 1);
}

/// Calls visitor(word) for each pattern of a list. C++ names contain spaces and commas: patterns
/// are parted by `;` or a new line.
template <typename Visitor>
FTRACE_NOTRACE void for_each_pattern(std::string_view list, Visitor&& visitor) {
    while (!list.empty()) {
        const std::size_t end = list.find_first_of(";\n");
        const std::string_view word = without_blanks(list.substr(0, end));
        if (!word.empty()) visitor(word);
        if (end == std::string_view::npos) break;
        list.remove_prefix(end + 1);
    }
}

}  // namespace detail

/// One pattern: `[!]name[:mod:[!]object]`.
///
/// `name` is a glob (`*`, `?`, `[a-z]`, `[!a-z]`, `\`; see detail::glob for `operator*`,
/// `f(char*)`, `operator[]`), empty for `*`. A name matches if the pattern fits one of
///
///   - its qualified C++ name, whatever the parameters: `ns::Parser::parse`, `max<int>`, `max`
///     (template argument lists and ABI tags may be left out);
///   - that name with its parameters, with or without what follows them, if the pattern has a `(`:
///     `ns::Parser::parse(char const*)`. Types may be written as the listing shows them, or as
///     people do: `const char*`, `std::string`, `std::vector<int>` (detail::type_spelling). What a
///     C function takes is not known: `c_func()` and `c_func(*)` match it;
///   - its linker name: exactly, or, if the pattern begins with `_Z`, as a glob. (Linker names hold
///     the types of all parameters: `*alloc*` would match whatever takes a std::string.)
///
/// A copy that the compiler made of a function with other parameters is another function, as in
/// the kernel: its qualified name is `ns::parse.isra.0`. `ns::parse` and `ns::parse(int)` do not
/// match it, since they would give a callback that reads the arguments of `parse` to something that
/// does not take them. `ns::parse*`, `ns::parse*.isra*` and the copy's full name, `ns::parse(int)
/// [clone .isra.0]`, do. (detail::is_clone() knows which copies these are. Names of others, as
/// `parse.lto_priv.0` and `parse.avx2`, match as the original's do.)
///
/// A pattern that is a function's full name, letter by letter, matches that function, whatever the
/// characters would mean in a glob.
///
/// `object` is a glob over an object's file name, `libz.so.1` or `libz`, or with a `/` over its
/// path; `!` inverts it. `:mod:*` means every shared object, `:mod:!*` the executable, as the
/// kernel's modules and its core.
///
/// A leading `!` is only reported (negated()): removing is the business of who keeps the set.
class name_pattern {
public:
    FTRACE_NOTRACE name_pattern(name_pattern&&) = default;
    FTRACE_NOTRACE name_pattern& operator=(name_pattern&&) = default;
    FTRACE_NOTRACE name_pattern(const name_pattern&) = default;
    FTRACE_NOTRACE name_pattern& operator=(const name_pattern&) = default;
    FTRACE_NOTRACE ~name_pattern() = default;

    /// invalid_argument: an empty pattern, or an empty object behind `:mod:`.
    [[nodiscard]] FTRACE_NOTRACE static result<name_pattern> parse(std::string_view text) {
        name_pattern made;
        std::string_view rest = detail::without_blanks(text);
        made.text_ = rest;
        if (rest.starts_with('!')) {
            made.negated_ = true;
            rest = detail::without_blanks(rest.substr(1));
        }
        if (rest.empty())
            return error{errc::invalid_argument,
                         "the pattern '" + std::string(text) +
                             "' is empty: write a function's name, or a glob as in parse*"};
        if (const std::size_t command = find_command(rest); command != std::string_view::npos) {
            std::string_view object = rest.substr(command + module_command.size());
            made.has_object_ = true;
            if (object.starts_with('!')) {
                made.other_objects_ = true;
                object.remove_prefix(1);
            }
            if (object.empty())
                return error{errc::invalid_argument,
                             "the pattern '" + std::string(text) +
                                 "' names no object: write :mod:libz or :mod:!libz"};
            made.object_ = detail::glob(object);
            made.object_is_path_ = object.find('/') != std::string_view::npos;
            rest = rest.substr(0, command);
            if (rest.empty()) rest = "*";
        }
        made.set_name(rest,
                      [](std::string_view name) FTRACE_NOTRACE { return detail::glob(name); });
        return made;
    }

    /// A name in which no character means anything but itself: no wildcard, no `!`, no `:mod:`.
    /// invalid_argument: an empty one.
    [[nodiscard]] FTRACE_NOTRACE static result<name_pattern> exactly(std::string_view name) {
        name_pattern made;
        made.text_ = detail::without_blanks(name);
        if (made.text_.empty())
            return error{errc::invalid_argument, "an empty name: write a function's name"};
        made.set_name(made.text_, detail::glob::exactly);
        return made;
    }

    /// Whether this is one of the functions meant; negation plays no part. Allocates.
    [[nodiscard]] FTRACE_NOTRACE bool matches(const name_forms& names) const {
        if (has_object_ && !matches_object(names.object(), names.in_executable())) return false;
        if (glob_.matches_everything()) return true;
        const std::string_view linker_name = names.linker_name();
        if (linker_name == name_) return true;
        if (is_linker_name_) return glob_.matches(linker_name);
        // Every identifier of the demangled name stands in the linker name, but for the
        // demangler's own words: most names are never demangled.
        if (!word_.empty() && linker_name.find(word_) == std::string_view::npos) return false;
        return matches_demangled(names, detail::is_clone(linker_name));
    }

    /// Whether this is a copy with other parameters, which does not match, of a function that
    /// would. Allocates.
    [[nodiscard]] FTRACE_NOTRACE bool matches_original_of(const name_forms& names) const {
        return detail::is_clone(names.linker_name()) && !is_linker_name_ &&
               matches_object(names.object(), names.in_executable()) &&
               !matches_demangled(names, true) && matches_demangled(names, false);
    }

    /// Whether anything in an object can match; a cheap test before all of its functions.
    [[nodiscard]] FTRACE_NOTRACE bool matches_object(std::string_view path,
                                                     bool executable) const noexcept {
        if (!has_object_) return true;
        const std::string_view name = detail::base_of_path(path);
        bool found;
        if (object_.matches_everything())
            found = !executable;
        else if (object_is_path_)
            found = object_.matches(path);
        else
            found = object_.matches(name) || object_.matches(name.substr(0, name.find(".so")));
        return found != other_objects_;
    }

    /// Whether it began with `!`.
    [[nodiscard]] FTRACE_NOTRACE bool negated() const noexcept { return negated_; }
    /// The pattern as it was written, without blanks around it.
    [[nodiscard]] FTRACE_NOTRACE const std::string& text() const noexcept { return text_; }
    /// Its name part.
    [[nodiscard]] FTRACE_NOTRACE const std::string& name() const noexcept { return name_; }

private:
    static constexpr std::string_view module_command = ":mod:";

    FTRACE_NOTRACE name_pattern() = default;

    template <class MakeGlob>
    FTRACE_NOTRACE void set_name(std::string_view written, MakeGlob make_glob) {
        detail::append_without_spaces(name_, written);
        glob_ = make_glob(name_);
        if (name_.find_first_of("(<") != std::string::npos ||
            name_.find("std::") != std::string::npos) {
            spelling_ = detail::type_spelling(name_).text();
            spelling_glob_ = make_glob(spelling_);
        }
        // Within braces and quotes demanglers describe what has no name: "{lambda(int)#1}".
        if (name_.find_first_of("{'#") == std::string::npos) word_ = detail::certain_word(glob_);
        has_parameters_ = name_.find('(') != std::string::npos;
        is_linker_name_ = name_.starts_with("_Z");
    }

    /// Where `:mod:` begins. `a::mod::b` is a name.
    [[nodiscard]] FTRACE_NOTRACE static std::size_t find_command(std::string_view text) noexcept {
        for (std::size_t at = text.rfind(module_command); at != std::string_view::npos && at != 0;
             at = text.rfind(module_command, at - 1)) {
            if (text[at - 1] != ':' && !text.substr(at + module_command.size()).starts_with(':'))
                return at;
        }
        return text.starts_with(module_command) && !text.starts_with(":mod::")
                   ? 0
                   : std::string_view::npos;
    }

    /// `as_clone`: under the name of a copy with other parameters, not under its original's.
    [[nodiscard]] FTRACE_NOTRACE bool matches_demangled(const name_forms& names,
                                                        bool as_clone) const {
        const detail::name_parts& parts = names.parts();
        const std::string_view added = detail::clone_suffix(names.linker_name());
        const bool mangled = names.linker_name().starts_with("_Z");
        // What a demangler leaves alone keeps what was appended.
        std::string_view qualified = parts.qualified;
        if (!mangled) {
            if (fits(qualified)) return true;
            qualified.remove_suffix(added.size());
        }
        // The qualified name as it is, without ABI tags, without template arguments.
        const bool decorated = qualified.find('<') != std::string_view::npos ||
                               qualified.find("[abi:") != std::string_view::npos;
        std::string plain;
        for (int form = 0; form < (decorated ? 3 : 1); ++form) {
            plain.clear();
            if (form == 0)
                plain = qualified;
            else
                detail::append_plain(plain, qualified, form == 1);
            const std::size_t size = plain.size();
            if (as_clone) plain += added;
            if (fits(plain)) return true;
            if (!has_parameters_ || (as_clone && !mangled)) continue;
            plain.resize(size);
            plain += mangled ? parts.parameters : "()";
            if (!as_clone && fits(plain)) return true;
            plain += parts.suffix;
            if (fits(plain)) return true;
        }
        return fits_whole(names.demangled());
    }

    /// A name with its spaces.
    [[nodiscard]] FTRACE_NOTRACE bool fits(std::string_view name) const {
        std::string tidy;
        detail::append_without_spaces(tidy, name);
        if (tidy == name_ || glob_.matches(tidy)) return true;
        if (spelling_.empty()) return false;
        const detail::type_spelling spelling(tidy);
        return spelling.text() == spelling_ || spelling_glob_.matches(spelling.text());
    }

    /// The full name, return type and all: to the letter, or as a glob with parameters.
    [[nodiscard]] FTRACE_NOTRACE bool fits_whole(std::string_view name) const {
        if (has_parameters_) return fits(name);
        std::string tidy;
        detail::append_without_spaces(tidy, name);
        return tidy == name_;
    }

    std::string text_;
    std::string name_;
    detail::glob glob_;
    std::string spelling_;  ///< the name in type_spelling's form; empty if it cannot differ
    detail::glob spelling_glob_;
    detail::glob object_;
    std::string word_;
    bool negated_ = false;
    bool has_object_ = false;
    bool other_objects_ = false;
    bool object_is_path_ = false;
    bool has_parameters_ = false;
    bool is_linker_name_ = false;
};

}  // namespace ftrace::inline v0
