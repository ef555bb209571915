// From addresses to functions, and back.
#pragma once

#include <cstddef>
#include <cstdint>
#include <ftrace/core/config.hpp>
#include <ftrace/core/error.hpp>
#include <ftrace/core/lock.hpp>
#include <ftrace/core/plain_vector.hpp>
#include <ftrace/sites/loaded_image.hpp>
#include <ftrace/sites/objects.hpp>
#include <ftrace/sites/symbol_table.hpp>
#include <new>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace ftrace::inline v0 {

/// A function, by the address of its first byte.
struct function_symbol {
    /// Its linker name; "object+0x1234" or "0x7f1234" where nothing names the address.
    std::string name;
    std::uintptr_t start = 0;  ///< the function's first byte; without a name the address asked for
    std::size_t size = 0;      ///< 0 where nothing tells
    bool is_local = false;     ///< whether only its own file can call it by its name

    FTRACE_NOTRACE function_symbol() = default;
    FTRACE_NOTRACE function_symbol(function_symbol&&) = default;
    FTRACE_NOTRACE function_symbol& operator=(function_symbol&&) = default;
    FTRACE_NOTRACE function_symbol(const function_symbol&) = default;
    FTRACE_NOTRACE function_symbol& operator=(const function_symbol&) = default;
    FTRACE_NOTRACE ~function_symbol() = default;
};

namespace detail {

/// The tables read so far. They stay for good, as do the views into them: a trace names functions
/// of objects that were unloaded meanwhile.
struct symbol_cache {
    struct object {
        std::string path;
        std::string build_id;
        std::uintptr_t header;
        std::uintptr_t bias;
        bool unread;  ///< its file could not be read: `table` is empty, and may be looked for again
        symbol_table table;
        object* next;

        FTRACE_NOTRACE ~object() = default;
    };
    FTRACE_NOTRACE symbol_cache() = default;
    symbol_cache(const symbol_cache&) = delete;
    symbol_cache& operator=(const symbol_cache&) = delete;
    FTRACE_NOTRACE ~symbol_cache() = default;

    object* objects = nullptr;
    unsigned partial_reads = 0;  // see symbols_of_few()

    /// The last one read.
    [[nodiscard]] FTRACE_NOTRACE const object* find(std::string_view path,
                                                    std::string_view build_id,
                                                    std::uintptr_t header,
                                                    std::uintptr_t bias) const noexcept {
        for (const object* known = objects; known != nullptr; known = known->next) {
            if (known->path != path || known->build_id != build_id) continue;
            if (!build_id.empty() || (known->header == header && known->bias == bias)) return known;
        }
        return nullptr;
    }
};

/// The caller holds an image_guard.
FTRACE_NOTRACE inline symbol_cache& symbols_read() {
    static symbol_cache* const cache = new symbol_cache;  // outlives every static object
    return *cache;
}

/// The symbols of an image, read now if they never were, or, with `again`, if they could not be
/// read before. The caller holds an image_guard.
[[nodiscard]] FTRACE_NOTRACE inline const symbol_table& symbols_of(symbol_cache& cache,
                                                                   const loaded_image& image,
                                                                   bool again = false) {
    const std::string path = image.readable_path();
    const byte_view bytes = image.build_id();
    const std::string_view id(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    const auto header = reinterpret_cast<std::uintptr_t>(image.segments);
    const symbol_cache::object* const known = cache.find(path, id, header, image.bias);
    if (known != nullptr && !(known->unread && again)) return known->table;
    image_file found = image.find_file();
    const bool unread = !found.file.valid() && image.has_functions();
    if (known != nullptr && unread) return known->table;
    cache.objects =
        new symbol_cache::object{path,         std::string(id), header,
                                 image.bias,   unread,          {std::move(found.file), found.path},
                                 cache.objects};
    return cache.objects->table;
}

/// The symbols of an object, read now if they never were; empty if it was unloaded before. Valid
/// for ever. Thread-safe.
[[nodiscard]] FTRACE_NOTRACE inline const symbol_table& symbols_of(const loaded_object& object) {
    const image_guard guard;
    symbol_cache& cache = symbols_read();
    const symbol_cache::object* const known =
        cache.find(object.path, object.build_id, object.header, object.bias);
    if (known != nullptr && !known->unread) return known->table;
    const symbol_table* table = known != nullptr ? &known->table : nullptr;
    for_each_image([&](const loaded_image& image, load_count) FTRACE_NOTRACE {
        if (reinterpret_cast<std::uintptr_t>(image.segments) != object.header ||
            image.bias != object.bias)
            return true;
        table = &symbols_of(cache, image, true);
        return false;
    });
    static const symbol_table* const none = new symbol_table;
    return table != nullptr ? *table : *none;
}

/// A question about this many sites, and no more, is answered without a table of all symbols.
inline constexpr std::size_t few_sites = 64;

/// The symbols of a few sites of an object that `sites`, sorted, lists: `visitor(const
/// symbol_table&)` gets a table that has these at least. One pass over the object's symbols,
/// where reading all of them would take ten times as long; who asks often gets the whole
/// table. Thread-safe.
template <typename Visitor>
FTRACE_NOTRACE void symbols_of_few(const loaded_object& object,
                                   std::span<const std::uintptr_t> sites, Visitor&& visitor) {
    constexpr unsigned most_partial_reads = 64;
    symbol_table few;
    {
        const image_guard guard;
        symbol_cache& cache = symbols_read();
        const symbol_cache::object* const known =
            cache.find(object.path, object.build_id, object.header, object.bias);
        if (known != nullptr || sites.size() > few_sites ||
            cache.partial_reads == most_partial_reads)
            return visitor(symbols_of(object));
        ++cache.partial_reads;
        plain_vector<std::uint64_t> starts;
        for (const std::uintptr_t site : sites)
            for (const std::size_t distance : {arch::farthest_site, std::size_t{0}})
                starts.push_back(site - distance - object.bias);
        sort_by_key(starts, [](std::uint64_t start) FTRACE_NOTRACE { return start; });
        for_each_image([&](const loaded_image& image, load_count) FTRACE_NOTRACE {
            if (reinterpret_cast<std::uintptr_t>(image.segments) != object.header ||
                image.bias != object.bias)
                return true;
            image_file found = image.find_file();
            few = symbol_table(std::move(found.file), found.path, {starts.data(), starts.size()});
            return false;
        });
    }
    visitor(few);
}

/// "libz.so.1+0x1234": the name of what has none. The number is an address of the file, as
/// addr2line takes it.
[[nodiscard]] FTRACE_NOTRACE inline std::string offset_name(std::string_view object,
                                                            std::uintptr_t offset) {
    std::string name(object);
    name += '+';
    name += hex(offset);
    return name;
}

/// Calls visitor(site, aliases) for each of an object's sites, in one pass over sites and symbols.
/// `sites` are sorted; `aliases` are the symbols of the site's function, the best first, none if
/// nothing names it.
template <typename Visitor>
FTRACE_NOTRACE void for_each_site_symbols(const loaded_object& object,
                                          std::span<const std::uintptr_t> sites,
                                          const symbol_table& symbols, Visitor&& visitor) {
    const std::span<const symbol_entry> entries = symbols.entries();
    std::size_t first = 0, behind = 0;  // entries[first..behind) share the last address passed
    for (const std::uintptr_t site : sites) {
        const std::uint64_t address = site - object.bias;
        while (behind < entries.size() && entries[behind].address <= address) {
            if (entries[behind].address != entries[first].address) first = behind;
            ++behind;
        }
        std::span<const symbol_entry> aliases = entries.subspan(first, behind - first);
        if (!aliases.empty()) {
            const std::uintptr_t start =
                static_cast<std::uintptr_t>(aliases[0].address) + object.bias;
            const std::uint64_t size = aliases[0].size;
            if (!arch::is_site_of(site, start) || (size != 0 && site - start >= size)) aliases = {};
        }
        visitor(site, aliases);
    }
}

}  // namespace detail

/// The function that contains `address`. Symbols are read at the first question about an object.
/// Thread-safe; allocates: not for callbacks.
[[nodiscard]] FTRACE_NOTRACE inline function_symbol symbol_of(std::uintptr_t address) {
    using namespace detail;
    const image_guard guard;
    symbol_cache& cache = symbols_read();
    function_symbol found;
    found.name = hex(address);
    found.start = address;
    for_each_image([&](const loaded_image& image, load_count) FTRACE_NOTRACE {
        if (!image.holds(address, 1, PF_X)) return true;
        const std::uint64_t offset = address - image.bias;
        if (const symbol_entry* entry = symbols_of(cache, image).containing(offset)) {
            found.name = entry->linker_name();
            found.start = static_cast<std::uintptr_t>(entry->address) + image.bias;
            found.size = static_cast<std::size_t>(entry->size);
            found.is_local = entry->is_local();
        } else {
            found.name = offset_name(base_of_path(image.readable_path()), offset);
        }
        return false;
    });
    return found;
}

/// The address of a function by its linker name, in the first loaded object that has it, local
/// functions too; 0 if none does. Reads the symbols of all objects up to that one.
[[nodiscard]] FTRACE_NOTRACE inline std::uintptr_t address_of_symbol(std::string_view linker_name) {
    using namespace detail;
    const image_guard guard;
    symbol_cache& cache = symbols_read();
    std::uintptr_t address = 0;
    for_each_image([&](const loaded_image& image, load_count) FTRACE_NOTRACE {
        if (image.is_vdso()) return true;
        if (const symbol_entry* entry = symbols_of(cache, image).named(linker_name))
            address = static_cast<std::uintptr_t>(entry->address) + image.bias;
        return address == 0;
    });
    return address;
}

}  // namespace ftrace::inline v0
