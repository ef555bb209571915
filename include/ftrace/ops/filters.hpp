// Which functions an ops is for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <ftrace/core/config.hpp>
#include <ftrace/core/result.hpp>
#include <ftrace/ops/attach.hpp>
#include <ftrace/ops/filter_sites.hpp>
#include <ftrace/ops/ftrace_ops.hpp>
#include <ftrace/ops/registry_state.hpp>
#include <ftrace/sites/filter.hpp>
#include <span>
#include <string_view>
#include <utility>

namespace ftrace::inline v0 {
namespace detail {

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
    return set_filter_ips({&address, 1}, remove, reset);
}

FTRACE_NOTRACE inline result<std::size_t> ftrace_ops::set_filter_ips(
    std::span<const std::uintptr_t> addresses, bool remove, bool reset) {
    return detail::with_registry(
        [&](detail::locked_registry& registry) FTRACE_NOTRACE -> result<std::size_t> {
            detail::site_list sites;
            for (const std::uintptr_t address : addresses) {
                const detail::site_index site = registry->sites.find(address);
                if (site == detail::no_site) return detail::not_a_site(*registry, address);
                sites.push_back(site);
            }
            if (sites.empty())
                return error{errc::invalid_argument, "no address: name one function at least"};
            detail::sort_sites(sites);
            detail::ops_state& state = detail::state_of(*this);
            detail::filter_list filter{!reset && state.filtered,
                                       reset ? detail::site_list{} : state.filter};
            if (remove && !filter.limits) filter.sites = detail::all_sites(*registry);
            if (remove)
                if (const detail::site_list absent = detail::combine(sites, filter.sites, true);
                    !absent.empty()) {
                    const std::uintptr_t address = registry->sites[absent[0]].address;
                    return error{errc::no_match,
                                 registry->sites.name_at(address) + " is not in the filter",
                                 registry->sites.name_at(address), address};
                }
            filter.sites = detail::combine(filter.sites, sites, remove);
            if (filter.sites.empty()) return detail::nothing_left();
            filter.limits = true;
            if (auto done = detail::adopt(registry, *this, std::move(filter),
                                          detail::site_list(state.notrace));
                !done)
                return std::move(done).error();
            return sites.size();
        });
}

FTRACE_NOTRACE inline result<std::size_t> ftrace_ops::set_filter_names(
    std::span<const std::string_view> names, bool reset) {
    return detail::with_registry(
        [&](detail::locked_registry& registry) FTRACE_NOTRACE -> result<std::size_t> {
            detail::site_list named;
            for (const std::string_view name : names) {
                const auto pattern = name_pattern::exactly(name);
                if (!pattern) return pattern.error();
                const detail::site_list sites = detail::sites_matching(*registry, *pattern);
                if (sites.empty()) return detail::no_match(*registry, *pattern);
                named = detail::combine(named, sites, false);
            }
            if (named.empty())
                return error{errc::invalid_argument, "no name: name one function at least"};
            detail::ops_state& state = detail::state_of(*this);
            detail::filter_list filter{true, reset ? detail::site_list{} : state.filter};
            filter.sites = detail::combine(filter.sites, named, false);
            if (auto done = detail::adopt(registry, *this, std::move(filter),
                                          detail::site_list(state.notrace));
                !done)
                return std::move(done).error();
            return named.size();
        });
}

FTRACE_NOTRACE inline result<void> ftrace_ops::reset_filter() {
    return detail::with_registry(
        [&](detail::locked_registry& registry) FTRACE_NOTRACE -> result<void> {
            return detail::adopt(registry, *this, {false, {}},
                                 detail::site_list(detail::state_of(*this).notrace));
        });
}

FTRACE_NOTRACE inline result<void> ftrace_ops::reset_notrace() {
    return detail::with_registry(
        [&](detail::locked_registry& registry) FTRACE_NOTRACE -> result<void> {
            const detail::ops_state& state = detail::state_of(*this);
            return detail::adopt(registry, *this, {state.filtered, detail::site_list(state.filter)},
                                 {});
        });
}

}  // namespace ftrace::inline v0
