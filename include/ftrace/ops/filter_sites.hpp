// Sets of sites, and what patterns and addresses mean.
#pragma once

#include <cstddef>
#include <cstdint>
#include <ftrace/core/config.hpp>
#include <ftrace/core/result.hpp>
#include <ftrace/ops/registry_state.hpp>
#include <ftrace/sites/available.hpp>
#include <ftrace/sites/filter.hpp>
#include <ftrace/sites/match.hpp>
#include <ftrace/sites/nearest.hpp>
#include <ftrace/sites/sorting.hpp>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace ftrace::inline v0::detail {

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

/// In rising order, each once.
FTRACE_NOTRACE inline void sort_sites(site_list& sites) {
    sort_by_key(sites, [](site_index i) FTRACE_NOTRACE { return std::uint64_t{i}; });
    drop_repeated(sites);
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
    sort_sites(sites);
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

FTRACE_NOTRACE inline error not_a_site(const registry_state& registry, std::uintptr_t address) {
    return {errc::not_a_site,
            hex(address) + " (" + registry.sites.name_at(address) +
                ") is no traceable function's first instruction: was it compiled with "
                "-fpatchable-function-entry=5?",
            registry.sites.name_at(address), address};
}

}  // namespace ftrace::inline v0::detail
