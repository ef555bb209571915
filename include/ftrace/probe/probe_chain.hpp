// Which probes are on which function: known to all objects of the process, of any signature.
//
//     site  jmp wrapper A  ->  A's handlers enter, then calls A's `next`:
//                              wrapper B  ->  B's handlers enter, then calls B's `next`:
//                                             the function's body, behind the site
//
// A wrapper is made for one function and one pair of handler types. Each probe is a cell in its
// wrapper's list. Cells and wrappers are never freed: a call that is inside the body comes back to
// both, however long after its probe has gone; it then finds the cell without handlers, or with
// those of a later generation, which are not its own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <ftrace/arch/insn.hpp>
#include <ftrace/core/config.hpp>
#include <ftrace/core/memory.hpp>
#include <ftrace/core/plain_vector.hpp>
#include <ftrace/core/quiescence.hpp>
#include <ftrace/core/result.hpp>
#include <ftrace/ops/direct.hpp>
#include <ftrace/ops/registry.hpp>
#include <new>
#include <string>
#include <utility>

namespace ftrace::inline v0::detail {

/// One probe. Read by wrappers inside a section (core/quiescence.hpp).
struct probe_cell {
    FTRACE_NOTRACE probe_cell() noexcept = default;

    void* handlers = nullptr;  ///< null: none (any more)
    std::uint64_t generation = 0;
    probe_cell* next = nullptr;
};

struct probed_function;

/// One wrapper.
struct probe_link {
    const void* entry = nullptr;                ///< its code
    const void* next = nullptr;                 ///< what it calls
    const probed_function* function = nullptr;  ///< in whose chain it stands, or stood last
    probe_cell* cells = nullptr;                ///< in the order of registration
    probe_cell* spare = nullptr;
};

/// One function that has, or had, probes.
struct probed_function {
    FTRACE_NOTRACE probed_function(site_index at, const void* first) noexcept
        : site(at), direct(first) {}
    FTRACE_NOTRACE ~probed_function() = default;
    probed_function(const probed_function&) = delete;
    probed_function& operator=(const probed_function&) = delete;

    site_index site;
    direct_ops direct;  ///< leads to the first link
    registration registered;
    plain_vector<probe_link*> links;  ///< in the order in which calls pass them
};

/// All of them. Never freed.
struct probe_state {
    FTRACE_NOTRACE probe_state() = default;
    FTRACE_NOTRACE ~probe_state() = default;
    probe_state(const probe_state&) = delete;
    probe_state& operator=(const probe_state&) = delete;

    plain_vector<probed_function*> functions;

    [[nodiscard]] FTRACE_NOTRACE probed_function* find(site_index site) const noexcept {
        for (probed_function* const function : functions)
            if (function->site == site) return function;
        return nullptr;
    }
};

/// release: pairs with the acquire loads of wrappers.
template <class T>
FTRACE_NOTRACE void publish(T*& place, T* value) noexcept {
    __atomic_store_n(&place, value, __ATOMIC_RELEASE);
}

/// The process's state, made at first use. Under its lock.
FTRACE_NOTRACE inline result<probe_state*> probes_of(process_state& process) {
    if (process.probes == nullptr) process.probes = new (std::nothrow) probe_state;
    if (process.probes == nullptr)
        return error{errc::out_of_memory, "no memory for the list of probes"};
    return process.probes;
}

/// The record of the function at a site, made at first use.
FTRACE_NOTRACE inline result<probed_function*> probed(locked_registry& registry, site_index site,
                                                      const void* entry) {
    auto probes = probes_of(registry.shared());
    if (!probes) return std::move(probes).error();
    probed_function* function = (*probes)->find(site);
    if (function == nullptr) {
        (*probes)->functions.reserve((*probes)->functions.size() + 1);
        function = new probed_function(site, entry);
        (*probes)->functions.push_back(function);
    }
    // Also of one that is known: memory may have run out here, and without a filter it is for all.
    ops_state& state = state_of(function->direct);
    state.filtered = true;
    if (state.filter.empty()) state.filter = {site};
    return function;
}

/// Puts a wrapper behind all others of its function.
FTRACE_NOTRACE inline result<void> append_link(locked_registry& registry, probed_function& function,
                                               probe_link& link) {
    function.links.reserve(function.links.size() + 1);
    const std::uintptr_t body = registry->sites[function.site].address + arch::site_size;
    publish(link.next, reinterpret_cast<const void*>(body));
    if (function.links.empty()) {
        ops_access::direct(function.direct) = link.entry;
        auto registered = register_locked(registry, function.direct);
        if (!registered) return std::move(registered).error();
        function.registered = std::move(*registered);
    } else {
        publish(function.links.back()->next, link.entry);
    }
    function.links.push_back(&link);
    return {};
}

/// Calls pass a wrapper no more, if that can be; else it has no handlers and hands them on.
FTRACE_NOTRACE inline result<void> remove_link(locked_registry& registry, probed_function& function,
                                               const probe_link& link) {
    std::size_t at = 0;
    while (function.links[at] != &link) ++at;
    if (!registry.up_to_date())
        return error{errc::out_of_memory, "no memory for a look at what is loaded"};
    if (function.links.size() == 1) {
        function.links.clear();
        return registration_access::unregister(registry, function.registered);
    }
    if (at == 0) {
        auto moved = modify_direct(registry, function.direct, function.links[1]->entry);
        if (!moved) return moved;
    } else {
        publish(function.links[at - 1]->next, link.next);
    }
    for (; at + 1 < function.links.size(); ++at) function.links[at] = function.links[at + 1];
    function.links.pop_back();
    return {};
}

[[nodiscard]] FTRACE_NOTRACE inline bool is_linked(const probed_function& function,
                                                   const probe_link& link) noexcept {
    for (const probe_link* const known : function.links)
        if (known == &link) return true;
    return false;
}

/// A probe that is on its function.
struct attached_probe {
    probed_function* function;
    probe_cell* cell;
};

/// Why a function at `address` that has no site cannot be probed.
FTRACE_NOTRACE inline error not_a_function_with_site(locked_registry& registry,
                                                     std::uintptr_t address) {
    const std::string name = registry->sites.name_at(address);
    if (name == "__cxa_pure_virtual")
        return {errc::not_a_site,
                "this virtual function is pure in its class. Name an overrider of the function",
                name, address};
    return {errc::not_a_site,
            "the probed function, at " + hex(address) + " (" + name +
                "), has no site: compile it with -fpatchable-function-entry=5, or mark it "
                "FTRACE_TRACEABLE",
            name, address};
}

/// For those who cannot wait: the probe's handlers are not called from now on, but may be running.
FTRACE_NOTRACE inline void switch_off(const attached_probe& probe) noexcept {
    __atomic_store_n(&probe.cell->handlers, static_cast<void*>(nullptr), __ATOMIC_RELEASE);
}

/// The site of a function that can be probed. Errors: not_a_site, invalid_argument.
FTRACE_NOTRACE inline result<site_index> site_to_probe(locked_registry& registry,
                                                       std::uintptr_t address) {
    const site_index site = registry->sites.find(address);
    if (site == no_site) return not_a_function_with_site(registry, address);
    registry->sites.read_names({site});
    const site_record& found = registry->sites[site];
    if (!found.clone && !found.library_own) return site;
    const std::string name = registry->sites.name_at(address);
    return error{
        errc::invalid_argument,
        name + (found.clone ? " is a clone: the compiler changed its parameters, which are "
                              "not those of its signature. An ops can be on it"
                            : " is part of ftrace++ or made for its types: not for probes"),
        name, address};
}

/// Takes a cell out of its wrapper's list, and the wrapper out of the chain with its last one. When
/// it returns, nobody uses the handlers.
FTRACE_NOTRACE inline result<void> detach(locked_registry& registry, probe_link& link,
                                          const attached_probe& probe) {
    probe_cell** place = &link.cells;
    while (*place != probe.cell) place = &(*place)->next;
    publish(*place, probe.cell->next);
    __atomic_store_n(&probe.cell->handlers, static_cast<void*>(nullptr), __ATOMIC_RELEASE);
    result<void> removed;
    if (link.cells == nullptr)
        removed = or_out_of_memory(
            [&]() FTRACE_NOTRACE { return remove_link(registry, *probe.function, link); });
    synchronize_callbacks(registry.shared());
    ++probe.cell->generation;
    probe.cell->next = std::exchange(link.spare, probe.cell);
    return removed;
}

/// Puts `handlers` on the function at `address`, whose wrapper `link` is.
FTRACE_NOTRACE inline result<attached_probe> attach_probe(locked_registry& registry,
                                                          std::uintptr_t address, probe_link& link,
                                                          const void* entry, void* handlers) {
    auto site = site_to_probe(registry, address);
    if (!site) return std::move(site).error();
    link.entry = entry;
    auto function = probed(registry, *site, entry);
    if (!function) return std::move(function).error();
    // A virtual function may be another one than before: of an object that was loaded since.
    if (link.function != *function && link.cells != nullptr)
        return error{errc::already_registered,
                     "a probe of the same kind is on the function of this name in another object: "
                     "unregister it first"};
    link.function = *function;
    if (link.spare == nullptr) link.spare = new probe_cell;
    probe_cell* const cell = std::exchange(link.spare, link.spare->next);
    cell->next = nullptr;
    // release: calls that are still inside the body since an earlier generation look here, too.
    __atomic_store_n(&cell->handlers, handlers, __ATOMIC_RELEASE);
    probe_cell** last = &link.cells;
    while (*last != nullptr) last = &(*last)->next;
    publish(*last, cell);
    const attached_probe probe{*function, cell};
    if (is_linked(**function, link)) return probe;
    auto linked =
        or_out_of_memory([&]() FTRACE_NOTRACE { return append_link(registry, **function, link); });
    if (linked) return probe;
    publish(*last, static_cast<probe_cell*>(nullptr));
    cell->handlers = nullptr;
    synchronize_callbacks(registry.shared());
    ++cell->generation;
    cell->next = std::exchange(link.spare, cell);
    return std::move(linked).error();
}

}  // namespace ftrace::inline v0::detail
