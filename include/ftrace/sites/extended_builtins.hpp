// Builtin types that demanglers do not know, or take for others: _Float16, std::bfloat16_t,
// _Float32 and its kin, _BitInt (Itanium C++ ABI, <builtin-type>: DF, DB and DU). libstdc++'s, up
// to gcc 12 at least, knows none, and reads `DF16b` as "bool _Accum".
#pragma once

#include <cstddef>
#include <ftrace/core/config.hpp>
#include <ftrace/sites/glob.hpp>
#include <ftrace/sites/mangled_expressions.hpp>
#include <ftrace/sites/mangled_names.hpp>
#include <ftrace/sites/mangled_types.hpp>
#include <ftrace/sites/mangled_walk.hpp>
#include <string>
#include <string_view>

namespace ftrace::inline v0::detail {

/// Has a name demangled with types in their place that every demangler knows and no program on this
/// architecture uses. (They are no candidates for substitutions, as little as what they stand for.)
class extended_builtins {
public:
    FTRACE_NOTRACE explicit extended_builtins(std::string_view linker_name) {
        bool any = false;
        for (const std::string_view code : {"DF", "DB", "DU"})
            any = any || linker_name.find(code) != std::string_view::npos;
        if (!any) return;
        mangled_walk walk(linker_name);
        (void)walk.function();
        std::size_t done = 0;
        for (std::size_t i = 0; i < walk.builtin_count(); ++i) {
            const std::string_view code = walk.builtin(i);
            const stand_in* const chosen = choose(code, linker_name);
            if (chosen == nullptr) {
                input_.clear();
                return;
            }
            const auto at = static_cast<std::size_t>(code.data() - linker_name.data());
            input_ += linker_name.substr(done, at - done);
            input_ += chosen->code;
            done = at + code.size();
        }
        if (done != 0) input_ += linker_name.substr(done);
    }
    extended_builtins(const extended_builtins&) = delete;
    extended_builtins& operator=(const extended_builtins&) = delete;
    FTRACE_NOTRACE ~extended_builtins() = default;

    /// What to demangle instead; empty if the name has none of these types.
    [[nodiscard]] FTRACE_NOTRACE const std::string& input() const noexcept { return input_; }

    /// The true types in what was demangled.
    [[nodiscard]] FTRACE_NOTRACE std::string restored(std::string_view text) const {
        std::string out;
        for (std::size_t i = 0; i < text.size();) {
            std::size_t end = i;
            while (end < text.size() && is_identifier_char(text[end])) ++end;
            if (end == i) {
                out += text[i++];
                continue;
            }
            append_true(out, text.substr(i, end - i));
            i = end;
        }
        return out;
    }

private:
    struct stand_in {
        std::string_view code, text;
    };
    static constexpr stand_in stand_ins[] = {
        {"De", "decimal128"}, {"Df", "decimal32"}, {"Dd", "decimal64"}, {"Dh", "half"}};
    static constexpr std::size_t most = sizeof stand_ins / sizeof stand_ins[0];

    FTRACE_NOTRACE const stand_in* choose(std::string_view code, std::string_view linker_name) {
        for (std::size_t i = 0; i < most; ++i) {
            if (used_for_[i] == code) return &stand_ins[i];
            const bool taken = !used_for_[i].empty() ||
                               linker_name.find(stand_ins[i].code) != std::string_view::npos ||
                               linker_name.find(stand_ins[i].text) != std::string_view::npos;
            if (taken) continue;
            used_for_[i] = code;
            return &stand_ins[i];
        }
        return nullptr;
    }

    FTRACE_NOTRACE void append_true(std::string& out, std::string_view word) const {
        for (std::size_t i = 0; i < most; ++i)
            if (!used_for_[i].empty() && word == stand_ins[i].text)
                return append_type(out, used_for_[i]);
        out += word;
    }

    /// The type of a code: "DF16_", "DF16b", "DF64x", "DB7_", "DU7_".
    FTRACE_NOTRACE static void append_type(std::string& out, std::string_view code) {
        const bool is_float = code[1] == 'F';
        const std::string_view width = code.substr(2, code.size() - 3);
        if (is_float && code.back() == 'b') {
            out.append("std::bfloat").append(width).append("_t");
        } else if (is_float) {
            out.append("_Float").append(width);
            if (code.back() == 'x') out += 'x';
        } else {
            const bool number = width.find_first_not_of("0123456789") == std::string_view::npos;
            out.append(code[1] == 'U' ? "unsigned _BitInt(" : "_BitInt(");
            out.append(number ? width : "...").append(")");  // else an expression of the template's
        }
    }

    std::string input_;
    std::string_view used_for_[most];
};

}  // namespace ftrace::inline v0::detail
