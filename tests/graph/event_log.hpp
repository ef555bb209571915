// What fgraph_ops see of the functions in namespace `hooked`, as one line of text:
//
//     +outer.0 +inner.1 -inner.1=5 +thrower.1 -thrower.1!plain_error@outer -outer.0=7
//
// `+f.D`: f was entered at depth D; `-f.D` and how it ended: `=` and its result, `!` an exception of
// this type that goes to this function, `~` longjmp, `x` thread_exit, `t` tail_call, `?` abandoned.
// Programs write words of their own in between.
#pragma once

#include <cstddef>
#include <cstdint>
#include <ftrace/arch/site_layout.hpp>
#include <ftrace/graph/fgraph.hpp>
#include <ftrace/sites/available.hpp>
#include <string>
#include <string_view>
#include <typeinfo>
#include <vector>

// How hooked functions are marked: the compiler makes no copies of them, and takes nothing for
// granted of what they do.
#if defined(__clang__)
#define HOOKED_FUNCTION __attribute__((noinline))
#else
#define HOOKED_FUNCTION __attribute__((noipa))
#endif
#define KEEP(value) __asm__ volatile("" : "+r"(value)::"memory")

namespace event_log {

using namespace ftrace;

// Written by one thread at a time, in signal handlers too: no memory is asked for.
inline char text[1 << 16];
inline std::size_t length = 0;

FTRACE_NOTRACE inline void put(std::string_view word) noexcept {
    for (const char c : word)
        if (length < sizeof text) text[length++] = c;
}
FTRACE_NOTRACE inline void put(long number) noexcept {
    if (number < 0) put("-");
    unsigned long rest =
        number < 0 ? 0UL - static_cast<unsigned long>(number) : static_cast<unsigned long>(number);
    char digits[20];
    std::size_t begin = sizeof digits;
    do digits[--begin] = static_cast<char>('0' + rest % 10);
    while ((rest /= 10) != 0);
    put(std::string_view(digits + begin, sizeof digits - begin));
}
/// A word of the program's own.
FTRACE_NOTRACE inline void note(std::string_view word) noexcept {
    if (length != 0) put(" ");
    put(word);
}
inline void clear() noexcept { length = 0; }
inline std::string all() { return {text, length}; }

struct named_site {
    std::uintptr_t site;
    std::string name;
};
/// The functions in namespace `hooked`, by their last names.
inline const std::vector<named_site>& names() {
    static const auto made = [] {
        std::vector<named_site> list;
        constexpr std::string_view begin = "hooked::";
        for (const auto& function : available_filter_functions())
            if (function.site != 0 && function.name.starts_with(begin)) {
                const std::string name = function.name.substr(0, function.name.find('('));
                list.push_back({function.site, name.substr(name.rfind(':') + 1)});
            }
        return list;
    }();
    return made;
}
inline const named_site* first_name;
inline std::size_t name_count;

/// By the site, or by the function's beginning.
FTRACE_NOTRACE inline std::string_view name_of(unsigned long address) noexcept {
    for (std::size_t i = 0; i < name_count; ++i)
        if (first_name[i].site == address || arch::is_site_of(first_name[i].site, address))
            return first_name[i].name;
    return address == 0 ? "nobody" : "elsewhere";
}

/// Types of exceptions, which a test adds.
struct named_type {
    const std::type_info* type;
    const char* name;
};
inline named_type types[8];

FTRACE_NOTRACE inline std::string_view name_of(const std::type_info* type) noexcept {
    if (type == nullptr) return "foreign";
    for (const named_type& each : types)
        if (each.type != nullptr && *each.type == *type) return each.name;
    return "unknown";
}

/// Ends whose parent_ip was not that of the entry, or was a trampoline.
inline int wrong_parents = 0;

FTRACE_NOTRACE inline bool on_entry(const ftrace_graph_ent& call, fgraph_ops&,
                                    ftrace_regs&) noexcept {
    note("+");
    put(name_of(call.func));
    put(".");
    put(call.depth);
    if (call.data != nullptr) *static_cast<unsigned long*>(call.data) = call.parent_ip;
    return true;
}
FTRACE_NOTRACE inline void on_end(const ftrace_graph_ret& call, fgraph_ops&,
                                  ftrace_regs&) noexcept {
    note("-");
    put(name_of(call.func));
    put(".");
    put(call.depth);
    switch (call.end) {
    case graph_end::returned:
        put("=");
        put(static_cast<int>(call.retval));
        break;
    case graph_end::exception:
        put("!");
        put(name_of(call.exception));
        put("@");
        put(name_of(call.handler));
        break;
    case graph_end::longjmp: put("~"); break;
    case graph_end::thread_exit: put("x"); break;
    case graph_end::tail_call: put("t"); break;
    case graph_end::abandoned: put("?"); break;
    }
    if (call.end != graph_end::exception && (call.exception != nullptr || call.handler != 0))
        put("(with an exception)");
    if (call.data != nullptr && (*static_cast<unsigned long*>(call.data) != call.parent_ip ||
                                 ftrace_graph_ret_addr(call.parent_ip) != call.parent_ip))
        ++wrong_parents;
}

/// Watches the functions of a filter; begins a new log.
class watch {
public:
    explicit watch(const char* filter = "hooked::*") {
        first_name = names().data();
        name_count = names().size();
        ops_.ops.set_filter(filter).value();
        registered_ = register_ftrace_graph(ops_).value();
        clear();
    }
    /// The events so far; nothing more is watched.
    std::string end() {
        registered_.unregister().value();
        return wrong_parents == 0 ? all() : all() + " with wrong parents";
    }
    fgraph_ops& ops() { return ops_; }

private:
    fgraph_ops ops_{on_entry, on_end, nullptr, {.call_data = sizeof(unsigned long)}};
    graph_registration registered_;
};

}  // namespace event_log
