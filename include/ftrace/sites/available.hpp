// What can be traced, and why not what cannot.
#pragma once

#include <cstddef>
#include <cstdint>
#include <ftrace/core/config.hpp>
#include <ftrace/core/plain_vector.hpp>
#include <ftrace/sites/demangle.hpp>
#include <ftrace/sites/library_names.hpp>
#include <ftrace/sites/objects.hpp>
#include <ftrace/sites/symbols.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace ftrace::inline v0 {

/// What tracing thinks of a function.
enum class trace_reason : std::uint8_t {
    traceable,
    symbol_missing,  ///< traceable; nothing names it
    clone,           ///< traceable where it has a site, but its arguments are not its signature's
    no_site,
    too_short,
    start_unknown,  ///< nops enough, but it is not known whether it begins behind some of them
    library_own,
    unread,  ///< no function: an object of which nothing is known; its name says why
};

/// A sentence for people.
[[nodiscard]] FTRACE_NOTRACE constexpr std::string_view to_string(trace_reason reason) noexcept {
    switch (reason) {
    case trace_reason::traceable: return "traceable";
    case trace_reason::symbol_missing:
        return "traceable by its address or this name; no symbol names it: link without -s, or "
               "install its debug file";
    case trace_reason::clone:
        return "a copy the compiler made with other parameters: traceable under its own name, but "
               "without typed arguments; compile with -fno-ipa-sra -fno-ipa-cp, or mark the "
               "function noipa";
    case trace_reason::no_site:
        return "not traceable: compiled without -fpatchable-function-entry=5, or marked so";
    case trace_reason::too_short:
        return "not traceable: fewer than five bytes of nop at its entry; compile with "
               "-fpatchable-function-entry=5, or =N,M with N - M of at least 5";
    case trace_reason::start_unknown:
        return "not traceable: nothing tells where among its nops it begins; link without -s, or "
               "compile with -fasynchronous-unwind-tables or -fcf-protection";
    case trace_reason::library_own: return "not traceable: part of ftrace++ or made for its types";
    case trace_reason::unread:
        return "not known: the file of this object cannot be read, and it tells where sites are";
    }
    return "unknown";
}

/// One function of a loaded object.
struct available_function {
    std::string name;         ///< demangled; "object+0x1234" without a symbol
    std::string linker_name;  ///< the same where there is nothing to demangle
    std::uintptr_t site = 0;  ///< the address to patch; 0 if there is none that can be
    std::string_view object;  ///< file name of its object; valid for ever
    trace_reason reason = trace_reason::no_site;

    FTRACE_NOTRACE available_function() = default;
    FTRACE_NOTRACE available_function(available_function&&) = default;
    FTRACE_NOTRACE available_function& operator=(available_function&&) = default;
    FTRACE_NOTRACE available_function(const available_function&) = default;
    FTRACE_NOTRACE available_function& operator=(const available_function&) = default;
    FTRACE_NOTRACE ~available_function() = default;

    /// Whether a hook can be put on it.
    [[nodiscard]] FTRACE_NOTRACE bool is_traceable() const noexcept { return site != 0; }
};

namespace detail {

/// One of the names of kept_name().
struct kept_names {
    std::string name;
    kept_names* next;

    FTRACE_NOTRACE ~kept_names() = default;
};

/// A copy of `name` that stays for good; the same one for equal names.
[[nodiscard]] FTRACE_NOTRACE inline std::string_view kept_name(std::string_view name) {
    static kept_names* names = nullptr;
    const image_guard guard;
    for (const kept_names* known = names; known != nullptr; known = known->next)
        if (known->name == name) return known->name;
    names = new kept_names{std::string(name), names};
    return names->name;
}

/// Appends the functions of one object to a list.
class function_listing {
public:
    function_listing(const function_listing&) = delete;
    function_listing& operator=(const function_listing&) = delete;
    FTRACE_NOTRACE ~function_listing() = default;
    FTRACE_NOTRACE function_listing(const loaded_object& object,
                                    std::vector<available_function>& list, demangler& demangle)
        : object_(object),
          symbols_(symbols_of(object)),
          name_(kept_name(object.name())),
          list_(list),
          demangle_(demangle),
          listed_(symbols_.entries().size(), '\0') {}

    FTRACE_NOTRACE void run() {
        if (!object_.unread.empty()) {
            list_.emplace_back();
            list_.back().name = std::string(name_) + ": " + object_.unread;
            list_.back().linker_name = name_;
            list_.back().object = name_;
            list_.back().reason = trace_reason::unread;
            return;
        }
        list_.reserve(list_.size() + object_.sites.size());
        add_sites(object_.sites, trace_reason::traceable);
        add_sites(object_.wide_sites, trace_reason::traceable);
        add_sites(object_.too_short, trace_reason::too_short);
        add_sites(object_.unknown_starts, trace_reason::start_unknown);
        const bool built_for_tracing = object_.is_executable || !object_.sites.empty() ||
                                       !object_.wide_sites.empty() || !object_.too_short.empty() ||
                                       !object_.unknown_starts.empty();
        if (built_for_tracing) add_others();
    }

private:
    FTRACE_NOTRACE void add(std::string_view linker_name, std::uintptr_t site,
                            trace_reason reason) {
        if (is_library_own(linker_name)) {
            reason = trace_reason::library_own;
            site = 0;
        } else if (is_clone(linker_name)) {
            reason = trace_reason::clone;
        }
        list_.emplace_back();
        available_function& function = list_.back();
        function.name = demangle_(linker_name);
        function.linker_name = linker_name;
        function.site = site;
        function.object = name_;
        function.reason = reason;
    }

    FTRACE_NOTRACE void add_sites(const plain_vector<std::uintptr_t>& sites, trace_reason reason) {
        const bool usable = reason == trace_reason::traceable;
        const auto visit = [&](std::uintptr_t site,
                               std::span<const symbol_entry> aliases) FTRACE_NOTRACE {
            if (aliases.empty()) {
                add(offset_name(name_, site - object_.bias), usable ? site : 0,
                    usable ? trace_reason::symbol_missing : reason);
                return;
            }
            for (const symbol_entry& alias : aliases)
                listed_[static_cast<std::size_t>(&alias - symbols_.entries().data())] = 1;
            add(aliases[0].linker_name(), usable ? site : 0, reason);
        };
        for_each_site_symbols(object_, {sites.data(), sites.size()}, symbols_, visit);
    }

    /// The functions no site was found for.
    FTRACE_NOTRACE void add_others() {
        const std::span<const symbol_entry> entries = symbols_.entries();
        for (std::size_t i = 0; i < entries.size(); ++i) {
            const bool alias = i > 0 && entries[i].address == entries[i - 1].address;
            if (listed_[i] == 0 && !alias && entries[i].size != 0)  // without a size: a label
                add(entries[i].linker_name(), 0, trace_reason::no_site);
        }
    }

    const loaded_object& object_;
    const symbol_table& symbols_;
    std::string_view name_;
    std::vector<available_function>& list_;
    demangler& demangle_;
    std::string listed_;  // a flag for each symbol
};

}  // namespace detail

/// The functions of `objects`: of each object those with a site by address, then, if it has any or
/// is the executable, those without. Instead of its functions, one entry for an object whose file
/// cannot be read (trace_reason::unread).
[[nodiscard]] FTRACE_NOTRACE inline std::vector<available_function> available_filter_functions(
    std::span<const loaded_object> objects) {
    std::vector<available_function> list;
    detail::demangler demangle;
    for (const loaded_object& object : objects)
        detail::function_listing(object, list, demangle).run();
    return list;
}

/// Every function of the process that can be traced, and those that cannot with the reason why. A
/// snapshot: objects loaded later are in the next one. Nothing has to be registered for it, and
/// what is registered does not show. Thread-safe.
[[nodiscard]] FTRACE_NOTRACE inline std::vector<available_function> available_filter_functions() {
    const std::vector<loaded_object> objects = detail::scan_loaded_objects();
    return available_filter_functions({objects.data(), objects.size()});
}

}  // namespace ftrace::inline v0
