// A function's parameters out of its linker name: no debug information is read.
//
// What an Itanium-mangled name says, and what it does not
// (https://itanium-cxx-abi.github.io/cxx-abi/abi.html#mangling):
//
//     parameter types      all of them; of a class or enum passed by value only its name
//     result type          only of function templates and conversions; constructors, destructors,
//                          new and delete have one each. A class returned in memory takes the first
//                          integer register for its address
//     static or not        only if qualified by const, volatile, & or &&, a constructor, a
//                          destructor, or an operator that has to be a member. A non-static member
//                          function takes `this` in a register
//     class or namespace   not of the enclosing scope; other symbols may tell (scope_facts)
//
// So the first integer word of an argument list is certain for some functions and a guess for
// others. The certain is told from the guess here; recorded values then settle more
// (argument_evidence), and what is left is printed with the kernel's mark of the unknown, a
// question mark.
#pragma once

#include <ftrace/core/config.hpp>
#include <ftrace/trace/demangled.hpp>
#include <ftrace/trace/parameter_type.hpp>

#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace ftrace::inline v0 {

enum class certainty : std::uint8_t { no, maybe, yes };

/// What is known of the scopes that functions live in, gathered from any symbols at hand: the more,
/// the better.
class scope_facts {
public:
    FTRACE_NOTRACE scope_facts() = default;
    FTRACE_NOTRACE scope_facts(const scope_facts&) = default;
    FTRACE_NOTRACE scope_facts(scope_facts&&) = default;
    FTRACE_NOTRACE scope_facts& operator=(const scope_facts&) = default;
    FTRACE_NOTRACE scope_facts& operator=(scope_facts&&) = default;
    FTRACE_NOTRACE ~scope_facts() = default;

    /// Learns from one symbol: vtables, type information, constructors, qualified members, types
    /// of parameters.
    FTRACE_NOTRACE void add(std::string_view demangled) {
        for (const std::string_view of : {"vtable for ", "typeinfo for ", "typeinfo name for "})
            if (demangled.substr(0, of.size()) == of) {
                classes_.emplace(demangled.substr(of.size()));
                return;
            }
        constexpr std::string_view vtt = "VTT for ";
        if (demangled.substr(0, vtt.size()) == vtt) {
            virtual_bases_.emplace(demangled.substr(vtt.size()));
            return;
        }
        const demangled_name name = split_demangled(demangled);
        if (!name.is_function) return;
        if (!name.scope.empty() && is_member(name)) classes_.emplace(name.scope);
        for (std::string_view type : split_list(name.parameters)) {
            bool again = true;
            while (again) {
                again = false;
                for (const std::string_view end : {"*", "&", " const", " volatile"})
                    again |= detail::drop_suffix(type, end);
            }
            classes_.emplace(type);
        }
    }

    /// Whether a linker name may teach more than the names of traced functions do: so that of all
    /// symbols of a program only a few have to be demangled.
    [[nodiscard]] FTRACE_NOTRACE static bool is_telling(std::string_view linker_name) {
        for (const std::string_view start : {"_ZTV", "_ZTI", "_ZTT", "_ZNK"})
            if (linker_name.substr(0, start.size()) == start) return true;
        for (const std::string_view part : {"C1E", "C2E", "D0Ev", "D1Ev", "D2Ev"})
            if (linker_name.find(part) != std::string_view::npos) return true;
        return false;
    }

    /// Whether a scope is a class: yes, no (a namespace), or maybe.
    [[nodiscard]] FTRACE_NOTRACE certainty is_class(std::string_view scope) const {
        constexpr std::string_view unnamed = "(anonymous namespace)";
        if (scope.empty() || scope == "std") return certainty::no;
        if (scope.size() >= unnamed.size() &&
            scope.substr(scope.size() - unnamed.size()) == unnamed)
            return certainty::no;
        // Class templates, lambdas, and whatever stands inside a function.
        if (scope.back() == '>' || scope.back() == '}' || in_function(scope)) return certainty::yes;
        return classes_.count(std::string(scope)) != 0 ? certainty::yes : certainty::maybe;
    }

    /// Whether the class has virtual bases: its constructors may take one hidden argument more.
    [[nodiscard]] FTRACE_NOTRACE bool has_virtual_bases(std::string_view scope) const {
        return virtual_bases_.count(std::string(scope)) != 0;
    }

    /// Whether the name alone proves a non-static member function.
    [[nodiscard]] FTRACE_NOTRACE static bool is_member(const demangled_name& name) {
        if (!name.qualifiers.empty() || is_constructor(name) || is_destructor(name)) return true;
        if (!detail::operator_at(name.base, 0)) return false;
        const std::string_view symbol = name.base.substr(std::string_view("operator").size());
        return symbol == "=" || symbol == "->" || is_conversion(name);
    }
    [[nodiscard]] FTRACE_NOTRACE static bool is_constructor(const demangled_name& name) {
        const std::string scope = collapse_templates(name.scope, "");
        const std::size_t at = scope.rfind("::");
        const std::string last = at == std::string::npos ? scope : scope.substr(at + 2);
        return !last.empty() && last == collapse_templates(name.base, "");
    }
    [[nodiscard]] FTRACE_NOTRACE static bool is_destructor(const demangled_name& name) {
        return !name.base.empty() && name.base.front() == '~';
    }
    [[nodiscard]] FTRACE_NOTRACE static bool is_allocation(const demangled_name& name) {
        return name.base.substr(0, 12) == "operator new" ||
               name.base.substr(0, 15) == "operator delete";
    }
    [[nodiscard]] FTRACE_NOTRACE static bool is_conversion(const demangled_name& name) {
        return name.base.substr(0, 9) == "operator " && !is_allocation(name);
    }

private:
    [[nodiscard]] FTRACE_NOTRACE static bool in_function(std::string_view scope) {
        for (std::size_t at = scope.find('('); at != std::string_view::npos;
             at = scope.find('(', at + 1))
            if (scope.substr(at, 21) != "(anonymous namespace)") return true;
        return false;
    }

    std::set<std::string> classes_, virtual_bases_;
};

/// How the arguments of one function lie in its registers.
struct function_signature {
    FTRACE_NOTRACE function_signature() = default;
    FTRACE_NOTRACE function_signature(const function_signature&) = default;
    FTRACE_NOTRACE function_signature(function_signature&&) = default;
    FTRACE_NOTRACE function_signature& operator=(const function_signature&) = default;
    FTRACE_NOTRACE function_signature& operator=(function_signature&&) = default;
    FTRACE_NOTRACE ~function_signature() = default;

    /// false: a C function, a clone with other parameters, a name that is not understood.
    bool known = false;
    /// Whether the first integer word is `this`, and the better guess, where that is `maybe`.
    certainty this_pointer = certainty::no;
    bool assume_this = false;
    /// Whether, even before `this`, one holds the address of the result.
    certainty result_pointer = certainty::no;
    bool variadic = false;
    /// Whether the compiler may have given the function other parameters than its name says.
    bool may_be_changed = false;
    std::vector<parameter_type> parameters;
    /// `unknown` where the name does not say; `none`: void.
    parameter_type result{parameter_kind::unknown, 64};
};

/// The signature of a demangled function. `demangled` is all the linker name says; C names have no
/// parameter list.
[[nodiscard]] FTRACE_NOTRACE inline function_signature signature_from_name(
    std::string_view demangled, const scope_facts& facts) {
    function_signature out;
    const demangled_name name = split_demangled(demangled);
    const bool thunk = demangled.find("thunk to ") != std::string_view::npos;
    if (!name.is_function || !name.clone.empty() || thunk) return out;
    out.known = true;
    for (const std::string_view type : split_list(name.parameters)) {
        if (type == "...") {
            out.variadic = true;
            continue;
        }
        const parameter_type parameter = classify_parameter(type);
        if (parameter.kind != parameter_kind::none) out.parameters.push_back(parameter);
    }

    const certainty in_class = facts.is_class(name.scope);
    if (scope_facts::is_allocation(name) || in_class == certainty::no) {
        out.this_pointer = certainty::no;
    } else if (scope_facts::is_member(name)) {
        out.this_pointer = certainty::yes;
    } else {
        out.this_pointer = certainty::maybe;
        out.assume_this = in_class == certainty::yes;
    }

    if (scope_facts::is_constructor(name) && facts.has_virtual_bases(name.scope)) out.known = false;
    if (scope_facts::is_constructor(name) || scope_facts::is_destructor(name)) {
        out.result = {parameter_kind::none, 0};
        return out;
    }
    const std::string_view result =
        scope_facts::is_conversion(name) ? name.base.substr(9) : name.return_type;
    if (!result.empty()) out.result = classify_parameter(result);
    if (scope_facts::is_allocation(name))
        out.result.kind = name.base.substr(0, 12) == "operator new" ? parameter_kind::pointer
                                                                    : parameter_kind::none;
    if (out.result.kind == parameter_kind::unknown) out.result_pointer = certainty::maybe;
    if (out.result.kind == parameter_kind::object_address) out.result_pointer = certainty::yes;
    return out;
}

}  // namespace ftrace::inline v0
