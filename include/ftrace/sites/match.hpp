// The sites a pattern means.
#pragma once

#include <cstddef>
#include <cstdint>
#include <ftrace/core/config.hpp>
#include <ftrace/sites/filter.hpp>
#include <ftrace/sites/library_names.hpp>
#include <ftrace/sites/name_forms.hpp>
#include <ftrace/sites/objects.hpp>
#include <ftrace/sites/symbols.hpp>
#include <span>
#include <string>
#include <string_view>

namespace ftrace::inline v0 {

/// Calls visitor(const loaded_object&, std::uintptr_t site, const name_forms&) for each site
/// whose function `pattern` matches by any of its names (an address may have several symbols), in
/// order of objects and addresses. The pattern's negation plays no part. Sites of the library's own
/// functions are passed over. Names are demangled only where the linker name does not exclude a
/// match; symbols are read at first use. The names are valid within the visit.
template <typename Visitor>
FTRACE_NOTRACE void match_sites(std::span<const loaded_object> objects, const name_pattern& pattern,
                                Visitor&& visitor) {
    detail::demangler demangle;
    for (const loaded_object& object : objects) {
        if (!pattern.matches_object(object.path, object.is_executable)) continue;
        const auto visit = [&](std::uintptr_t site,
                               std::span<const detail::symbol_entry> aliases) FTRACE_NOTRACE {
            const auto visit_named = [&](std::string_view linker_name) FTRACE_NOTRACE {
                const name_forms names(demangle, linker_name, object.path, object.is_executable);
                const bool matched = !detail::is_library_own(linker_name) && pattern.matches(names);
                if (matched) visitor(object, site, names);
                return matched;
            };
            if (aliases.empty())
                visit_named(detail::offset_name(object.name(), site - object.bias));
            for (const detail::symbol_entry& alias : aliases)
                if (visit_named(alias.linker_name())) break;
        };
        for (const auto* sites : {&object.sites, &object.wide_sites})
            if (!sites->empty())
                detail::for_each_site_symbols(object, {sites->data(), sites->size()},
                                              detail::symbols_of(object), visit);
    }
}

namespace detail {

/// Calls visitor(const name_forms&) once for each of an object's sites, the library's own
/// passed over.
template <typename Visitor>
FTRACE_NOTRACE void for_each_site_name(const loaded_object& object, demangler& demangle,
                                       Visitor&& visitor) {
    const auto visit = [&](std::uintptr_t site,
                           std::span<const symbol_entry> aliases) FTRACE_NOTRACE {
        std::string made;
        if (aliases.empty()) made = offset_name(object.name(), site - object.bias);
        const std::string_view name = aliases.empty() ? made : aliases[0].linker_name();
        if (is_library_own(name)) return;
        visitor(name_forms(demangle, name, object.path, object.is_executable));
    };
    for (const auto* sites : {&object.sites, &object.wide_sites})
        if (!sites->empty())
            for_each_site_symbols(object, {sites->data(), sites->size()}, symbols_of(object),
                                  visit);
}

/// The demangled name of a site's function that `pattern` does not match only because it is a copy
/// with other parameters (is_clone()); empty if there is none.
[[nodiscard]] FTRACE_NOTRACE inline std::string first_clone(std::span<const loaded_object> objects,
                                                            const name_pattern& pattern) {
    std::string found;
    demangler demangle;
    for (const loaded_object& object : objects)
        for_each_site_name(object, demangle, [&](const name_forms& names) FTRACE_NOTRACE {
            if (found.empty() && pattern.matches_original_of(names)) found = names.demangled();
        });
    return found;
}

}  // namespace detail
}  // namespace ftrace::inline v0
