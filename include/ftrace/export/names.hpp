// Functions as a trace shows them: by name, and with the values of their arguments.
#pragma once

#include <ftrace/core/config.hpp>
#include <ftrace/export/arguments.hpp>
#include <ftrace/export/format.hpp>
#include <ftrace/sites/demangle.hpp>
#include <ftrace/trace/demangled.hpp>
#include <ftrace/trace/signature.hpp>
#include <ftrace/trace/snapshot.hpp>

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace ftrace::inline v0 {

/// How much of a C++ name is shown. Parameter lists and result types never are.
enum class template_arguments : std::uint8_t {
    full,       ///< ns::list<int, ns::pool<int> >::push
    collapsed,  ///< ns::list<..>::push
    hidden,     ///< ns::list::push
};

struct name_options {
    FTRACE_NOTRACE ~name_options() = default;

    template_arguments templates = template_arguments::full;
    /// How many components of a qualified name are shown, from its end: 2 of a::b::c::d gives c::d.
    /// 0: all.
    std::size_t components = 0;
    /// Replaced in every name, in this order, after the template arguments:
    /// {"nlohmann::json_abi_v3_11_2::", ""}.
    std::vector<std::pair<std::string, std::string>> replace;
    /// Values of arguments, where the tracer recorded them.
    bool arguments = true;
};

/// Makes the names of one snapshot; each is made once.
class function_names {
public:
    /// Both have to outlive this object.
    FTRACE_NOTRACE function_names(const trace_snapshot& trace, const name_options& options,
                                  bool arguments = true)
        : trace_(trace), options_(options) {
        if (!arguments || !options.arguments || trace.argument_words.empty()) return;
        facts_ = trace.scopes;
        for (const auto& [address, linker_name] : trace.symbols) facts_.add(demangle(linker_name));
        for (const auto& [address, from] : trace.callers) facts_.add(demangle(from.linker_name));
        gather_evidence();
    }
    function_names(const function_names&) = delete;
    function_names& operator=(const function_names&) = delete;
    FTRACE_NOTRACE ~function_names() = default;

    /// "ns::parse"; an address without a symbol is shown as a number.
    [[nodiscard]] FTRACE_NOTRACE const std::string& name(std::uintptr_t address) {
        return of(address).name;
    }

    /// Who called, by the return address: "main".
    [[nodiscard]] FTRACE_NOTRACE const std::string& caller(std::uintptr_t return_address) {
        const auto found = trace_.callers.find(return_address);
        if (found == trace_.callers.end()) return name(return_address);
        const auto known = callers_.find(return_address);
        if (known != callers_.end()) return known->second;
        return callers_
            .emplace(return_address, shown_name(found->second.linker_name, return_address))
            .first->second;
    }

    /// The same, and where in it, as the kernel's %pS: "main+0x12/0x40".
    [[nodiscard]] FTRACE_NOTRACE std::string caller_place(std::uintptr_t return_address) {
        std::string out = caller(return_address);
        const auto found = trace_.callers.find(return_address);
        if (found != trace_.callers.end() && found->second.size != 0)
            detail::append(out, "+{:#x}/{:#x}", found->second.offset, found->second.size);
        return out;
    }

    /// "ns::parse", and in parentheses the values recorded with the event; without them "()"
    /// if `always`.
    [[nodiscard]] FTRACE_NOTRACE std::string call(const trace_event& event, bool always) {
        const function& f = of(event.ip);
        if (event.arguments == trace_event::no_arguments || !options_.arguments)
            return f.name + (always ? "()" : "");
        return f.name + '(' + arguments_text(f.signature, evidence_[event.ip], words(event)) + ')';
    }

    /// The result recorded with a return, "-5"; empty if there is none.
    [[nodiscard]] FTRACE_NOTRACE std::string result(const trace_event& event) {
        if (!event.has_return_value) return {};
        const std::uint64_t words[] = {event.return_value, event.return_high, event.return_vector};
        static_assert(sizeof words == arch::result_words * sizeof(std::uint64_t));
        return result_text(of(event.ip).signature, words);
    }

    /// What left a call, and who caught it: "std::runtime_error, caught in main". "exception" is
    /// one whose type is not known, such as another language's.
    [[nodiscard]] FTRACE_NOTRACE std::string exception(const trace_event& event) {
        std::string out;
        if (event.exception >= trace_.exceptions.size()) return "exception";
        const trace_exception& thrown = trace_.exceptions[event.exception];
        out = thrown.type.empty() ? "exception" : type_name(thrown.type);
        if (thrown.handler != 0) out += ", caught in " + name(thrown.handler);
        return out;
    }

private:
    struct function {
        FTRACE_NOTRACE function() = default;
        FTRACE_NOTRACE function(const function&) = default;
        FTRACE_NOTRACE function(function&&) = default;
        FTRACE_NOTRACE function& operator=(const function&) = default;
        FTRACE_NOTRACE function& operator=(function&&) = default;
        FTRACE_NOTRACE ~function() = default;

        std::string name;
        function_signature signature;
    };

    [[nodiscard]] FTRACE_NOTRACE const std::uint64_t* words(const trace_event& event) const {
        return trace_.argument_words.data() + event.arguments;
    }

    FTRACE_NOTRACE const function& of(std::uintptr_t address) {
        const auto known = functions_.find(address);
        if (known != functions_.end()) return known->second;
        const auto symbol = trace_.symbols.find(address);
        const std::string linker_name =
            symbol == trace_.symbols.end() ? std::string() : symbol->second;
        function made;
        made.name = shown_name(linker_name, address);
        if (!linker_name.empty()) {
            const std::string text = demangle(linker_name);
            made.signature = signature_from_name(text, facts_);
            made.signature.may_be_changed = trace_.changeable.count(address) != 0;
        }
        return functions_.emplace(address, std::move(made)).first->second;
    }

    /// "St13runtime_error" is "std::runtime_error".
    [[nodiscard]] FTRACE_NOTRACE std::string type_name(const std::string& linker_name) const {
        constexpr std::string_view what = "typeinfo for ";
        std::string text = demangle("_ZTI" + linker_name);
        if (!text.starts_with(what)) return linker_name + "...";
        return shown(text.substr(what.size()));
    }

    /// A clone keeps its suffix, "parse.isra.0": it tells why the values of arguments are missing.
    [[nodiscard]] FTRACE_NOTRACE std::string shown_name(const std::string& linker_name,
                                                        std::uintptr_t address) const {
        if (linker_name.empty()) return fmt::format("{:#x}", address);
        const std::string text = demangle(linker_name);
        const demangled_name parts = split_demangled(text);
        std::string suffix;
        for (std::size_t at = parts.clone.find('.'); at < parts.clone.size();) {
            const std::size_t end = parts.clone.find_first_of(")]", at);
            suffix += parts.clone.substr(at, end - at);
            at = parts.clone.find('.', end);
        }
        return shown(std::string(parts.name)) + suffix;
    }

    [[nodiscard]] FTRACE_NOTRACE std::string shown(std::string name) const {
        // "[abi:cxx11]" tells the linker of another string class, and people nothing.
        for (std::size_t at = name.find("[abi:"); at != std::string::npos;
             at = name.find("[abi:", at))
            name.erase(at, name.find(']', at) - at + 1);
        if (options_.templates == template_arguments::collapsed)
            name = collapse_templates(name, "..");
        if (options_.templates == template_arguments::hidden) name = collapse_templates(name, "");
        if (options_.components != 0)
            name = std::string(last_components(name, options_.components));
        for (const auto& [from, to] : options_.replace)
            for (std::size_t at = from.empty() ? std::string::npos : name.find(from);
                 at != std::string::npos; at = name.find(from, at + to.size()))
                name.replace(at, from.size(), to);
        return name;
    }

    /// One pass over all calls; returns are matched with the innermost open call of their thread
    /// and depth. Where events are missing, no call before belongs to a return behind.
    FTRACE_NOTRACE void gather_evidence() {
        std::map<std::pair<std::uint32_t, std::uint32_t>, const trace_event*> open;
        for (const trace_event& event : trace_.events) {
            const std::pair place(event.call_thread(), event.depth);
            if (event.lost_before != 0)
                open.erase(open.lower_bound({event.thread, 0}),
                           open.lower_bound({event.thread + 1, 0}));
            if (event.kind == event_kind::graph_return) {
                const auto call = open.find(place);
                if (call != open.end() && event.has_return_value && event.ends(*call->second))
                    evidence_[event.ip].see_return(*words(*call->second), event.return_value);
                if (call != open.end()) open.erase(call);
            } else if (event.arguments != trace_event::no_arguments) {
                evidence_[event.ip].see_call(of(event.ip).signature, words(event), trace_.memory);
                if (event.kind == event_kind::graph_entry) open[place] = &event;
            }
        }
    }

    const trace_snapshot& trace_;
    const name_options& options_;
    scope_facts facts_;
    std::map<std::uintptr_t, argument_evidence> evidence_;
    std::map<std::uintptr_t, function> functions_;
    std::map<std::uintptr_t, std::string> callers_;
};

}  // namespace ftrace::inline v0
