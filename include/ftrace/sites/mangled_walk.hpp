// A walk over a linker name of the Itanium C++ ABI (section 5.1, "External Names"), as far as it
// takes to know what each parameter is when passed by value. Each production of the grammar is a
// function that moves past its text; mangled_names.hpp, mangled_types.hpp and
// mangled_expressions.hpp define them. What is not understood fails the whole walk.
#pragma once

#include <cstddef>
#include <ftrace/arch/vector_arguments.hpp>
#include <ftrace/core/config.hpp>
#include <ftrace/sites/mangled_tables.hpp>
#include <string_view>

namespace ftrace::inline v0::detail {

/// What a type or a name is, as far as passing by value goes.
struct mangled_entity {
    arch::vector_width width = arch::unknown_width;  ///< of the vector register a value may occupy
    std::string_view name{};                         ///< the last identifier: "vector"
    bool is_std = false;          ///< namespace std itself, or one within that is as well known
    bool in_std = false;          ///< a member of such a namespace
    int template_parameter = -1;  ///< T_ is 0, T0_ is 1; its argument is not known yet

    FTRACE_NOTRACE mangled_entity() noexcept = default;
};

/// One name's walk. The text must outlive it. Nesting and the number of entities are bounded: what
/// goes beyond is not understood.
class mangled_walk {
public:
    FTRACE_NOTRACE explicit mangled_walk(std::string_view name) noexcept : rest_(name) {}

    /// _Z encoding, with a clone's suffix or a symbol's version behind it. The widest of the
    /// parameters; unknown_width if the name is not understood or no function's.
    [[nodiscard]] FTRACE_NOTRACE arch::vector_width function() noexcept {
        if (!take("_Z")) return arch::unknown_width;
        const arch::vector_width widest = encoding();
        const bool done = rest_.empty() || rest_[0] == '.' || rest_[0] == '@';
        if (failed_ || !done) builtins_ = 0;
        return failed_ || !done ? arch::unknown_width : widest;
    }

    /// How many types of extended_builtins.hpp it passed, and the text of each, in order; none if
    /// the name was not understood, or has too many.
    [[nodiscard]] FTRACE_NOTRACE std::size_t builtin_count() const noexcept { return builtins_; }
    [[nodiscard]] FTRACE_NOTRACE std::string_view builtin(std::size_t i) const noexcept {
        return builtin_[i];
    }

private:
    /// The arguments T_, T0_, ... stand for; kept in argument_.
    struct argument_range {
        int first = 0;
        int count = 0;
        bool known = false;
    };
    struct name_result {
        FTRACE_NOTRACE name_result() noexcept = default;
        mangled_entity entity{};
        bool has_arguments = false;  ///< the name is a template's specialisation
        bool is_typed = true;        ///< no constructor, destructor or conversion
    };
    /// Counts nesting, and restores what T_ means.
    class scope {
    public:
        FTRACE_NOTRACE explicit scope(mangled_walk& walk) noexcept
            : walk_(walk), arguments_(walk.arguments_) {
            constexpr int deepest = 200;
            if (++walk_.depth_ > deepest) walk_.fail();
        }
        FTRACE_NOTRACE ~scope() {
            --walk_.depth_;
            walk_.arguments_ = arguments_;
        }
        scope(const scope&) = delete;
        scope& operator=(const scope&) = delete;

    private:
        mangled_walk& walk_;
        argument_range arguments_;
    };

    // mangled_names.hpp
    FTRACE_NOTRACE arch::vector_width encoding() noexcept;
    FTRACE_NOTRACE bool skip_offset() noexcept;
    FTRACE_NOTRACE arch::vector_width parameters() noexcept;
    FTRACE_NOTRACE name_result name() noexcept;
    FTRACE_NOTRACE name_result nested_name() noexcept;
    FTRACE_NOTRACE name_result local_name() noexcept;
    FTRACE_NOTRACE void discriminator() noexcept;
    FTRACE_NOTRACE void specialise(name_result& result) noexcept;
    FTRACE_NOTRACE mangled_entity unqualified_name(const mangled_entity& within,
                                                   name_result& result) noexcept;
    FTRACE_NOTRACE void closure() noexcept;

    // mangled_types.hpp
    FTRACE_NOTRACE mangled_entity type() noexcept;
    FTRACE_NOTRACE mangled_entity type_of_d() noexcept;
    FTRACE_NOTRACE mangled_entity vector_type() noexcept;
    FTRACE_NOTRACE mangled_entity qualified_type() noexcept;
    FTRACE_NOTRACE void exception_specification() noexcept;
    FTRACE_NOTRACE void function_type() noexcept;
    FTRACE_NOTRACE void array_type() noexcept;
    FTRACE_NOTRACE mangled_entity named_type() noexcept;
    FTRACE_NOTRACE mangled_entity template_parameter() noexcept;
    FTRACE_NOTRACE mangled_entity substitution() noexcept;
    FTRACE_NOTRACE arch::vector_width template_arguments(argument_range* kept) noexcept;
    FTRACE_NOTRACE arch::vector_width template_argument() noexcept;
    FTRACE_NOTRACE void parameter_declarations() noexcept;

    // mangled_expressions.hpp
    FTRACE_NOTRACE void expression() noexcept;
    FTRACE_NOTRACE void expressions() noexcept;
    FTRACE_NOTRACE void operation(const mangled_operator& known) noexcept;
    FTRACE_NOTRACE void function_parameter() noexcept;
    FTRACE_NOTRACE void unresolved_name() noexcept;
    FTRACE_NOTRACE void base_unresolved_name() noexcept;
    FTRACE_NOTRACE void simple_id() noexcept;
    FTRACE_NOTRACE void requirements() noexcept;
    FTRACE_NOTRACE void literal() noexcept;

    // Text.
    [[nodiscard]] FTRACE_NOTRACE char peek(std::size_t i = 0) const noexcept {
        return i < rest_.size() ? rest_[i] : '\0';
    }
    FTRACE_NOTRACE bool take(std::string_view text) noexcept {
        if (!rest_.starts_with(text)) return false;
        rest_.remove_prefix(text.size());
        return true;
    }
    FTRACE_NOTRACE void skip(std::size_t count) noexcept {
        if (count > rest_.size()) return fail();
        rest_.remove_prefix(count);
    }
    /// Everything that follows finds the text empty.
    FTRACE_NOTRACE void fail() noexcept {
        failed_ = true;
        rest_ = {};
    }
    FTRACE_NOTRACE void expect(std::string_view text) noexcept {
        if (!take(text)) fail();
    }
    /// True at the E that ends a list, which it takes, and after a failure.
    [[nodiscard]] FTRACE_NOTRACE bool ends() noexcept { return failed_ || take("E"); }
    [[nodiscard]] FTRACE_NOTRACE static bool is_digit(char c) noexcept {
        return c >= '0' && c <= '9';
    }
    FTRACE_NOTRACE std::size_t number() noexcept {
        constexpr std::size_t most = 1'000'000'000;
        if (!is_digit(peek())) fail();
        std::size_t value = 0;
        for (; is_digit(peek()); skip(1))
            if (value < most) value = value * 10 + static_cast<std::size_t>(peek() - '0');
        return value;
    }
    FTRACE_NOTRACE void signed_number() noexcept {
        take("n");
        number();
    }
    /// [number] _ : "_" is 0, "0_" is 1.
    FTRACE_NOTRACE std::size_t index() noexcept {
        const std::size_t value = is_digit(peek()) ? number() + 1 : 0;
        expect("_");
        return value;
    }
    FTRACE_NOTRACE std::string_view source_name() noexcept {
        const std::size_t length = number();
        const std::string_view name = rest_.substr(0, length);
        if (length == 0)
            fail();
        else
            skip(length);
        return name;
    }

    // Entities.
    FTRACE_NOTRACE mangled_entity add(const mangled_entity& entity) noexcept {
        if (entities_ == most_entities)
            fail();
        else
            entity_[entities_++] = entity;
        return entity;
    }
    /// Takes note of a type whose text began as `begin` does and ends here.
    FTRACE_NOTRACE void note_builtin(std::string_view begin) noexcept {
        if (failed_) return;
        // A part that is walked twice is noted once.
        while (builtins_ > 0 && builtin_[builtins_ - 1].data() >= begin.data()) --builtins_;
        if (builtins_ == most_builtins)
            fail();
        else
            builtin_[builtins_++] = begin.substr(0, begin.size() - rest_.size());
    }
    /// What a value of a type occupies, a template parameter looked up.
    [[nodiscard]] FTRACE_NOTRACE arch::vector_width width_of(
        const mangled_entity& entity) const noexcept {
        if (entity.template_parameter < 0) return entity.width;
        if (!arguments_.known || entity.template_parameter >= arguments_.count)
            return arch::unknown_width;
        return argument_[arguments_.first + entity.template_parameter];
    }
    [[nodiscard]] FTRACE_NOTRACE static mangled_entity of_width(arch::vector_width width) noexcept {
        mangled_entity entity;
        entity.width = width;
        return entity;
    }

    static constexpr std::size_t most_entities = 256;
    static constexpr int most_arguments = 512;
    static constexpr std::size_t most_builtins = 32;

    std::string_view rest_;
    bool failed_ = false;
    int depth_ = 0;
    argument_range arguments_{};
    std::size_t entities_ = 0;
    int arguments_used_ = 0;
    std::size_t builtins_ = 0;
    std::string_view builtin_[most_builtins];
    mangled_entity entity_[most_entities];
    arch::vector_width argument_[most_arguments];
};

}  // namespace ftrace::inline v0::detail
