// Which functions an ops is for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <ftrace/core/config.hpp>
#include <ftrace/core/result.hpp>
#include <ftrace/ops/attach.hpp>
#include <ftrace/ops/ftrace_ops.hpp>
#include <ftrace/ops/registry_state.hpp>
#include <ftrace/sites/available.hpp>
#include <ftrace/sites/filter.hpp>
#include <ftrace/sites/match.hpp>
#include <ftrace/sites/nearest.hpp>
#include <ftrace/sites/sorting.hpp>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace ftrace::inline v0 {
namespace detail {

/// Every site there is now, but the library's own.
[[nodiscard]] FTRACE_NOTRACE inline site_list all_sites(registry_state& registry) {
    site_list sites;
    sites.reserve(registry.sites.size());
    for (const object_record& record : registry.sites.objects())
        for (site_index i = 0; i < record.count && !record.gone; ++i)
            sites.push_back(record.first + i);
    registry.sites.read_names(sites);
    std::size_t kept = 0;
    for (const site_index i : sites)
        if (!registry.sites[i].library_own) sites[kept++] = i;
    sites.resize(kept);
    return sites;
}

/// a + b, or a - b; both sorted, and so is the result.
[[nodiscard]] FTRACE_NOTRACE inline site_list combine(const site_list& a, const site_list& b,
                                                      bool remove) {
    site_list result;
    std::size_t i = 0, k = 0;
    while (i < a.size() || (k < b.size() && !remove)) {
        const bool in_a = i < a.size() && (k == b.size() || a[i] <= b[k]);
        const bool in_b = k < b.size() && (i == a.size() || b[k] <= a[i]);
        if (in_a && !(in_b && remove)) result.push_back(a[i]);
        if (!in_a && !remove) result.push_back(b[k]);
        i += in_a;
        k += in_b;
    }
    return result;
}

/// The sites of the functions that a pattern means, sorted.
[[nodiscard]] FTRACE_NOTRACE inline site_list sites_matching(const registry_state& registry,
                                                             const name_pattern& pattern) {
    site_list sites;
    for (const object_record& record : registry.sites.objects()) {
        if (record.gone) continue;
        match_sites(std::span(&record.object, 1), pattern,
                    [&](const loaded_object&, std::uintptr_t site, const name_forms&)
                        FTRACE_NOTRACE { sites.push_back(registry.sites.find_in(record, site)); });
    }
    sort_by_key(sites, [](site_index i) FTRACE_NOTRACE { return std::uint64_t{i}; });
    drop_repeated(sites);
    return sites;
}

/// ". Nothing is known of libz.so: ...", for each object that could not be read; empty if all were.
[[nodiscard]] FTRACE_NOTRACE inline std::string unread_objects(const registry_state& registry) {
    std::string text;
    for (const object_record& record : registry.sites.objects())
        if (!record.gone && !record.object.unread.empty())
            text.append(". Nothing is known of ")
                .append(record.object.name())
                .append(": ")
                .append(record.object.unread);
    return text;
}

FTRACE_NOTRACE inline error no_site_at_all(const registry_state& registry) {
    const std::string unread = unread_objects(registry);
    std::size_t unknown = 0;
    for (const object_record& record : registry.sites.objects())
        if (!record.gone) unknown += record.object.unknown_starts.size();
    std::string text = "no function of this program can be traced";
    if (!unread.empty())
        text += unread;
    else if (unknown != 0)
        text.append(": ").append(to_string(trace_reason::start_unknown));
    else
        text +=
            ": compile it with -fpatchable-function-entry=5, or mark functions FTRACE_TRACEABLE";
    return {errc::no_match, std::move(text)};
}

FTRACE_NOTRACE inline error no_match(const registry_state& registry, const name_pattern& pattern) {
    if (registry.sites.size() == 0) return no_site_at_all(registry);
    std::vector<loaded_object> objects;
    for (const object_record& record : registry.sites.objects())
        if (!record.gone) objects.push_back(record.object);
    std::string text = "no traceable function matches '" + pattern.text() + "'";
    if (const std::string copy = first_clone({objects.data(), objects.size()}, pattern);
        !copy.empty())
        return {errc::no_match, text +
                                    " but a copy that the compiler made of it with other "
                                    "parameters, '" +
                                    copy +
                                    "'. Name the copy, or write a `*` behind the function's name, "
                                    "to trace it without typed arguments; or mark the function "
                                    "noipa (clang: noinline, optnone) to have no copies"};
    const char* separator = "; nearest: ";
    for (const std::string& name : nearest_names(pattern, {objects.data(), objects.size()}, 3)) {
        text += separator + name;
        separator = ", ";
    }
    return {errc::no_match, text + unread_objects(registry) +
                                ". available_filter_functions() lists all, with the reason of each "
                                "that cannot be traced"};
}

/// One of an ops' two lists, as it will be after a call.
struct filter_list {
    FTRACE_NOTRACE filter_list(bool limits_to, site_list&& listed) noexcept
        : limits(limits_to), sites(std::move(listed)) {}
    FTRACE_NOTRACE ~filter_list() = default;
    filter_list(const filter_list&) = delete;
    filter_list& operator=(const filter_list&) = delete;

    bool limits;  ///< false: an empty list means every function
    site_list sites;
};

/// Applies the patterns of `text` to `list`; says how many functions they matched.
FTRACE_NOTRACE inline result<std::size_t> apply_patterns(registry_state& registry,
                                                         std::string_view text, filter_list& list) {
    std::size_t matched = 0;
    result<void> outcome;
    for_each_pattern(text, [&](std::string_view word) FTRACE_NOTRACE {
        if (!outcome) return;
        auto pattern = name_pattern::parse(word);
        if (!pattern) {
            outcome = std::move(pattern).error();
            return;
        }
        const site_list sites = sites_matching(registry, *pattern);
        if (sites.empty()) {
            outcome = no_match(registry, *pattern);
            return;
        }
        if (pattern->negated() && !list.limits) list.sites = all_sites(registry);
        list.sites = combine(list.sites, sites, pattern->negated());
        list.limits = true;
        matched += sites.size();
    });
    if (!outcome) return std::move(outcome).error();
    if (matched == 0)
        return error{errc::invalid_argument, "an empty filter: write a function's name, or `*`"};
    return matched;
}

[[nodiscard]] FTRACE_NOTRACE inline site_list wanted_sites(registry_state& registry,
                                                           const filter_list& filter,
                                                           const site_list& notrace) {
    return combine(filter.limits ? filter.sites : all_sites(registry), notrace, true);
}

/// Makes new lists an ops' own; if it is registered, in one transaction over the text.
FTRACE_NOTRACE inline result<void> adopt(locked_registry& registry, ftrace_ops& op,
                                         filter_list&& filter, site_list&& notrace) {
    ops_state& state = state_of(op);
    if (state.registration != 0) {
        if (!filter.limits && (op.flags() & FTRACE_OPS_FL_IPMODIFY) != 0)
            return error{errc::invalid_argument,
                         "an IPMODIFY ops needs a filter: it cannot be on all functions"};
        if (auto attached =
                attach(registry.shared(), *registry, op, wanted_sites(*registry, filter, notrace));
            !attached)
            return attached;
    }
    state.filtered = filter.limits;
    state.filter = std::move(filter.sites);
    state.notrace = std::move(notrace);
    return {};
}

FTRACE_NOTRACE inline error nothing_left() {
    return {errc::invalid_argument,
            "this would remove the last function of the filter, and an ops without filter is for "
            "all functions: unregister it, or call reset_filter() if all are meant"};
}

}  // namespace detail

FTRACE_NOTRACE inline result<std::size_t> ftrace_ops::set_filter(std::string_view pattern,
                                                                 bool reset) {
    return detail::with_registry(
        [&](detail::locked_registry& registry) FTRACE_NOTRACE -> result<std::size_t> {
            detail::ops_state& state = detail::state_of(*this);
            detail::filter_list filter{!reset && state.filtered,
                                       reset ? detail::site_list{} : state.filter};
            auto matched = detail::apply_patterns(*registry, pattern, filter);
            if (!matched) return matched;
            if (filter.sites.empty()) return detail::nothing_left();
            if (auto done = detail::adopt(registry, *this, std::move(filter),
                                          detail::site_list(state.notrace));
                !done)
                return std::move(done).error();
            return matched;
        });
}

FTRACE_NOTRACE inline result<std::size_t> ftrace_ops::set_notrace(std::string_view pattern,
                                                                  bool reset) {
    return detail::with_registry(
        [&](detail::locked_registry& registry) FTRACE_NOTRACE -> result<std::size_t> {
            if ((flags_ & FTRACE_OPS_FL_IPMODIFY) != 0)
                return error{
                    errc::invalid_argument,
                    "an IPMODIFY ops takes no notrace list: filter the functions it is for"};
            detail::ops_state& state = detail::state_of(*this);
            detail::filter_list notrace(
                true, reset ? detail::site_list() : detail::site_list(state.notrace));
            auto matched = detail::apply_patterns(*registry, pattern, notrace);
            if (!matched) return matched;
            if (auto done = detail::adopt(registry, *this,
                                          {state.filtered, detail::site_list(state.filter)},
                                          std::move(notrace.sites));
                !done)
                return std::move(done).error();
            return matched;
        });
}

FTRACE_NOTRACE inline result<std::size_t> ftrace_ops::set_filter_ip(std::uintptr_t address,
                                                                    bool remove, bool reset) {
    return detail::with_registry([&](detail::locked_registry& registry) FTRACE_NOTRACE
                                 -> result<std::size_t> {
        const detail::site_index site = registry->sites.find(address);
        if (site == detail::no_site)
            return error{errc::not_a_site,
                         detail::hex(address) + " (" + registry->sites.name_at(address) +
                             ") is no traceable function's first instruction: was it compiled with "
                             "-fpatchable-function-entry=5?",
                         registry->sites.name_at(address), address};
        detail::ops_state& state = detail::state_of(*this);
        detail::filter_list filter{!reset && state.filtered,
                                   reset ? detail::site_list{} : state.filter};
        if (remove && !filter.limits) filter.sites = detail::all_sites(*registry);
        const std::size_t before = filter.sites.size();
        filter.sites = detail::combine(filter.sites, {site}, remove);
        if (remove && filter.sites.size() == before)
            return error{errc::no_match, registry->sites.name_at(address) + " is not in the filter",
                         registry->sites.name_at(address), address};
        if (filter.sites.empty()) return detail::nothing_left();
        filter.limits = true;
        if (auto done =
                detail::adopt(registry, *this, std::move(filter), detail::site_list(state.notrace));
            !done)
            return std::move(done).error();
        return std::size_t{1};
    });
}

FTRACE_NOTRACE inline result<void> ftrace_ops::reset_filter() {
    return detail::with_registry(
        [&](detail::locked_registry& registry) FTRACE_NOTRACE -> result<void> {
            return detail::adopt(registry, *this, {false, {}},
                                 detail::site_list(detail::state_of(*this).notrace));
        });
}

}  // namespace ftrace::inline v0
