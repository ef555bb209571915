// The productions of mangled expressions: they stand in the signatures of templates, in decltype
// and in constraints. Passed over, with every type they name taken note of.
#pragma once

#include <cstddef>
#include <ftrace/core/config.hpp>
#include <ftrace/sites/mangled_walk.hpp>
#include <string_view>

namespace ftrace::inline v0::detail {

inline void mangled_walk::expression() noexcept {
    const scope nested(*this);
    if (failed_) return;
    if (peek() == 'L') return literal();
    if (peek() == 'T') {
        add(template_parameter());
        if (peek() == 'I') {
            template_arguments(nullptr);
            add({});
        }
        return;
    }
    if (take("fpT")) return;  // this
    if (peek() == 'f' && (peek(1) == 'p' || (peek(1) == 'L' && is_digit(peek(2)))))
        return function_parameter();
    if (take("rq")) return requirements();
    if (take("rQ")) {
        while (!failed_ && !take("_")) type();
        return requirements();
    }
    if (take("u")) {  // a vendor's
        source_name();
        while (!ends()) template_argument();
        return;
    }
    const bool global = take("gs");
    const bool name = is_digit(peek()) || (peek() == 's' && peek(1) == 'r') ||
                      (peek() == 'o' && peek(1) == 'n') || (peek() == 'd' && peek(1) == 'n');
    if (name) return unresolved_name();
    const mangled_operator* const known = find_operator(rest_);
    if (known == nullptr) return fail();
    const bool may_be_global =
        known->form == operands::allocation || known->code == "dl" || known->code == "da";
    if (global && !may_be_global) return fail();
    skip(known->code.size());
    operation(*known);
}

/// expression* E
inline void mangled_walk::expressions() noexcept {
    while (!ends()) expression();
}

inline void mangled_walk::operation(const mangled_operator& known) noexcept {
    switch (known.form) {
    case operands::none: return;
    case operands::three: expression(); [[fallthrough]];
    case operands::two: expression(); [[fallthrough]];
    case operands::one: return expression();
    case operands::type_and_one: type(); return expression();
    case operands::type: type(); return;
    case operands::member: expression(); return unresolved_name();
    case operands::typed_list: type(); return expressions();
    case operands::list: return expressions();
    case operands::conversion: type(); return take("_") ? expressions() : expression();
    case operands::step: take("_"); return expression();
    case operands::allocation:
        while (!failed_ && !take("_")) expression();
        type();
        if (take("pi")) return expressions();
        if (peek() == 'i' && peek(1) == 'l') return expression();
        return expect("E");
    case operands::fold_two:
        skip(2);
        expression();
        return expression();
    case operands::fold_one: skip(2); return expression();
    case operands::arguments:
        while (!ends()) template_argument();
        return;
    }
}

/// fp [qualifiers] [number] _ , and fL <level> p [qualifiers] [number] _ for outer functions.
inline void mangled_walk::function_parameter() noexcept {
    skip(2);
    if (is_digit(peek())) {
        const std::size_t size = rest_.size();
        number();
        if (!take("p")) {
            if (size == rest_.size()) fail();
            return expect("_");
        }
    }
    while (take("r") || take("V") || take("K")) {
    }
    index();
}

inline void mangled_walk::unresolved_name() noexcept {
    take("gs");
    if (!take("sr")) return base_unresolved_name();
    if (take("N")) {
        type();
        while (!ends()) simple_id();
    } else if (is_digit(peek())) {
        // Scopes and E; gcc writes a single type, without E.
        const std::string_view before = rest_;
        const std::size_t entities = entities_;
        while (is_digit(peek())) simple_id();
        if (!take("E")) {
            if (failed_) return;
            rest_ = before;
            entities_ = entities;
            type();
        }
    } else {
        type();
    }
    base_unresolved_name();
}

inline void mangled_walk::base_unresolved_name() noexcept {
    if (take("on")) {
        if (take("cv"))
            type();
        else if (find_operator(rest_) != nullptr)
            skip(2);
        else
            fail();
        if (peek() == 'I') template_arguments(nullptr);
    } else if (take("dn")) {
        if (is_digit(peek()))
            simple_id();
        else
            type();
    } else if (take("co")) {  // gcc's form of dn
        type();
    } else {
        simple_id();
    }
}

inline void mangled_walk::simple_id() noexcept {
    source_name();
    if (peek() == 'I') template_arguments(nullptr);
}

/// requirement+ E
inline void mangled_walk::requirements() noexcept {
    while (!ends()) {
        if (take("X")) {
            expression();
            take("N");
            if (take("R")) name();
        } else if (take("T")) {
            type();
        } else if (take("Q")) {
            expression();
        } else {
            fail();
        }
    }
}

/// L <type> <value> E, L_Z <encoding> E
inline void mangled_walk::literal() noexcept {
    expect("L");
    if (take("_Z")) {
        encoding();
    } else {
        type();
        while (!rest_.empty() && peek() != 'E') skip(1);
    }
    expect("E");
}

}  // namespace ftrace::inline v0::detail
