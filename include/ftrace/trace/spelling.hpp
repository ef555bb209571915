// Help for a misspelt word out of a short list.
#pragma once

#include <cstddef>
#include <ftrace/core/config.hpp>
#include <ftrace/sites/nearest.hpp>
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

/// ": did you mean 'function'? (function_graph, function, nop)"
[[nodiscard]] FTRACE_NOTRACE inline std::string did_you_mean(
    std::string_view word, const std::vector<std::string_view>& known) {
    const std::string_view nearest = nearest_word(word, known);
    std::string text;
    if (!nearest.empty()) text.append(": did you mean '").append(nearest).append("'?");
    const char* separator = " (";
    for (const std::string_view each : known) {
        text.append(separator).append(each);
        separator = ", ";
    }
    return text + ")";
}

}  // namespace ftrace::inline v0::detail
