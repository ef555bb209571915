// The lists of functions of function_graph: set_graph_function and set_graph_notrace.
#pragma once

#include <cstddef>
#include <cstdint>
#include <ftrace/core/config.hpp>
#include <ftrace/core/result.hpp>
#include <ftrace/sites/filter.hpp>
#include <ftrace/sites/match.hpp>
#include <ftrace/sites/nearest.hpp>
#include <ftrace/sites/objects.hpp>
#include <ftrace/trace/recorder.hpp>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace ftrace::inline v0::detail {

/// Sites of functions that patterns name, in order.
class graph_functions {
public:
    FTRACE_NOTRACE graph_functions() = default;
    graph_functions(const graph_functions&) = delete;
    graph_functions& operator=(const graph_functions&) = delete;
    FTRACE_NOTRACE ~graph_functions() = default;

    /// Adds the functions that match, and takes away those whose pattern has a `!`. How many did.
    /// Errors: no_match, invalid_argument, those of the patterns; nothing has changed then.
    /// `may_be_none`: whether the list may be empty afterwards.
    FTRACE_NOTRACE result<std::size_t> change(std::string_view patterns, bool may_be_none) {
        const std::vector<loaded_object> objects = scan_loaded_objects();
        std::set<std::uintptr_t> chosen(sites_.begin(), sites_.end());
        std::size_t matched = 0;
        result<void> outcome;
        for_each_pattern(patterns, [&](std::string_view word) FTRACE_NOTRACE {
            if (!outcome) return;
            auto pattern = name_pattern::parse(word);
            if (!pattern) {
                outcome = std::move(pattern).error();
                return;
            }
            const std::size_t found = apply(*pattern, objects, chosen);
            matched += found;
            if (found == 0) outcome = no_function(*pattern, objects);
        });
        if (!outcome) return std::move(outcome).error();
        if (matched == 0)
            return error{errc::invalid_argument,
                         "an empty list of graph functions: write a function's name"};
        if (chosen.empty() && !may_be_none)
            return error{errc::invalid_argument,
                         "'" + std::string(patterns) +
                             "' leaves no graph function, which would mean all: name those that "
                             "are wanted, or leave functions out by set_graph_notrace()"};
        sites_.assign(chosen.begin(), chosen.end());
        return matched;
    }

    /// Valid until the next change.
    [[nodiscard]] FTRACE_NOTRACE graph_sites list() const noexcept {
        return {sites_.data(), sites_.size()};
    }

private:
    FTRACE_NOTRACE static std::size_t apply(const name_pattern& pattern,
                                            const std::vector<loaded_object>& objects,
                                            std::set<std::uintptr_t>& chosen) {
        std::size_t found = 0;
        match_sites(objects, pattern,
                    [&](const loaded_object&, std::uintptr_t site, const name_forms&)
                        FTRACE_NOTRACE {
                            ++found;
                            if (pattern.negated())
                                chosen.erase(site);
                            else
                                chosen.insert(site);
                        });
        return found;
    }

    [[nodiscard]] FTRACE_NOTRACE static error no_function(
        const name_pattern& pattern, const std::vector<loaded_object>& objects) {
        std::string text = "no traceable function matches '" + pattern.text() + "'";
        const char* separator = "; nearest: ";
        for (const std::string& name : nearest_names(pattern, objects, 3)) {
            text += separator + name;
            separator = ", ";
        }
        return {errc::no_match, text};
    }

    std::vector<std::uintptr_t> sites_;
};

}  // namespace ftrace::inline v0::detail
