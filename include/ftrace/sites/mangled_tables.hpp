// What the grammar of mangled names names by tables: operators, abbreviations, and the standard
// library's types.
#pragma once

#include <cstddef>
#include <ftrace/arch/vector_arguments.hpp>
#include <ftrace/core/config.hpp>
#include <string_view>

namespace ftrace::inline v0::detail {

/// How an operator's operands are written in an expression (Itanium C++ ABI, 5.1.6).
enum class operands : unsigned char {
    none,          ///< tr
    one,           ///< ng <expression>
    two,           ///< pl <expression> <expression>
    three,         ///< qu <expression> <expression> <expression>
    type,          ///< st <type>
    type_and_one,  ///< sc <type> <expression>
    member,        ///< dt <expression> <unresolved-name>
    list,          ///< cl <expression>* E
    typed_list,    ///< tl <type> <expression>* E
    conversion,    ///< cv <type> <expression>, or cv <type> _ <expression>* E
    step,          ///< pp [_] <expression>
    allocation,    ///< nw <expression>* _ <type> [pi <expression>*] E
    fold_one,      ///< fl <operator> <expression>
    fold_two,      ///< fL <operator> <expression> <expression>
    arguments,     ///< sP <template argument>* E
};

struct mangled_operator {
    std::string_view code;
    operands form;
};

inline constexpr mangled_operator mangled_operators[] = {
    {"ps", operands::one},          {"ng", operands::one},          {"ad", operands::one},
    {"de", operands::one},          {"co", operands::one},          {"nt", operands::one},
    {"nx", operands::one},          {"tw", operands::one},          {"dl", operands::one},
    {"da", operands::one},          {"sp", operands::one},          {"sz", operands::one},
    {"az", operands::one},          {"te", operands::one},          {"sZ", operands::one},
    {"aw", operands::one},          {"pl", operands::two},          {"mi", operands::two},
    {"ml", operands::two},          {"dv", operands::two},          {"rm", operands::two},
    {"an", operands::two},          {"or", operands::two},          {"eo", operands::two},
    {"aS", operands::two},          {"pL", operands::two},          {"mI", operands::two},
    {"mL", operands::two},          {"dV", operands::two},          {"rM", operands::two},
    {"aN", operands::two},          {"oR", operands::two},          {"eO", operands::two},
    {"ls", operands::two},          {"rs", operands::two},          {"lS", operands::two},
    {"rS", operands::two},          {"eq", operands::two},          {"ne", operands::two},
    {"lt", operands::two},          {"gt", operands::two},          {"le", operands::two},
    {"ge", operands::two},          {"ss", operands::two},          {"aa", operands::two},
    {"oo", operands::two},          {"cm", operands::two},          {"pm", operands::two},
    {"ix", operands::two},          {"ds", operands::two},          {"qu", operands::three},
    {"st", operands::type},         {"at", operands::type},         {"ti", operands::type},
    {"sc", operands::type_and_one}, {"dc", operands::type_and_one}, {"cc", operands::type_and_one},
    {"rc", operands::type_and_one}, {"dt", operands::member},       {"pt", operands::member},
    {"cl", operands::list},         {"cp", operands::list},         {"il", operands::list},
    {"tl", operands::typed_list},   {"cv", operands::conversion},   {"pp", operands::step},
    {"mm", operands::step},         {"nw", operands::allocation},   {"na", operands::allocation},
    {"fl", operands::fold_one},     {"fr", operands::fold_one},     {"fL", operands::fold_two},
    {"fR", operands::fold_two},     {"sP", operands::arguments},    {"tr", operands::none},
};

/// The operator that `text` begins with; nullptr if it begins with none.
[[nodiscard]] FTRACE_NOTRACE constexpr const mangled_operator* find_operator(
    std::string_view text) noexcept {
    for (const mangled_operator& known : mangled_operators)
        if (text.starts_with(known.code)) return &known;
    return nullptr;
}

struct std_abbreviation {
    std::string_view code;
    std::string_view name;
};
inline constexpr std_abbreviation std_abbreviations[] = {
    {"Sa", "allocator"},     {"Sb", "basic_string"},  {"Ss", "basic_string"},
    {"Si", "basic_istream"}, {"So", "basic_ostream"}, {"Sd", "basic_iostream"},
};

/// Namespaces whose members are as well known as those of std itself.
[[nodiscard]] FTRACE_NOTRACE constexpr bool is_inner_namespace(std::string_view name) noexcept {
    for (const std::string_view known :
         {"__cxx11", "__1", "__2", "_V2", "__cxx1998", "__debug", "chrono", "filesystem", "pmr"})
        if (name == known) return true;
    return false;
}

/// Class templates of std that hold pointers to their elements, or nothing of their parameters, or
/// that are never trivial to copy and so travel by a hidden reference (Itanium C++ ABI, 3.1.2.3).
[[nodiscard]] FTRACE_NOTRACE constexpr bool holds_no_elements(std::string_view name) noexcept {
    for (const std::string_view known : {"basic_string",
                                         "basic_string_view",
                                         "vector",
                                         "list",
                                         "forward_list",
                                         "deque",
                                         "map",
                                         "multimap",
                                         "set",
                                         "multiset",
                                         "unordered_map",
                                         "unordered_multimap",
                                         "unordered_set",
                                         "unordered_multiset",
                                         "stack",
                                         "queue",
                                         "priority_queue",
                                         "span",
                                         "initializer_list",
                                         "unique_ptr",
                                         "shared_ptr",
                                         "weak_ptr",
                                         "function",
                                         "move_only_function",
                                         "packaged_task",
                                         "future",
                                         "shared_future",
                                         "promise",
                                         "reference_wrapper",
                                         "allocator",
                                         "char_traits",
                                         "hash",
                                         "less",
                                         "greater",
                                         "equal_to",
                                         "plus",
                                         "minus",
                                         "integral_constant",
                                         "default_delete",
                                         "in_place_type_t",
                                         "in_place_index_t",
                                         "valarray",
                                         "coroutine_handle",
                                         "polymorphic_allocator",
                                         "__normal_iterator",
                                         "__wrap_iter",
                                         "_List_iterator",
                                         "_List_const_iterator",
                                         "_Rb_tree_iterator",
                                         "_Rb_tree_const_iterator",
                                         "_Deque_iterator",
                                         "lock_guard",
                                         "unique_lock",
                                         "back_insert_iterator"})
        if (name == known) return true;
    return false;
}

/// What a type of std occupies when passed by value, if its template arguments occupy `arguments`.
/// None of its classes brings a wide vector of its own, simd's apart; a class travels in a vector
/// register wider than a scalar's only if it is one wide vector (psABI, 3.2.3, class SSEUP).
[[nodiscard]] FTRACE_NOTRACE constexpr arch::vector_width std_width(
    std::string_view name, arch::vector_width arguments) noexcept {
    if (holds_no_elements(name)) return arch::scalar_width;
    for (const std::string_view known : {"simd", "basic_vec", "basic_mask", "experimental"})
        if (name.find(known) != std::string_view::npos) return arch::unknown_width;
    return arguments;
}

/// Bytes of a builtin type that may be a vector's element; 0 for others.
[[nodiscard]] FTRACE_NOTRACE constexpr std::size_t element_size(std::string_view type) noexcept {
    if (type.starts_with("Dh") || type.starts_with("DF16")) return 2;
    if (type.empty()) return 0;
    constexpr std::string_view one = "achb", two = "st", four = "ijf", eight = "lmxyd",
                               sixteen = "nog";
    const char c = type[0];
    if (one.find(c) != std::string_view::npos) return 1;
    if (two.find(c) != std::string_view::npos) return 2;
    if (four.find(c) != std::string_view::npos) return 4;
    if (eight.find(c) != std::string_view::npos) return 8;
    return sixteen.find(c) != std::string_view::npos ? 16 : 0;
}

}  // namespace ftrace::inline v0::detail
