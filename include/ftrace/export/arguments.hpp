// Recorded words of arguments and results as text.
#pragma once

#include <ftrace/arch/argument_words.hpp>
#include <ftrace/arch/result_words.hpp>
#include <ftrace/core/config.hpp>
#include <ftrace/export/evidence.hpp>
#include <ftrace/export/format.hpp>
#include <ftrace/trace/signature.hpp>

#include <cstdint>
#include <cstring>
#include <string>

namespace ftrace::inline v0 {

namespace detail {

FTRACE_NOTRACE inline void append_wide(std::string& out, std::uint64_t low, std::uint64_t high) {
    if (high == 0)
        append(out, "{:#x}", low);
    else
        append(out, "{:#x}{:016x}", high, low);
}

/// Only the bits that belong to the type count: the psABI leaves the others of the
/// register undefined.
FTRACE_NOTRACE inline void append_integer(std::string& out, const parameter_type& type,
                                          const std::uint64_t* words) {
    const int unused = type.bits == 0 || type.bits >= 64 ? 0 : 64 - type.bits;
    const std::uint64_t low = words[0] << unused >> unused;
    const std::int64_t value = static_cast<std::int64_t>(words[0] << unused) >> unused;
    // Signed numbers in decimal, all others in hexadecimal: as the kernel (print_function_args).
    switch (type.kind) {
    case parameter_kind::boolean: out += (low & 1) != 0 ? "true" : "false"; return;
    case parameter_kind::character:
        if (low >= ' ' && low < 0x7f && low != '\'' && low != '\\')
            append(out, "'{}'", static_cast<char>(low));
        else
            append(out, "{}", value);
        return;
    case parameter_kind::signed_integer: append(out, "{}", value); return;
    case parameter_kind::unsigned_integer: append(out, "{:#x}", low); return;
    case parameter_kind::wide_integer: append_wide(out, words[0], words[1]); return;
    case parameter_kind::halves:
        append(out, "{{{:#x}, {:#x}}}", words[0] & 0xffff'ffff, words[0] >> 32);
        return;
    case parameter_kind::optional: {
        // The value, and behind it one byte that tells whether there is one.
        const bool narrow = type.bits == 32;
        if (((narrow ? words[0] >> 32 : words[1]) & 0xff) == 0)
            out += "nullopt";
        else
            append(out, "{{{:#x}}}", narrow ? words[0] & 0xffff'ffff : words[0]);
        return;
    }
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
/// A function without types has `...` here, where the kernel prints nothing: that would look like a
/// function without parameters.
///
/// `...` stands for what was not recorded (arguments on the stack, wide vectors), for everything
/// behind a class or enum passed by value (its registers are not known), and for the tail of a
/// variadic function; `this=` before the object of a member function. A `?` marks each word that
/// would be another if the first register held `this`, or the address of the result, where neither
/// the name nor the evidence can tell; and every value of a function whose compiler may have
/// changed its parameters.
[[nodiscard]] FTRACE_NOTRACE inline std::string arguments_text(const function_signature& signature,
                                                               const argument_evidence& evidence,
                                                               const std::uint64_t* words) {
    if (!signature.known) return "...";
    const argument_reading reading = evidence.decide(signature);
    const bool doubtful = signature.may_be_changed;
    const char* const mark = doubtful || !reading.words_certain ? "?" : "";
    int integer = reading.layout.result_pointer ? 1 : 0, vector = 0;
    std::string out;
    const auto separate = [&out]() FTRACE_NOTRACE {
        if (!out.empty()) out += ", ";
    };
    if (reading.layout.this_pointer) {
        detail::append(out, "{}this={:#x}", doubtful || !reading.this_certain ? "?" : "",
                       words[integer]);
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
            if (doubtful) out += '?';
            detail::append_vector(out, type, words + arch::integer_argument_words + vector);
            vector += vectors;
        } else {
            out += "...";
            // The psABI leaves the last register to the next integer, and so does gcc; clang puts
            // that on the stack as well, or half of this one into the register.
            if (type.kind == parameter_kind::wide_integer) integer = arch::integer_argument_words;
        }
    }
    if (signature.variadic) {
        separate();
        out += "...";
    }
    return out;
}

namespace detail {

/// A result of unknown type, as the kernel prints it: decimal where it looks like an errno, also one
/// of 32 bits; else hexadecimal.
FTRACE_NOTRACE inline void append_unknown_result(std::string& out, std::uint64_t value) {
    constexpr std::int64_t most_negative_errno = -4095;
    const std::int64_t wide = static_cast<std::int64_t>(value);
    const std::int64_t narrow = static_cast<std::int32_t>(value);
    const bool is_narrow = value >> 32 == 0;
    if (wide < 0 && wide >= most_negative_errno)
        append(out, "{}", wide);
    else if (is_narrow && narrow < 0 && narrow >= most_negative_errno)
        append(out, "{}", narrow);
    else
        append(out, "{:#x}", value);
}

}  // namespace detail

/// The value of one result, of arch::result_words words, as a value of an argument would be shown;
/// empty if the function is known to return nothing. Where its type is not known (a linker name
/// tells it of function templates, conversions, operators new and delete, constructors and
/// destructors), the first word, as the kernel shows it. `?` stands before the result of a function
/// whose compiler may have changed it.
[[nodiscard]] FTRACE_NOTRACE inline std::string result_text(const function_signature& signature,
                                                            const std::uint64_t* words) {
    const parameter_type& type = signature.result;
    std::string out;
    if (type.kind == parameter_kind::none) return out;
    if (signature.may_be_changed) out += '?';
    if (type.kind == parameter_kind::unknown)
        detail::append_unknown_result(out, words[0]);
    else if (type.integer_words() > 0)
        detail::append_integer(out, type, words);
    else
        detail::append_vector(out, type, words + arch::integer_result_words);
    return out;
}

}  // namespace ftrace::inline v0
