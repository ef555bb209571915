// From "this ops shall be on these sites" to a transaction over text.
#pragma once

#include <cstddef>
#include <cstdint>
#include <ftrace/arch/insn.hpp>
#include <ftrace/arch/site_layout.hpp>
#include <ftrace/arch/text_poke.hpp>
#include <ftrace/core/config.hpp>
#include <ftrace/core/os.hpp>
#include <ftrace/core/plain_vector.hpp>
#include <ftrace/ops/registry_state.hpp>
#include <ftrace/patch/transaction.hpp>
#include <ftrace/sites/sorting.hpp>
#include <utility>

namespace ftrace::inline v0::detail {

/// A site and the ops it shall have.
struct site_change {
    site_index site;
    set_index set;
};

/// What stands at a site. Error: unexpected_bytes, if that was never a nop.
FTRACE_NOTRACE inline result<arch::text_edit> describe(const registry_state& registry,
                                                       const site_record& site) {
    arch::text_edit edit{};
    edit.site = site.address;
    if (site.made_one_nop) {
        edit.before = site.written();
        return edit;
    }
    edit.before = arch::read_site(site.address);
    const arch::nop_run nops = arch::nops_at(site.address);
    if (nops.length < arch::site_size)
        return error{errc::unexpected_bytes,
                     "the text at " + hex(site.address) + " is " + bytes_text(edit.before) +
                         ", expected five bytes of nop: somebody else (a debugger, another "
                         "patcher) changed it. "
                         "Nothing was changed",
                     registry.sites.name_at(site.address), site.address};
    edit.nops = static_cast<std::uint16_t>(nops.length);
    edit.several_nops = nops.count > 1;
    return edit;
}

/// One transaction over the text, in the making.
class text_change {
public:
    FTRACE_NOTRACE ~text_change() = default;
    text_change(const text_change&) = delete;
    text_change& operator=(const text_change&) = delete;
    FTRACE_NOTRACE text_change(process_state& process, registry_state& registry)
        : process_(process), registry_(registry) {}

    /// Room for so many sites.
    FTRACE_NOTRACE void reserve(std::size_t sites) {
        edits_.reserve(sites);
        sites_.reserve(sites);
    }

    /// Plans that `change.site` calls for `change.set`. Sites come sorted by index.
    FTRACE_NOTRACE result<void> add(const site_change& change) {
        site_record& site = registry_.sites[change.site];
        if (registry_.sites.gone(change.site)) return {};
        auto edit = describe(registry_, site);
        if (!edit) return std::move(edit).error();
        edit->after = arch::nop_site;
        if (change.set != 0 && registry_.enabled) {
            auto target = target_of(change, site);
            if (!target) return std::move(target).error();
            edit->after = target->jump ? arch::jump_site(site.address, target->address)
                                       : arch::call_site(site.address, target->address);
        }
        if (edit->before == edit->after && edit->nops == arch::site_size) return {};
        // A site that never was written and shall be a nop is left as the compiler made it.
        if (!site.made_one_nop && edit->after == arch::nop_site) return {};
        edits_.push_back(*edit);
        sites_.push_back(change.site);
        add_page(site, edit->end());
        return {};
    }

    FTRACE_NOTRACE result<void> commit() {
        sort_by_key(edits_, [](const arch::text_edit& edit) FTRACE_NOTRACE { return edit.site; });
        if (auto committed = detail::commit(process_, edits_, runs_); !committed) {
            error failure = std::move(committed).error();
            if (failure.address != 0 && failure.function.empty())
                failure.function = registry_.sites.name_at(failure.address);
            return failure;
        }
        for (const site_index i : sites_) {
            site_record& site = registry_.sites[i];
            site.note(arch::read_site(site.address));
        }
        return {};
    }

private:
    /// Neighbours mostly have the same set, object and width: ask once for all of them.
    FTRACE_NOTRACE result<site_target> target_of(const site_change& change,
                                                 const site_record& site) {
        if (target_.address != 0 && change.set == set_ && site.object == object_ &&
            site.width == width_)
            return target_;
        std::uintptr_t begin = site.address, end = site.address;
        for (const text_range& range : registry_.sites.object_of(change.site).object.text) {
            if (range.begin < begin) begin = range.begin;
            if (range.end > end) end = range.end;
        }
        auto target = registry_.sets.target(change.set, site.width, begin, end);
        if (target) {
            set_ = change.set;
            object_ = site.object;
            width_ = site.width;
            target_ = *target;
        }
        return target;
    }

    /// Sites of an object come in ascending order: one run of pages for each of its text mappings.
    FTRACE_NOTRACE void add_page(const site_record& site, std::uintptr_t end) {
        const std::uintptr_t begin = site.address & ~(page_size - 1);
        end = (end + page_size - 1) & ~(page_size - 1);
        if (!runs_.empty() && text_.contains(site.address)) {
            if (end > runs_.back().end) runs_.back().end = end;
            return;
        }
        runs_.push_back({begin, end});
        for (const text_range& range : registry_.sites.object_of(site).object.text)
            if (range.contains(site.address)) text_ = range;
    }

    process_state& process_;
    registry_state& registry_;
    plain_vector<arch::text_edit> edits_;
    plain_vector<site_index> sites_;
    plain_vector<page_run> runs_;
    text_range text_{};

    set_index set_ = 0;
    std::uint32_t object_ = 0;
    std::uint8_t width_ = 0;
    site_target target_{};
};

/// Two ops that may move the instruction pointer cannot share a function, nor can two direct calls. Of
/// one of each, the first has its way with the calls it moves.
FTRACE_NOTRACE inline result<void> check_owners(const registry_state& registry,
                                                const ftrace_ops& op, set_index set,
                                                const site_record& site) {
    const bool direct = ops_access::direct(op) != nullptr;
    if ((op.flags() & FTRACE_OPS_FL_IPMODIFY) == 0 && !direct) return {};
    for (const ftrace_ops* other : registry.sets[set].members) {
        if (other == &op) continue;
        if (direct && ops_access::direct(*other) != nullptr)
            return error{errc::ip_modify_conflict,
                         name_of(*other) + " already takes the calls of " +
                             registry.sites.name_at(site.address) +
                             ": only one direct call can be on a function; unregister it first",
                         registry.sites.name_at(site.address), site.address};
        if (!direct && (other->flags() & FTRACE_OPS_FL_IPMODIFY) != 0)
            return error{errc::ip_modify_conflict,
                         name_of(*other) + " already changes the instruction pointer of " +
                             registry.sites.name_at(site.address) +
                             ": only one IPMODIFY ops can be on a function; unregister it first, "
                             "or filter one of them",
                         registry.sites.name_at(site.address), site.address};
    }
    return {};
}

/// Makes the text of sites, sorted by index, call for these sets; of objects that are gone it is
/// left out. One transaction: all of it, or nothing.
FTRACE_NOTRACE inline result<void> write_changes(process_state& process, registry_state& registry,
                                                 const plain_vector<site_change>& changes) {
    const auto write = [&]() FTRACE_NOTRACE -> result<void> {
        text_change text(process, registry);
        text.reserve(changes.size());
        for (const site_change& change : changes)
            if (auto added = text.add(change); !added) return added;
        return text.commit();
    };
    return registry.sites.while_loaded([&]() FTRACE_NOTRACE { return or_out_of_memory(write); });
}

/// Gives sites other sets of ops, in one transaction: all of them, or none.
FTRACE_NOTRACE inline result<void> make_changes(process_state& process, registry_state& registry,
                                                const plain_vector<site_change>& changes) {
    if (auto written = write_changes(process, registry, changes); !written) return written;
    for (const site_change& change : changes) registry.sites[change.site].set = change.set;
    return {};
}

/// Puts `op` on exactly the sites of `wanted`, and takes it off all others: all of it, or nothing.
/// When it returns without error every thread runs the new text.
FTRACE_NOTRACE inline result<void> attach(process_state& process, registry_state& registry,
                                          ftrace_ops& op, site_list&& wanted) {
    ops_state& state = state_of(op);
    const auto registered_before = [](const ftrace_ops& a, const ftrace_ops& b) FTRACE_NOTRACE {
        return ops_access::state(a)->registration < ops_access::state(b)->registration;
    };
    registry.sites.read_names(wanted);

    plain_vector<site_change> changes;
    changes.reserve(state.attached.size() + wanted.size());
    set_index from[2] = {~set_index{0}, ~set_index{0}},
              to[2] = {};  // the last answers: taken off, put on
    std::size_t a = 0, b = 0;
    while (a < state.attached.size() || b < wanted.size()) {
        const bool has_old = a < state.attached.size(), has_new = b < wanted.size();
        if (has_old && has_new && state.attached[a] == wanted[b]) {
            ++a, ++b;
            continue;
        }
        const bool put_on = !has_old || (has_new && wanted[b] < state.attached[a]);
        const site_index index = put_on ? wanted[b++] : state.attached[a++];
        const site_record& site = registry.sites[index];
        if (from[put_on] != site.set) {
            if (put_on)
                if (auto allowed = check_owners(registry, op, site.set, site); !allowed)
                    return allowed;
            auto next = put_on ? registry.sets.with(site.set, op, registered_before)
                               : registry.sets.without(site.set, op);
            if (!next) return std::move(next).error();
            from[put_on] = site.set;
            to[put_on] = *next;
        }
        changes.push_back({index, to[put_on]});
    }

    if (auto changed = make_changes(process, registry, changes); !changed) return changed;
    state.attached = std::move(wanted);
    registry.sets.release_slots([&](std::uintptr_t stub)
                                    FTRACE_NOTRACE { return registry.sites.has_call_of(stub); });
    return {};
}

}  // namespace ftrace::inline v0::detail
