// The productions of mangled types and template arguments.
#pragma once

#include <cstddef>
#include <ftrace/arch/vector_arguments.hpp>
#include <ftrace/core/config.hpp>
#include <ftrace/sites/mangled_walk.hpp>
#include <string_view>

namespace ftrace::inline v0::detail {

inline mangled_entity mangled_walk::type() noexcept {
    const scope nested(*this);
    constexpr std::string_view builtin = "vwbcahstijlmxynofdegz";
    const char c = peek();
    if (c != '\0' && builtin.find(c) != std::string_view::npos) {
        skip(1);
        return of_width(arch::scalar_width);
    }
    switch (c) {
    case 'P':
    case 'R':
    case 'O':
    case 'C':
    case 'G':
        // Pointers and references; complex numbers travel as their parts do.
        skip(1);
        type();
        return add(of_width(arch::scalar_width));
    case 'M':
        skip(1);
        type();
        type();
        return add(of_width(arch::scalar_width));
    case 'r':
    case 'V':
    case 'K': return qualified_type();
    case 'D': return type_of_d();
    case 'F': function_type(); return add({});
    case 'A': array_type(); return add({});
    case 'U':  // a vendor's qualifier, or a closure's name
        if (!is_digit(peek(1))) return named_type();
        skip(1);
        source_name();
        if (peek() == 'I') template_arguments(nullptr);
        type();
        return add({});
    case 'u':  // a vendor's type
        skip(1);
        source_name();
        if (peek() == 'I') template_arguments(nullptr);
        return add({});
    default: return named_type();
    }
}

/// Qualifiers count as one entity together, and with the function type behind them.
inline mangled_entity mangled_walk::qualified_type() noexcept {
    while (take("r") || take("V") || take("K")) {
    }
    exception_specification();
    if (peek() != 'F') {
        const mangled_entity plain = type();
        return add(plain);
    }
    function_type();
    return add({});
}

inline void mangled_walk::exception_specification() noexcept {
    if (take("Do") || take("Dx")) return;
    if (take("DO")) {
        expression();
        expect("E");
    } else if (take("Dw")) {
        while (!ends()) type();
    }
}

inline void mangled_walk::function_type() noexcept {
    expect("F");
    take("Y");  // extern "C"
    type();
    parameters();
    if (!take("R")) take("O");
    expect("E");
}

inline void mangled_walk::array_type() noexcept {
    expect("A");
    if (is_digit(peek()))
        number();
    else if (peek() != '_')
        expression();
    expect("_");
    type();
}

/// The types that begin with D.
inline mangled_entity mangled_walk::type_of_d() noexcept {
    constexpr std::string_view builtin = "defhinsu";
    const std::string_view begin = rest_;
    const char kind = peek(1);
    if (kind != '\0' && builtin.find(kind) != std::string_view::npos) {
        skip(2);
        return of_width(arch::scalar_width);
    }
    switch (kind) {
    case 'o':
    case 'O':
    case 'w':
    case 'x':
        exception_specification();
        function_type();
        return add({});
    case 't':
    case 'T':
        skip(2);
        expression();
        expect("E");
        return add({});
    case 'p': {
        skip(2);
        const mangled_entity pattern = type();
        return add(pattern);
    }
    case 'v': return add(vector_type());
    case 'a':
    case 'c': skip(2); return {};  // auto, decltype(auto)
    case 'F':                      // DF16_, DF32x, DF16b
        skip(2);
        number();
        if (!take("x") && !take("b")) expect("_");
        note_builtin(begin);
        return of_width(arch::scalar_width);
    case 'B':
    case 'U':  // _BitInt(N): an integer, or in memory
        skip(2);
        if (is_digit(peek()))
            number();
        else
            expression();
        expect("_");
        note_builtin(begin);
        return of_width(arch::scalar_width);
    case 'k':
    case 'K':  // auto with a constraint
        skip(2);
        name();
        return {};
    default: fail(); return {};
    }
}

inline mangled_entity mangled_walk::vector_type() noexcept {
    expect("Dv");
    const bool known = is_digit(peek());
    std::size_t count = 0;
    if (known) {
        count = number();
    } else {
        expect("_");
        expression();
    }
    expect("_");
    const std::size_t size = element_size(rest_);
    type();
    return known && size != 0 ? of_width(arch::width_of_vector(count * size)) : mangled_entity{};
}

/// Classes, enumerations, template parameters and what was named before.
inline mangled_entity mangled_walk::named_type() noexcept {
    const char c = peek(), next = peek(1);
    if (c == 'S' && next != 't') {
        name_result known;
        known.entity = substitution();
        if (peek() != 'I') return known.entity;
        specialise(known);
        return add(known.entity);
    }
    if (c == 'T' && next != 's' && next != 'u' && next != 'e') {
        name_result parameter;
        parameter.entity = add(template_parameter());
        if (peek() != 'I') return parameter.entity;
        specialise(parameter);
        return add(parameter.entity);
    }
    if (c == 'T') skip(2);  // struct, union, enum
    if (!is_digit(peek()) && peek() != 'N' && peek() != 'Z' && peek() != 'S' && peek() != 'W' &&
        peek() != 'U' && peek() != 'L') {
        fail();
        return {};
    }
    const name_result found = name();
    return add(found.entity);
}

inline mangled_entity mangled_walk::template_parameter() noexcept {
    expect("T");
    if (take("L")) {  // of an outer level: not looked up
        number();
        expect("_");
        index();
        return {};
    }
    const std::size_t i = index();
    if (i >= static_cast<std::size_t>(most_arguments)) return {};
    mangled_entity entity;
    entity.template_parameter = static_cast<int>(i);
    // Known by now, it stays what it is where the name is taken up in another scope.
    return arguments_.known ? of_width(width_of(entity)) : entity;
}

/// S_, S0_, ..., and the abbreviations of std.
inline mangled_entity mangled_walk::substitution() noexcept {
    for (const std_abbreviation& known : std_abbreviations)
        if (take(known.code)) {
            mangled_entity entity = of_width(arch::scalar_width);
            entity.name = known.name;
            entity.in_std = true;
            return entity;
        }
    expect("S");
    std::size_t sequence = 0;
    if (peek() != '_') {
        for (char c = peek(); c != '_' && !failed_; c = peek()) {
            const int digit = is_digit(c) ? c - '0' : c >= 'A' && c <= 'Z' ? c - 'A' + 10 : -1;
            if (digit < 0 || sequence > most_entities) fail();
            sequence = sequence * 36 + static_cast<std::size_t>(digit < 0 ? 0 : digit);
            if (!failed_) skip(1);
        }
        ++sequence;
    }
    expect("_");
    if (sequence >= entities_) {
        fail();
        return {};
    }
    return entity_[sequence];
}

/// The widest of the types among them; `kept` becomes what T_, T0_, ... mean behind them.
inline arch::vector_width mangled_walk::template_arguments(argument_range* kept) noexcept {
    const scope nested(*this);
    expect("I");
    constexpr int most = 32;
    arch::vector_width own[most];
    int count = 0;
    arch::vector_width widest = arch::scalar_width;
    while (!ends()) {
        if (take("Q")) {
            expression();
            continue;
        }
        const arch::vector_width width = template_argument();
        widest = arch::wider(widest, width);
        if (count < most) own[count++] = width;
    }
    if (kept == nullptr || arguments_used_ + count > most_arguments) return widest;
    *kept = {arguments_used_, count, true};
    for (int i = 0; i < count; ++i) argument_[arguments_used_++] = own[i];
    return widest;
}

inline arch::vector_width mangled_walk::template_argument() noexcept {
    const scope nested(*this);
    parameter_declarations();
    if (peek() == 'L' && !is_digit(peek(1))) {
        literal();
        return arch::scalar_width;
    }
    if (take("X")) {
        expression();
        expect("E");
        return arch::scalar_width;
    }
    if (take("J")) {
        arch::vector_width widest = arch::scalar_width;
        while (!ends()) widest = arch::wider(widest, template_argument());
        return widest;
    }
    return width_of(type());
}

}  // namespace ftrace::inline v0::detail
