// Words and numbers that people write, and help where they are misspelt.
#pragma once

#include <cstddef>
#include <cstdint>
#include <ftrace/core/config.hpp>
#include <ftrace/core/result.hpp>
#include <ftrace/sites/filter.hpp>
#include <ftrace/sites/match.hpp>
#include <ftrace/sites/nearest.hpp>
#include <ftrace/sites/objects.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace ftrace::inline v0::detail {

/// The word of `known` that is most like `word`; empty if none is.
[[nodiscard]] FTRACE_NOTRACE inline std::string_view nearest_word(
    std::string_view word, const std::vector<std::string_view>& known) {
    std::string_view best;
    std::size_t least = word.size() / 2 + 1;
    edit_distance letters;
    for (const std::string_view candidate : known) {
        const std::size_t distance = letters(word, candidate, least);
        if (distance > least || (distance == least && !best.empty())) continue;
        least = distance;
        best = candidate;
    }
    return best;
}

/// ": did you mean 'function'? (function_graph, function, nop)", or ": write one of ...".
[[nodiscard]] FTRACE_NOTRACE inline std::string did_you_mean(
    std::string_view word, const std::vector<std::string_view>& known) {
    const std::string_view nearest = nearest_word(word, known);
    std::string text, list;
    for (const std::string_view each : known) list.append(list.empty() ? "" : ", ").append(each);
    if (nearest.empty()) return text.append(": write one of ").append(list);
    return text.append(": did you mean '").append(nearest).append("'? (").append(list).append(")");
}

/// A name's words are what underscores part. Whether all words of one name are words of the other.
[[nodiscard]] FTRACE_NOTRACE inline bool has_words_of(std::string_view name,
                                                      std::string_view words) {
    const std::string all = "_" + std::string(name) + "_";
    while (!words.empty()) {
        const std::size_t end = words.find('_');
        if (all.find("_" + std::string(words.substr(0, end)) + "_") == std::string::npos)
            return false;
        words.remove_prefix(end == std::string_view::npos ? words.size() : end + 1);
    }
    return true;
}

/// The name of `known` (upper case) that `word` was probably meant to be: with a letter or two
/// wrong, cut short, or with a word too many or too few. Empty if it seems to be another thing.
[[nodiscard]] FTRACE_NOTRACE inline std::string_view meant_name(
    std::string_view word, const std::vector<std::string_view>& known) {
    constexpr std::size_t telling = 3;  // letters
    std::string upper;
    for (const char c : word) upper += c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
    if (upper.size() < telling) return {};
    edit_distance letters;
    for (const std::string_view each : known) {
        const std::size_t shorter = each.size() < upper.size() ? each.size() : upper.size();
        if (letters(upper, each, shorter / telling) <= shorter / telling) return each;
    }
    for (const std::string_view each : known)
        if (each.starts_with(upper) || has_words_of(upper, each) || has_words_of(each, upper))
            return each;
    return {};
}

[[nodiscard]] FTRACE_NOTRACE inline result<std::uint64_t> parse_number(std::string_view name,
                                                                       const std::string& text,
                                                                       std::uint64_t least,
                                                                       std::uint64_t most) {
    std::uint64_t value = 0;
    bool valid = !text.empty();
    for (const char c : text) {
        valid = valid && c >= '0' && c <= '9';
        value = value * 10 + static_cast<std::uint64_t>(c - '0');
        valid = valid && value <= most;
    }
    if (valid && value >= least) return value;
    return error{errc::invalid_argument, std::string(name) + " is '" + text +
                                             "': write a number from " + std::to_string(least) +
                                             " to " + std::to_string(most)};
}

/// Patterns that commas or blanks part, as the kernel's blanks do, parted by `;`. Empty if that is
/// not what was meant: then a part matches no function, or there is one part only.
[[nodiscard]] FTRACE_NOTRACE inline std::string list_meant(std::string_view patterns) {
    constexpr std::string_view between = ",; \t\n";
    const std::vector<loaded_object> objects = scan_loaded_objects();
    std::string list;
    std::size_t parts = 0;
    while (!patterns.empty()) {
        const std::size_t end = patterns.find_first_of(between);
        const std::string_view part = patterns.substr(0, end);
        patterns.remove_prefix(end == std::string_view::npos ? patterns.size() : end + 1);
        if (part.empty()) continue;
        auto pattern = name_pattern::parse(part);
        bool found = false;
        if (pattern)
            match_sites(objects, *pattern,
                        [&](const loaded_object&, std::uintptr_t, const name_forms&)
                            FTRACE_NOTRACE { found = true; });
        if (!found) return {};
        list.append(parts++ == 0 ? "" : "; ").append(part);
    }
    return parts > 1 ? list : std::string();
}

}  // namespace ftrace::inline v0::detail
