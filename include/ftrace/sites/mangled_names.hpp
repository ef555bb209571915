// The productions of mangled names: encodings, nested, local and unqualified names.
#pragma once

#include <cstddef>
#include <ftrace/arch/vector_arguments.hpp>
#include <ftrace/core/config.hpp>
#include <ftrace/sites/mangled_walk.hpp>
#include <string_view>

namespace ftrace::inline v0::detail {

/// encoding = name [return type] parameters. What follows the parameters is left.
inline arch::vector_width mangled_walk::encoding() noexcept {
    const scope nested(*this);
    // Thunks adjust `this` or the result, and call a function with the same parameters.
    if (take("Tc")) {
        skip_offset();
        skip_offset();
        return encoding();
    }
    if (peek() == 'T' && (peek(1) == 'h' || peek(1) == 'v')) {
        skip(1);
        skip_offset();
        return encoding();
    }
    if (peek() == 'T' || (peek() == 'G' && !take("GTt"))) {
        fail();  // tables and guards are no functions
        return arch::unknown_width;
    }
    arguments_ = {};
    const name_result found = name();
    // A variable has no parameters.
    if (rest_.empty() || peek() == '.' || peek() == '@' || peek() == 'E')
        return arch::unknown_width;
    if (found.has_arguments && found.is_typed) type();
    return parameters();
}

inline bool mangled_walk::skip_offset() noexcept {
    const bool virtual_base = take("v");
    if (!virtual_base) expect("h");
    signed_number();
    expect("_");
    if (virtual_base) {
        signed_number();
        expect("_");
    }
    return !failed_;
}

/// The types of a function's parameters, as far as they go; the widest of them.
inline arch::vector_width mangled_walk::parameters() noexcept {
    arch::vector_width widest = arch::scalar_width;
    bool any = false;
    while (!failed_ && !rest_.empty() && peek() != '.' && peek() != '@' && peek() != 'E') {
        const bool ref_qualifier = (peek() == 'R' || peek() == 'O') && peek(1) == 'E';
        if (ref_qualifier) break;
        if (take("Q")) {
            expression();
            break;
        }
        widest = arch::wider(widest, width_of(type()));
        any = true;
    }
    if (!any) fail();
    return widest;
}

inline mangled_walk::name_result mangled_walk::name() noexcept {
    if (++depth_ > 200) fail();
    name_result result;
    if (peek() == 'N') {
        result = nested_name();
    } else if (peek() == 'Z') {
        result = local_name();
    } else {
        if (peek() == 'S' && peek(1) != 't') {
            result.entity = substitution();  // a template's: its arguments follow
        } else {
            mangled_entity within;
            within.is_std = take("St");
            result.entity = unqualified_name(within, result);
            if (peek() == 'I') add(result.entity);
        }
        if (peek() == 'I') specialise(result);
    }
    --depth_;
    return result;
}

/// The template arguments behind a template's name.
inline void mangled_walk::specialise(name_result& result) noexcept {
    argument_range kept{};
    const arch::vector_width widest = template_arguments(&kept);
    const mangled_entity& generic = result.entity;
    mangled_entity special;
    special.name = generic.name;
    special.in_std = generic.in_std;
    if (generic.in_std) special.width = std_width(generic.name, widest);
    result.entity = special;
    result.has_arguments = true;
    arguments_ = kept;
}

inline mangled_walk::name_result mangled_walk::nested_name() noexcept {
    name_result result;
    expect("N");
    while (take("r") || take("V") || take("K")) {
    }
    if (!take("R") && !take("O")) take("H");
    bool empty = true;
    while (!ends()) {
        const bool known = peek() == 'S' && peek(1) != 't';
        const bool is_std = take("St");
        if (known) {
            result.entity = substitution();
            result.has_arguments = false;
        } else if (is_std) {
            result.entity = {};
            result.entity.is_std = true;
        } else if (peek() == 'I') {
            if (empty) fail();
            specialise(result);
        } else if (peek() == 'T') {
            result.entity = template_parameter();
        } else if (peek() == 'D' && (peek(1) == 't' || peek(1) == 'T')) {
            result.entity = type_of_d();
        } else if (!take("M")) {  // M: the scope of a data member's initializer
            result.has_arguments = false;
            result.is_typed = true;
            result.entity = unqualified_name(result.entity, result);
        }
        empty = false;
        // Every prefix is an entity; the whole name is one only as a type, which adds it itself.
        if (!known && !is_std && peek() != 'E') add(result.entity);
    }
    return result;
}

inline mangled_walk::name_result mangled_walk::local_name() noexcept {
    expect("Z");
    encoding();
    expect("E");
    arguments_ = {};
    name_result result;
    if (take("s")) {  // a string literal
        discriminator();
        return result;
    }
    if (take("d")) {  // a default argument
        if (is_digit(peek())) number();
        expect("_");
    }
    result = name();
    discriminator();
    return result;
}

inline void mangled_walk::discriminator() noexcept {
    if (take("__")) {
        number();
        expect("_");
    } else if (peek() == '_' && is_digit(peek(1))) {
        skip(2);
    }
}

inline mangled_entity mangled_walk::unqualified_name(const mangled_entity& within,
                                                     name_result& result) noexcept {
    mangled_entity entity;
    while (take("W")) {  // a module
        take("P");
        source_name();
    }
    if (peek() == 'F' && is_digit(peek(1))) take("F");  // a friend
    if (peek() == 'L' && is_digit(peek(1))) take("L");  // internal linkage
    const char c = peek(), next = peek(1);
    if (is_digit(c)) {
        entity.name = source_name();
        entity.is_std = (within.is_std && is_inner_namespace(entity.name)) ||
                        entity.name == std::string_view("__gnu_cxx");
        entity.in_std = within.is_std && !entity.is_std;
        // As long as no template arguments follow.
        if (entity.in_std) entity.width = std_width(entity.name, arch::scalar_width);
    } else if (c == 'C' || (c == 'D' && is_digit(next))) {
        result.is_typed = false;
        take("C") || take("D");
        const bool inherited = take("I");
        if (is_digit(peek()))
            skip(1);
        else
            fail();
        if (inherited) type();
    } else if (take("DC")) {
        while (!ends()) source_name();
    } else if (take("Ut")) {
        index();
    } else if (take("Ul")) {
        closure();
    } else if (take("cv")) {
        result.is_typed = false;
        const scope own(*this);
        arguments_ = {};
        type();
    } else if (take("li")) {
        source_name();
    } else if (find_operator(rest_) != nullptr) {
        skip(2);
    } else {
        fail();
    }
    while (take("B")) source_name();  // ABI tags
    return entity;
}

/// A lambda's type: its parameters tell it from others.
inline void mangled_walk::closure() noexcept {
    const scope own(*this);
    arguments_ = {};  // T_ is a parameter of its own
    parameter_declarations();
    parameters();
    expect("E");
    index();
}

/// Ty, Tn <type>, Tt <declarations> E, Tp <declaration>, Tk <concept>.
inline void mangled_walk::parameter_declarations() noexcept {
    for (bool more = true; more && !failed_;) {
        if (take("Ty") || take("Tp")) continue;
        if (take("Tn")) {
            type();
        } else if (take("Tk")) {
            name();
        } else if (take("Tt")) {
            parameter_declarations();
            expect("E");
        } else {
            more = false;
        }
    }
}

}  // namespace ftrace::inline v0::detail
