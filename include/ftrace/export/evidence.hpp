// What recorded calls tell about where their arguments are, where the function's name leaves
// it open.
#pragma once

#include <ftrace/arch/argument_words.hpp>
#include <ftrace/core/config.hpp>
#include <ftrace/trace/address_ranges.hpp>
#include <ftrace/trace/signature.hpp>

#include <cstdint>

namespace ftrace::inline v0 {

/// Where the integer words of a call's parameters begin, if the two open questions are answered so.
struct argument_layout {
    bool result_pointer;  ///< the first word is the address of the result
    bool this_pointer;    ///< the first word, or the one behind, is `this`
    [[nodiscard]] FTRACE_NOTRACE constexpr int words() const {
        return result_pointer + this_pointer;
    }
};

/// An answer, and what of it is certain.
struct argument_reading {
    argument_layout layout;
    bool words_certain;  ///< each parameter is in the word that the layout says
    bool this_certain;   ///< and so is `this`, or there is none
};

/// What the calls of one function show. Of the four layouts that a function can have, these
/// rule out:
///
///     seen in the calls                                      ruled out
///     a first word that is no address                        a result's address, and `this`
///     a result's first word that is not the call's first     a result's address: the callee
///                                                            returns it (psABI 3.2.3)
///     no address where `this` would be, or a reference, or   the layout that says so
///     an object passed by its address; a bool beyond 1
///     in each call an address above 4 GiB in the register    the layout that says so
///     of an integer of 32 bits or less
///     each call returned its first word, and an integer      every layout without a result's
///     parameter would have been an address in each           address that says so
///
/// The last two rule out what is possible, but a coincidence: whoever hashes an address may pass it as an int
/// in a register that still holds all of it, or take it for a number and give it back. What rests
/// on a compiler's habit alone (a small integer in a register whose upper half is in use; a pointer
/// that is no address) rules nothing out, and makes a layout less likely.
class argument_evidence {
public:
    FTRACE_NOTRACE constexpr argument_evidence() = default;
    FTRACE_NOTRACE constexpr argument_evidence(bool no_address, bool other_result)
        : first_is_no_address(no_address), returns_something_else(other_result) {}

    bool first_is_no_address = false;
    bool returns_something_else = false;

    FTRACE_NOTRACE void see_call(const function_signature& signature, const std::uint64_t* words,
                                 const address_ranges& memory = {}) {
        ++calls_;
        if (!memory.may_hold(words[0])) first_is_no_address = true;
        for (const bool result : {false, true})
            for (const bool self : {false, true}) see(signature, {result, self}, words, memory);
    }
    FTRACE_NOTRACE void see_return(std::uint64_t first_word, std::uint64_t result) {
        ++returns_;
        if (first_word != result) returns_something_else = true;
    }

    [[nodiscard]] FTRACE_NOTRACE argument_reading
    decide(const function_signature& signature) const {
        const bool gives_back = returns_ != 0 && !returns_something_else && !first_is_no_address;
        const certainty self = signature.this_pointer, result = signature.result_pointer;
        const auto possible = [&](argument_layout of) FTRACE_NOTRACE {
            const tally& seen = seen_[of.result_pointer][of.this_pointer];
            if (of.result_pointer ? result == certainty::no : result == certainty::yes)
                return false;
            if (of.this_pointer ? self == certainty::no : self == certainty::yes) return false;
            if (result == certainty::maybe && of.result_pointer &&
                (first_is_no_address || returns_something_else))
                return false;
            if (self == certainty::maybe && of.this_pointer && first_is_no_address) return false;
            if (gives_back && !of.result_pointer && calls_ != 0 &&
                seen.address_as_integer == calls_)
                return false;
            if (calls_ != 0 && seen.address_as_small_integer == calls_) return false;
            return seen.impossible == 0;
        };
        // The likeliest: what is possible, least odd, and as the name suggests. A result's address
        // before `this`: where neither is expected, it is the likelier explanation.
        const bool this_expected =
            self == certainty::yes || (self == certainty::maybe && signature.assume_this);
        const bool result_expected =
            result == certainty::yes || (result == certainty::maybe && gives_back);
        argument_reading out{{result == certainty::yes, this_expected}, true, true};
        bool found = false;
        for (const bool t : {this_expected, !this_expected})
            for (const bool r : {result_expected, !result_expected}) {
                const argument_layout each{r, t};
                if (!possible(each) || (found && odd(each) >= odd(out.layout))) continue;
                out.layout = each;
                found = true;
            }
        if (!found) out.words_certain = out.this_certain = false;
        for (const bool t : {false, true})
            for (const bool r : {false, true}) {
                const argument_layout other{r, t};
                if (!possible(other)) continue;
                if (other.words() != out.layout.words()) out.words_certain = false;
                if (t != out.layout.this_pointer || (t && r != out.layout.result_pointer))
                    out.this_certain = false;
            }
        return out;
    }

private:
    /// Of how many calls a layout says so.
    struct tally {
        std::uint64_t impossible, odd, address_as_integer, address_as_small_integer;
    };

    [[nodiscard]] FTRACE_NOTRACE std::uint64_t odd(argument_layout of) const {
        return seen_[of.result_pointer][of.this_pointer].odd;
    }

    FTRACE_NOTRACE void see(const function_signature& signature, argument_layout layout,
                            const std::uint64_t* words, const address_ranges& memory) {
        bool impossible = false, is_odd = false, address_as_integer = false;
        bool small = false;
        for (int i = 0; i < layout.words(); ++i) impossible |= !memory.may_hold(words[i]);
        int at = layout.words();
        for (const parameter_type& type : signature.parameters) {
            if (type.kind == parameter_kind::unknown) break;
            const int count = type.integer_words();
            if (at + count > arch::integer_argument_words) {
                if (type.kind == parameter_kind::wide_integer) break;  // see arguments_text()
                continue;
            }
            if (count == 0) continue;
            const std::uint64_t word = words[at];
            at += count;
            const auto extended = static_cast<std::uint64_t>(
                static_cast<std::int64_t>(static_cast<std::int32_t>(word)));
            switch (type.kind) {
            case parameter_kind::reference:
            case parameter_kind::object_address: impossible |= !memory.may_hold(word); break;
            case parameter_kind::pointer: is_odd |= word != 0 && !memory.may_hold(word); break;
            case parameter_kind::boolean: impossible |= (word & 0xff) > 1; break;
            case parameter_kind::character:
            case parameter_kind::signed_integer:
            case parameter_kind::unsigned_integer:
                address_as_integer |= memory.may_hold(word);
                small |=
                    type.bits <= 32 && word >> 32 != 0 && memory.known() && memory.may_hold(word);
                is_odd |= type.bits <= 32 && word >> 32 != 0 && word != extended;
                break;
            default: break;
            }
        }
        tally& all = seen_[layout.result_pointer][layout.this_pointer];
        all.impossible += impossible;
        all.odd += is_odd || impossible;
        all.address_as_integer += address_as_integer;
        all.address_as_small_integer += small;
    }

    std::uint64_t calls_ = 0, returns_ = 0;
    tally seen_[2][2] = {};  // [result_pointer][this_pointer]
};

}  // namespace ftrace::inline v0
