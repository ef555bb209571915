// Recorded argument words as text.
#pragma once

#include <ftrace/arch/argument_words.hpp>
#include <ftrace/core/config.hpp>
#include <ftrace/export/format.hpp>
#include <ftrace/trace/signature.hpp>

#include <cstdint>
#include <cstring>
#include <string>

namespace ftrace::inline v0 {

/// Where the integer words of a call's parameters begin, if the two open questions are answered so.
struct argument_layout {
    bool result_pointer;  ///< the first word is the address of the result
    bool this_pointer;    ///< the first word, or the one behind, is `this`
    [[nodiscard]] FTRACE_NOTRACE constexpr int words() const {
        return result_pointer + this_pointer;
    }
};

/// What the calls of one function show about its first integer words, where the name leaves it
/// open.
struct argument_evidence {
    FTRACE_NOTRACE constexpr argument_evidence() = default;
    FTRACE_NOTRACE constexpr argument_evidence(bool no_address, bool other_result)
        : first_is_no_address(no_address), returns_something_else(other_result) {}

    /// Some call had a first word that cannot be an address: so it was neither `this` nor a
    /// result's address.
    bool first_is_no_address = false;
    /// Some call returned another word than it got first. A function that returns a class in memory
    /// returns the address it was given (psABI 3.2.3), so this one does not.
    bool returns_something_else = false;
    /// Calls that would be odd if the words were laid out so: [result_pointer][this_pointer].
    std::uint64_t odd[2][2] = {};

    FTRACE_NOTRACE void see_call(const function_signature& signature, const std::uint64_t* words) {
        if (!is_address(words[0])) first_is_no_address = true;
        for (const bool result : {false, true})
            for (const bool self : {false, true})
                odd[result][self] += is_odd(signature, {result, self}, words);
    }
    FTRACE_NOTRACE void see_return(std::uint64_t first_word, std::uint64_t result) {
        if (first_word != result) returns_something_else = true;
    }

    /// Whether the layout is certain, and which it is, or else which is most likely.
    FTRACE_NOTRACE bool decide(const function_signature& signature, argument_layout& out) const {
        certainty self = signature.this_pointer, result = signature.result_pointer;
        if (first_is_no_address && result == certainty::maybe) result = certainty::no;
        if (first_is_no_address && self == certainty::maybe) self = certainty::no;
        if (returns_something_else && result == certainty::maybe) result = certainty::no;
        out = {result == certainty::yes,
               self == certainty::yes || (self == certainty::maybe && signature.assume_this)};
        const argument_layout expected = out;
        // `this` last: where neither is expected, a result's address is the likelier explanation.
        for (const bool t : {false, true})
            for (const bool r : {false, true}) {
                const bool possible =
                    (result == certainty::maybe || r == expected.result_pointer) &&
                    (self == certainty::maybe || t == expected.this_pointer);
                if (possible && odd[r][t] < odd[out.result_pointer][out.this_pointer]) out = {r, t};
            }
        return self != certainty::maybe && result != certainty::maybe;
    }

private:
    [[nodiscard]] FTRACE_NOTRACE static bool is_address(std::uint64_t word) {
        constexpr std::uint64_t first_page = 4096;
        constexpr int highest_user_bit = 56;
        return word >= first_page && word >> highest_user_bit == 0;
    }

    /// A pointer that is no address, or a small integer in a register whose upper half is in use:
    /// compilers rarely leave such a thing, though the psABI allows it.
    [[nodiscard]] FTRACE_NOTRACE static bool is_odd(const function_signature& signature,
                                                    argument_layout layout,
                                                    const std::uint64_t* words) {
        for (int i = 0; i < layout.words(); ++i)
            if (!is_address(words[i])) return true;
        int at = layout.words();
        for (const parameter_type& type : signature.parameters) {
            if (type.kind == parameter_kind::unknown) return false;
            const int count = type.integer_words();
            if (count == 0 || at + count > arch::integer_argument_words) continue;
            const bool pointer =
                type.kind == parameter_kind::pointer || type.kind == parameter_kind::object_address;
            if (pointer && words[at] != 0 && !is_address(words[at])) return true;
            const auto extended = static_cast<std::uint64_t>(
                static_cast<std::int64_t>(static_cast<std::int32_t>(words[at])));
            if (!pointer && type.bits != 0 && type.bits <= 32 && words[at] >> 32 != 0 &&
                words[at] != extended)
                return true;
            at += count;
        }
        return false;
    }
};

namespace detail {

FTRACE_NOTRACE inline void append_wide(std::string& out, std::uint64_t low, std::uint64_t high) {
    if (high == 0)
        append(out, "{:#x}", low);
    else
        append(out, "{:#x}{:016x}", high, low);
}

/// Only the bits that belong to the type count: the psABI leaves the others of the register
/// undefined.
FTRACE_NOTRACE inline void append_integer(std::string& out, const parameter_type& type,
                                          const std::uint64_t* words) {
    const int unused = type.bits == 0 || type.bits >= 64 ? 0 : 64 - type.bits;
    const std::uint64_t low = words[0] << unused >> unused;
    const std::int64_t value = static_cast<std::int64_t>(words[0] << unused) >> unused;
    switch (type.kind) {
    case parameter_kind::boolean: out += (low & 1) != 0 ? "true" : "false"; return;
    case parameter_kind::character:
        if (low >= ' ' && low < 0x7f && low != '\'' && low != '\\')
            append(out, "'{}'", static_cast<char>(low));
        else
            append(out, "{}", value);
        return;
    case parameter_kind::signed_integer: append(out, "{}", value); return;
    case parameter_kind::unsigned_integer: append(out, "{}", low); return;
    case parameter_kind::wide_integer: append_wide(out, words[0], words[1]); return;
    case parameter_kind::member_function:
    case parameter_kind::view: append(out, "{{{:#x}, {:#x}}}", words[0], words[1]); return;
    default: append(out, "{:#x}", words[0]); return;
    }
}

FTRACE_NOTRACE inline void append_vector(std::string& out, const parameter_type& type,
                                         const std::uint64_t* words) {
    if (type.kind == parameter_kind::single_precision) {
        float value;
        std::memcpy(&value, words, sizeof value);
        append(out, "{}", value);
    } else if (type.kind == parameter_kind::double_precision) {
        double value;
        std::memcpy(&value, words, sizeof value);
        append(out, "{}", value);
    } else {
        out += "...";
    }
}

}  // namespace detail

/// The values of one call, "0x7ffd10, 3, 2.5": names of parameters are in no linker name.
///
/// `...` stands for what was not recorded (arguments on the stack, wide vectors), for everything
/// behind a class or enum passed by value (its registers are not known), and for the tail of a
/// variadic function; `this=` before the object of a member function. A `?` marks each word that
/// would be another if the first register held `this`, or the address of the result, where neither
/// the name nor the evidence can tell.
[[nodiscard]] FTRACE_NOTRACE inline std::string arguments_text(const function_signature& signature,
                                                               const argument_evidence& evidence,
                                                               const std::uint64_t* words) {
    if (!signature.known) return "...";
    argument_layout layout;
    const char* const mark = evidence.decide(signature, layout) ? "" : "?";
    int integer = layout.result_pointer ? 1 : 0, vector = 0;
    std::string out;
    const auto separate = [&out]() FTRACE_NOTRACE {
        if (!out.empty()) out += ", ";
    };
    if (layout.this_pointer) {
        detail::append(out, "{}this={:#x}", mark, words[integer]);
        ++integer;
    }
    for (const parameter_type& type : signature.parameters) {
        separate();
        const int integers = type.integer_words(), vectors = type.vector_words();
        if (type.kind == parameter_kind::unknown) return out + "...";
        if (integers > 0 && integer + integers <= arch::integer_argument_words) {
            // With one register more or less in front, a pair may lie on the stack instead.
            out += mark;
            detail::append_integer(out, type, words + integer);
            integer += integers;
        } else if (vectors > 0 && vector + vectors <= arch::vector_argument_words) {
            detail::append_vector(out, type, words + arch::integer_argument_words + vector);
            vector += vectors;
        } else {
            out += "...";
        }
    }
    if (signature.variadic) {
        separate();
        out += "...";
    }
    return out;
}

}  // namespace ftrace::inline v0
