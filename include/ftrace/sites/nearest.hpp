// "Did you mean": the names most like one that matches nothing.
#pragma once

#include <cstddef>
#include <ftrace/core/config.hpp>
#include <ftrace/core/plain_vector.hpp>
#include <ftrace/sites/match.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace ftrace::inline v0 {
namespace detail {

/// The last component of a qualified name: "ns::Parser::parse" gives "parse".
[[nodiscard]] FTRACE_NOTRACE inline std::string_view last_component(
    std::string_view qualified) noexcept {
    std::size_t begin = 0, i = 0;
    while (i < qualified.size()) {
        if (const std::size_t behind = behind_operator(qualified, i); behind != i) {
            i = behind;
        } else if (qualified[i] == '<' || qualified[i] == '(' || qualified[i] == '{') {
            i = behind_bracket(qualified, i);
        } else {
            if (qualified.substr(i).starts_with("::")) begin = i + 2;
            ++i;
        }
    }
    return begin < qualified.size() ? qualified.substr(begin) : qualified;
}

/// How many letters have to be inserted, removed, replaced or swapped with their neighbour to turn
/// one name into the other; `limit` + 1 if it is more than `limit`.
class edit_distance {
public:
    FTRACE_NOTRACE edit_distance() = default;
    edit_distance(const edit_distance&) = delete;
    edit_distance& operator=(const edit_distance&) = delete;
    FTRACE_NOTRACE ~edit_distance() = default;
    [[nodiscard]] FTRACE_NOTRACE std::size_t operator()(std::string_view a, std::string_view b,
                                                        std::size_t limit) {
        const std::size_t difference =
            a.size() < b.size() ? b.size() - a.size() : a.size() - b.size();
        if (difference > limit) return limit + 1;
        for (auto& row : rows_) row.resize(b.size() + 1);
        for (std::size_t k = 0; k <= b.size(); ++k) rows_[0][k] = k;
        for (std::size_t i = 1; i <= a.size(); ++i) {
            const auto& before = rows_[(i + 2) % 3];
            const auto& last = rows_[(i + 1) % 3];  // of a[..i-2], for swapped neighbours
            auto& row = rows_[i % 3];
            std::size_t least = row[0] = i;
            for (std::size_t k = 1; k <= b.size(); ++k) {
                std::size_t cost = before[k - 1] + (a[i - 1] == b[k - 1] ? 0 : 1);
                if (before[k] + 1 < cost) cost = before[k] + 1;
                if (row[k - 1] + 1 < cost) cost = row[k - 1] + 1;
                if (i > 1 && k > 1 && a[i - 1] == b[k - 2] && a[i - 2] == b[k - 1] &&
                    last[k - 2] + 1 < cost)
                    cost = last[k - 2] + 1;
                row[k] = cost;
                if (cost < least) least = cost;
            }
            if (least > limit) return limit + 1;
        }
        const std::size_t cost = rows_[a.size() % 3][b.size()];
        return cost <= limit ? cost : limit + 1;
    }

private:
    plain_vector<std::size_t> rows_[3];
};

/// Keeps the few names nearest to a pattern.
class nearest_set {
public:
    nearest_set(const nearest_set&) = delete;
    nearest_set& operator=(const nearest_set&) = delete;
    FTRACE_NOTRACE ~nearest_set() = default;
    FTRACE_NOTRACE nearest_set(std::string_view pattern, std::size_t count) : count_(count) {
        std::string name;
        for (const char c : split_name(pattern).qualified)
            if (c != '*' && c != '?') name += c;
        append_plain(whole_, name, false);
        last_ = last_component(whole_);
        if (pattern.find('(') == std::string_view::npos) return;
        with_parameters_ = true;
        append_spelled(parameters_, split_name(pattern).parameters);
    }

    FTRACE_NOTRACE void offer(const name_parts& parts) {
        if (count_ == 0 || last_.empty()) return;
        plain_.clear();
        append_plain(plain_, parts.qualified, false);
        const std::string_view candidate = last_component(plain_);
        // Half of the letters may differ, and no more than in the worst name kept so far.
        std::size_t limit = last_.size() / 2 + 1;
        if (names_.size() == count_ && scores_.back() / (scale * scale) < limit)
            limit = scores_.back() / (scale * scale);
        const std::size_t distance = letters_(last_, candidate, limit);
        if (distance > limit) return;
        // Among equals the one whose namespaces and classes are nearest, then whose parameters are.
        constexpr std::size_t farthest = scale - 1;
        std::size_t score = distance * scale + letters_(whole_, plain_, farthest - 1);
        score *= scale;
        if (with_parameters_) {
            spelled_.clear();
            append_spelled(spelled_, parts.parameters);
            score += letters_(parameters_, spelled_, farthest - 1);
            plain_ += spelled_;
        }
        for (const std::string& known : names_)
            if (known == plain_) return;
        if (names_.size() < count_) {
            names_.emplace_back();
            scores_.push_back(score);
        } else if (scores_.back() <= score) {
            return;
        }
        std::size_t at = names_.size() - 1;
        for (; at > 0 && scores_[at - 1] > score; --at) {
            names_[at].swap(names_[at - 1]);
            scores_[at] = scores_[at - 1];
        }
        names_[at] = plain_;
        scores_[at] = score;
    }

    /// The nearest first.
    [[nodiscard]] FTRACE_NOTRACE const std::vector<std::string>& names() const { return names_; }

private:
    static constexpr std::size_t scale = 64;

    /// A parameter list as a filter takes it, with types as people write them.
    FTRACE_NOTRACE static void append_spelled(std::string& out, std::string_view parameters) {
        std::string tidy;
        append_without_spaces(tidy, parameters);
        const type_spelling spelling(tidy);
        for (const char c : spelling.text()) {
            out += c;
            if (c == ',') out += ' ';
        }
    }

    std::size_t count_;
    bool with_parameters_ = false;
    std::string whole_, plain_, parameters_, spelled_;
    std::string_view last_;
    edit_distance letters_;
    std::vector<std::string> names_;
    plain_vector<std::size_t> scores_;
};

}  // namespace detail

/// Of `linker_names`, at most `count` whose functions are called most like `pattern`, the nearest
/// first: qualified C++ names without template arguments, none twice, with parameters if the
/// pattern has some. Compares the last component, then the whole name, then the parameters; what
/// differs in more than half of its last component's letters is no answer.
[[nodiscard]] FTRACE_NOTRACE inline std::vector<std::string> nearest_names(
    const name_pattern& pattern, std::span<const std::string_view> linker_names,
    std::size_t count) {
    detail::nearest_set nearest(pattern.name(), count);
    detail::demangler demangle;
    for (const std::string_view name : linker_names)
        nearest.offer(detail::split_name(demangle(name)));
    return nearest.names();
}

/// The same, of all sites of `objects`.
[[nodiscard]] FTRACE_NOTRACE inline std::vector<std::string> nearest_names(
    const name_pattern& pattern, std::span<const loaded_object> objects, std::size_t count) {
    detail::nearest_set nearest(pattern.name(), count);
    detail::demangler demangle;
    for (const loaded_object& object : objects)
        detail::for_each_site_name(object, demangle, [&](const name_forms& names) FTRACE_NOTRACE {
            nearest.offer(names.parts());
        });
    return nearest.names();
}

}  // namespace ftrace::inline v0
