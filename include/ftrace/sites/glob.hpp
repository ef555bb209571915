// Globs over C++ names.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <ftrace/core/config.hpp>
#include <string>
#include <string_view>

namespace ftrace::inline v0::detail {

[[nodiscard]] FTRACE_NOTRACE constexpr bool is_identifier_char(char c) noexcept {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '$' || static_cast<unsigned char>(c) >= 0x80;
}

/// A name with the spaces dropped that do not part two words: "f(int, char const*)" and
/// "f(int,char const *)" are one.
FTRACE_NOTRACE inline void append_without_spaces(std::string& out, std::string_view name) {
    for (std::size_t i = 0; i < name.size(); ++i)
        if (name[i] != ' ') {
            if (i > 0 && name[i - 1] == ' ' && !out.empty() && is_identifier_char(out.back()) &&
                is_identifier_char(name[i]))
                out += ' ';
            out += name[i];
        }
}

/// A compiled glob: `*`, `?`, `[a-z]`, `[!a-z]`, and `\` before a character that means itself. What
/// C++ names are made of keeps its meaning where it is told apart:
///
/// - A `[` without its `]`, an empty `[]`, `[abi:...]` and `[clone .` are letters: `operator[]`,
///   `f[abi:cxx11]`, `f(int) [clone .isra.0]`.
/// - Behind a type in a parameter or template argument list `*` is the pointer's star: `f(char*)`,
///   `f(char const**, int*)`. A wildcard stands alone there, or behind `::`: `f(*)`, `f(int, *)`.
/// - Right behind the word `operator` it is the operator: `operator*`, `operator*=`.
class glob {
public:
    FTRACE_NOTRACE glob() = default;
    FTRACE_NOTRACE glob(glob&&) = default;
    FTRACE_NOTRACE glob& operator=(glob&&) = default;
    FTRACE_NOTRACE glob(const glob&) = default;
    FTRACE_NOTRACE glob& operator=(const glob&) = default;
    FTRACE_NOTRACE ~glob() = default;
    FTRACE_NOTRACE explicit glob(std::string_view pattern) {
        int lists = 0;
        for (std::size_t i = 0; i < pattern.size(); ++i) {
            const char c = pattern[i];
            if (c == '(' || c == '<') ++lists;
            if ((c == ')' || c == '>') && lists > 0) --lists;
            if (c == '*' && !is_star_of_name(pattern, i, lists)) {
                if (size() == 0 || at(size() - 1).kind != token::any_run) add(token::any_run, 0);
                literal_ = false;
            } else if (c == '?') {
                add(token::any_one, 0);
                literal_ = false;
            } else if (const std::size_t end = c == '[' ? end_of_class(pattern, i) : 0; end != 0) {
                add_class(pattern.substr(i + 1, end - i - 1));
                i = end;
                literal_ = false;
            } else {
                if (c == '\\' && i + 1 < pattern.size()) ++i;
                add(token::letter, static_cast<unsigned char>(pattern[i]));
            }
        }
    }

    /// One of letters alone, whatever they would mean.
    [[nodiscard]] FTRACE_NOTRACE static glob exactly(std::string_view name) {
        glob made;
        for (const char c : name) made.add(token::letter, static_cast<unsigned char>(c));
        return made;
    }

    /// Whether it has no wildcard.
    [[nodiscard]] FTRACE_NOTRACE bool is_literal() const noexcept { return literal_; }
    /// Whether it is `*` alone.
    [[nodiscard]] FTRACE_NOTRACE bool matches_everything() const noexcept {
        return size() == 1 && at(0).kind == token::any_run;
    }

    [[nodiscard]] FTRACE_NOTRACE bool matches(std::string_view text) const noexcept {
        // On a mismatch, go back to the last `*` and let it take one character more.
        constexpr std::size_t none = ~std::size_t{0};
        std::size_t next = 0, i = 0, star = none, taken = 0;
        while (i < text.size()) {
            if (next < size() && at(next).kind == token::any_run) {
                star = next++;
                taken = i;
            } else if (next < size() && accepts(at(next), text[i])) {
                ++next;
                ++i;
            } else if (star != none) {
                next = star + 1;
                i = ++taken;
            } else {
                return false;
            }
        }
        while (next < size() && at(next).kind == token::any_run) ++next;
        return next == size();
    }

    /// The longest part of an identifier that every match contains.
    [[nodiscard]] FTRACE_NOTRACE std::string longest_word() const {
        std::string longest, word;
        for (std::size_t i = 0; i <= size(); ++i) {
            const bool letter = i < size() && at(i).kind == token::letter &&
                                is_identifier_char(static_cast<char>(at(i).value));
            if (letter) {
                word += static_cast<char>(at(i).value);
                continue;
            }
            // A word that begins with digits may begin within a number of the name.
            word.erase(0, word.find_first_not_of("0123456789"));
            if (word.size() > longest.size()) longest = word;
            word.clear();
        }
        return longest;
    }

private:
    struct token {
        enum kind_type : unsigned char { letter, any_one, any_run, one_of } kind;
        unsigned char value;  // the letter, or the index of the class
    };
    FTRACE_NOTRACE void add(token::kind_type kind, unsigned char value) {
        tokens_ += static_cast<char>(kind);
        tokens_ += static_cast<char>(value);
    }
    [[nodiscard]] FTRACE_NOTRACE std::size_t size() const noexcept { return tokens_.size() / 2; }
    [[nodiscard]] FTRACE_NOTRACE token at(std::size_t i) const noexcept {
        return {static_cast<token::kind_type>(tokens_[2 * i]),
                static_cast<unsigned char>(tokens_[2 * i + 1])};
    }
    struct char_class {
        std::uint64_t bits[4];
        FTRACE_NOTRACE void add(unsigned char c) noexcept {
            bits[c / 64] |= std::uint64_t{1} << (c % 64);
        }
        [[nodiscard]] FTRACE_NOTRACE bool has(unsigned char c) const noexcept {
            return ((bits[c / 64] >> (c % 64)) & 1) != 0;
        }
    };

    [[nodiscard]] FTRACE_NOTRACE static bool is_star_of_name(std::string_view pattern,
                                                             std::size_t i, int lists) noexcept {
        constexpr std::string_view word = "operator";
        const std::string_view before = pattern.substr(0, i);
        if (before.ends_with(word) &&
            (before.size() == word.size() ||
             !is_identifier_char(before[before.size() - word.size() - 1])))
            return true;
        if (lists == 0 || before.empty()) return false;
        const char last = before.back();
        if (last == '*') return is_star_of_name(pattern, i - 1, lists);
        return is_identifier_char(last) || last == '>' || last == ']';
    }
    /// The index of the `]` that ends the class at `begin`; 0 if it is no class.
    [[nodiscard]] FTRACE_NOTRACE static std::size_t end_of_class(std::string_view pattern,
                                                                 std::size_t begin) noexcept {
        for (const std::string_view letters : {"[abi:", "[clone."})
            if (pattern.substr(begin).starts_with(letters)) return 0;
        const bool inverted = pattern.substr(begin + 1).starts_with('!');
        const std::size_t first = begin + (inverted ? 2 : 1);
        const std::size_t end = pattern.find(']', first);
        return end == std::string_view::npos || end == first ? 0 : end;
    }
    FTRACE_NOTRACE void add_class(std::string_view content) {
        const bool inverted = content.starts_with('!');
        if (inverted) content.remove_prefix(1);
        char_class set{};
        for (std::size_t i = 0; i < content.size(); ++i) {
            const auto low = static_cast<unsigned char>(content[i]);
            if (i + 2 < content.size() && content[i + 1] == '-') {
                const auto high = static_cast<unsigned char>(content[i + 2]);
                for (unsigned c = low; c <= high; ++c) set.add(static_cast<unsigned char>(c));
                i += 2;
            } else {
                set.add(low);
            }
        }
        if (inverted)
            for (std::uint64_t& bits : set.bits) bits = ~bits;
        const std::size_t index = classes_.size() / sizeof set;
        if (index == 256) return;  // more than any name has letters
        add(token::one_of, static_cast<unsigned char>(index));
        classes_.append(reinterpret_cast<const char*>(&set), sizeof set);
    }
    [[nodiscard]] FTRACE_NOTRACE bool accepts(const token& expected, char c) const noexcept {
        const auto letter = static_cast<unsigned char>(c);
        switch (expected.kind) {
        case token::letter: return expected.value == letter;
        case token::any_one: return true;
        case token::one_of: {
            char_class set;
            std::memcpy(&set, classes_.data() + expected.value * sizeof set, sizeof set);
            return set.has(letter);
        }
        case token::any_run: break;
        }
        return false;
    }

    std::string tokens_;   ///< kind and value of each: a vector of them costs more to compile
    std::string classes_;  ///< the bytes of one char_class after the other
    bool literal_ = true;
};

}  // namespace ftrace::inline v0::detail
