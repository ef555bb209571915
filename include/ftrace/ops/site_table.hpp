// Every site of the process, and what stands at it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <ftrace/arch/cpu.hpp>
#include <ftrace/arch/insn.hpp>
#include <ftrace/arch/site_layout.hpp>
#include <ftrace/core/config.hpp>
#include <ftrace/core/plain_vector.hpp>
#include <ftrace/ops/stubs.hpp>
#include <ftrace/sites/demangle.hpp>
#include <ftrace/sites/library_names.hpp>
#include <ftrace/sites/objects.hpp>
#include <ftrace/sites/symbols.hpp>
#include <ftrace/sites/vector_arguments.hpp>
#include <span>
#include <string>
#include <vector>

namespace ftrace::inline v0::detail {

using site_index = std::uint32_t;
using set_index = std::uint32_t;
inline constexpr site_index no_site = ~site_index{0};

/// One site.
struct site_record {
    std::uintptr_t address;
    set_index set = 0;          ///< the ops attached to it (dispatch_sets.hpp); 0: none
    std::int32_t distance = 0;  ///< of the call or jump that stands there; 0: a nop
    std::uint32_t object;
    bool jumps = false;         ///< it is a jump
    bool made_one_nop = false;  ///< it was written before: what stands there is ours
    bool library_own = false;   ///< of this library, or a callback: for nobody's filter
    bool clone = false;         ///< its parameters are not those of its signature: is_clone()
    std::uint8_t width = unknown_width;

    static constexpr std::uint8_t unknown_width = 0xff;

    /// What was left there, if it was written before.
    [[nodiscard]] FTRACE_NOTRACE arch::site_bytes written() const noexcept {
        if (distance == 0) return arch::nop_site;
        return jumps ? arch::jump_site_at_distance(distance)
                     : arch::call_site_at_distance(distance);
    }
    FTRACE_NOTRACE void note(const arch::site_bytes& bytes) noexcept {
        made_one_nop = true;
        jumps = arch::jump_distance(bytes) != 0;
        distance = jumps ? arch::jump_distance(bytes) : arch::call_distance(bytes);
    }
};

/// One object, for as long as the process lives: sites keep their index when it is unloaded.
struct object_record {
    FTRACE_NOTRACE object_record() = default;
    FTRACE_NOTRACE object_record(object_record&&) = default;
    FTRACE_NOTRACE object_record& operator=(object_record&&) = default;
    FTRACE_NOTRACE ~object_record() = default;

    loaded_object object;
    site_index first = 0;
    site_index count = 0;
    bool gone = false;
};

class site_table {
public:
    FTRACE_NOTRACE site_table() = default;
    FTRACE_NOTRACE ~site_table() = default;
    site_table(const site_table&) = delete;
    site_table& operator=(const site_table&) = delete;

    /// Takes note of what was loaded and unloaded since. Costs one look at a counter if nothing
    /// was, and there is no object whose file could not be read: that one is tried again.
    /// If memory runs out (std::bad_alloc) the next call begins anew.
    FTRACE_NOTRACE void refresh() {
        load_count loads = loads_;
        if (!objects_changed(loads) && !has_unread()) return;
        std::vector<loaded_object> known;
        for (object_record& record : objects_)
            if (!record.gone) known.push_back(record.object);
        std::vector<loaded_object> unloaded;
        refresh_loaded_objects(known, &unloaded);
        for (const loaded_object& object : unloaded)
            if (object_record* record = find_record(object); record != nullptr) record->gone = true;
        if (loads.removed != loads_.removed && drop_reloaded(known)) refresh_loaded_objects(known);
        for (loaded_object& object : known) {
            object_record* const record = find_record(object);
            if (record == nullptr)
                append(std::move(object));
            else if (!record->object.unread.empty())
                fill(*record, std::move(object));
        }
        loads_ = loads;
    }

    /// What `work()` says, which runs while no object is unloaded, and those that are gone are known
    /// to be: what it reads and writes of their text is there. It must not wait for what a callback
    /// does, which may load something. Exceptions must not leave it.
    template <class Work>
    FTRACE_NOTRACE result<void> while_loaded(Work work) {
        for (;;) {
            result<void> outcome;
            bool known = false;
            for_each_image([&](const loaded_image&, load_count now) FTRACE_NOTRACE {
                known = now.removed == loads_.removed;
                if (known) outcome = work();
                return false;
            });
            if (known) return outcome;
            refresh();
        }
    }

    [[nodiscard]] FTRACE_NOTRACE std::size_t size() const noexcept { return sites_.size(); }
    [[nodiscard]] FTRACE_NOTRACE site_record& operator[](site_index i) noexcept {
        return sites_[i];
    }
    [[nodiscard]] FTRACE_NOTRACE const std::vector<object_record>& objects() const noexcept {
        return objects_;
    }
    [[nodiscard]] FTRACE_NOTRACE const object_record& object_of(site_index i) const noexcept {
        return objects_[sites_[i].object];
    }
    [[nodiscard]] FTRACE_NOTRACE const object_record& object_of(
        const site_record& site) const noexcept {
        return objects_[site.object];
    }
    [[nodiscard]] FTRACE_NOTRACE bool gone(site_index i) const noexcept {
        return object_of(i).gone;
    }

    /// The site at `address`, or of the function that begins there; no_site if there is none.
    [[nodiscard]] FTRACE_NOTRACE site_index find(std::uintptr_t address) const noexcept {
        for (const object_record& record : objects_) {
            if (record.gone || !record.object.contains(address)) continue;
            const site_index i = lower_bound(record, address);
            if (i < record.first + record.count && arch::is_site_of(sites_[i].address, address))
                return i;
        }
        return no_site;
    }
    /// The site at exactly this address in an object.
    [[nodiscard]] FTRACE_NOTRACE site_index find_in(const object_record& record,
                                                    std::uintptr_t site) const noexcept {
        const site_index i = lower_bound(record, site);
        return i < record.first + record.count && sites_[i].address == site ? i : no_site;
    }

    /// Whether the text of any site calls `target`.
    [[nodiscard]] FTRACE_NOTRACE bool has_call_of(std::uintptr_t target) const noexcept {
        for (const site_record& site : sites_)
            if (site.distance != 0 && !site.jumps && !objects_[site.object].gone &&
                site.address + arch::site_size +
                        static_cast<std::uintptr_t>(std::int64_t{site.distance}) ==
                    target)
                return true;
        return false;
    }

    /// Reads the names of `sites` and what they tell: whether a function is the library's own, or a
    /// clone, and how wide the vector registers are that it may receive arguments in. A function
    /// without a name may be anything.
    FTRACE_NOTRACE void read_names(const plain_vector<site_index>& sites) {
        plain_vector<std::uintptr_t> addresses;
        for (std::size_t i = 0; i < sites.size();) {
            const object_record& record = object_of(sites[i]);  // of a run of sites
            addresses.clear();
            for (; i < sites.size() && &object_of(sites[i]) == &record; ++i)
                if (sites_[sites[i]].width == site_record::unknown_width)
                    addresses.push_back(sites_[sites[i]].address);
            if (addresses.empty() || record.gone) continue;
            sort_by_key(addresses, [](std::uintptr_t site) FTRACE_NOTRACE { return site; });
            drop_repeated(addresses);
            read_names(record, {addresses.data(), addresses.size()});
        }
    }

    /// "ns::parse(int)" or "libx.so+0x1234": for messages.
    [[nodiscard]] FTRACE_NOTRACE static std::string name_at(std::uintptr_t address) {
        return demangle(symbol_of(address).name);
    }

private:
    FTRACE_NOTRACE void read_names(const object_record& record,
                                   std::span<const std::uintptr_t> addresses) {
        const arch::vector_width widest = arch::widest_vector_register();
        const auto read = [&](std::uintptr_t address,
                              std::span<const symbol_entry> names) FTRACE_NOTRACE {
            site_record& site = sites_[find_in(record, address)];
            site.library_own = !names.empty() && is_library_own(names[0].linker_name());
            site.clone = !names.empty() && is_clone(names[0].linker_name());
            site.width = width_of(names, widest);
        };
        symbols_of_few(record.object, addresses, [&](const symbol_table& symbols) FTRACE_NOTRACE {
            for_each_site_symbols(record.object, addresses, symbols, read);
        });
    }

    /// As a width_index: the narrowest that one of a function's names proves to be enough.
    [[nodiscard]] FTRACE_NOTRACE static std::uint8_t width_of(std::span<const symbol_entry> names,
                                                              arch::vector_width widest) {
        arch::vector_width width = widest;
        for (const symbol_entry& name : names) {
            const arch::vector_width needed = widest_vector_argument(name.linker_name());
            if (needed < width) width = needed;
        }
        return static_cast<std::uint8_t>(arch::width_index(width));
    }

    /// Forgets those that were unloaded and loaded again at the same place since: what was written
    /// at their sites is gone. True: there were some.
    FTRACE_NOTRACE bool drop_reloaded(std::vector<loaded_object>& known) {
        std::vector<const object_record*> records;
        for (const loaded_object& object : known) records.push_back(find_record(object));
        for_each_image([this](const loaded_image& image, load_count) FTRACE_NOTRACE {
            const auto header = reinterpret_cast<std::uintptr_t>(image.segments);
            object_record* const record = find_record(header, image.bias);
            if (record != nullptr && !record->object.is_executable && !as_written(*record))
                record->gone = true;
            return true;
        });
        std::vector<loaded_object> kept;
        for (std::size_t i = 0; i < known.size(); ++i)
            if (records[i] == nullptr || !records[i]->gone) kept.push_back(std::move(known[i]));
        const bool dropped = kept.size() != known.size();
        known = std::move(kept);
        return dropped;
    }
    /// Whether the sites of a loaded object that were written are as they were left.
    [[nodiscard]] FTRACE_NOTRACE bool as_written(const object_record& record) const noexcept {
        for (site_index i = record.first; i < record.first + record.count; ++i)
            if (sites_[i].made_one_nop && arch::read_site(sites_[i].address) != sites_[i].written())
                return false;
        return true;
    }

    FTRACE_NOTRACE object_record* find_record(std::uintptr_t header, std::uintptr_t bias) noexcept {
        for (object_record& record : objects_)
            if (!record.gone && record.object.header == header && record.object.bias == bias)
                return &record;
        return nullptr;
    }
    FTRACE_NOTRACE object_record* find_record(const loaded_object& object) noexcept {
        return find_record(object.header, object.bias);
    }

    [[nodiscard]] FTRACE_NOTRACE bool has_unread() const noexcept {
        for (const object_record& record : objects_)
            if (!record.gone && !record.object.unread.empty()) return true;
        return false;
    }

    FTRACE_NOTRACE void append(loaded_object&& object) {
        make_room_for(object);
        objects_.push_back(object_record());
        fill(objects_.back(), std::move(object));
    }

    /// Not exactly as much as needed: objects come one by one.
    FTRACE_NOTRACE void make_room_for(const loaded_object& object) {
        const std::size_t needed = sites_.size() + object.sites.size() + object.wide_sites.size();
        if (needed <= sites_.capacity()) return;
        const std::size_t twice = 2 * sites_.capacity();
        sites_.reserve(needed < twice ? twice : needed);
    }

    /// Gives a record that has no sites yet those of its object.
    FTRACE_NOTRACE void fill(object_record& record, loaded_object&& object) {
        make_room_for(object);
        record.first = static_cast<site_index>(sites_.size());
        // Both lists are sorted.
        std::size_t a = 0, b = 0;
        const auto& plain = object.sites;
        const auto& wide = object.wide_sites;
        const auto index = static_cast<std::uint32_t>(&record - objects_.data());
        while (a < plain.size() || b < wide.size()) {
            const bool first = b == wide.size() || (a < plain.size() && plain[a] < wide[b]);
            site_record site{};
            site.address = first ? plain[a++] : wide[b++];
            site.object = index;
            sites_.push_back(site);
        }
        record.count = static_cast<site_index>(sites_.size()) - record.first;
        record.object = std::move(object);
    }

    [[nodiscard]] FTRACE_NOTRACE site_index lower_bound(const object_record& record,
                                                        std::uintptr_t address) const noexcept {
        site_index begin = record.first, end = record.first + record.count;
        while (begin < end) {
            const site_index middle = begin + (end - begin) / 2;
            if (sites_[middle].address < address)
                begin = middle + 1;
            else
                end = middle;
        }
        return begin;
    }

    plain_vector<site_record> sites_;
    std::vector<object_record> objects_;
    load_count loads_{};
};

}  // namespace ftrace::inline v0::detail
