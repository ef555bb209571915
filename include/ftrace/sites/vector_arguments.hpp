// How much of the vector registers a function's arguments may occupy, as its linker name tells.
#pragma once

#include <ftrace/arch/vector_arguments.hpp>
#include <ftrace/core/config.hpp>
#include <ftrace/sites/library_names.hpp>
#include <ftrace/sites/mangled_expressions.hpp>
#include <ftrace/sites/mangled_names.hpp>
#include <ftrace/sites/mangled_types.hpp>
#include <ftrace/sites/mangled_walk.hpp>
#include <string_view>

namespace ftrace::inline v0::detail {

/// What a stub has to save for callbacks that use vector registers themselves:
///
/// - arch::scalar_width if every parameter is certainly none of the wide vectors: builtin types,
///   pointers and references, vectors of 16 bytes and less, and the standard library's types of
///   such;
/// - the width of the widest vector parameter, `float f(__m256)`;
/// - arch::unknown_width where the name does not tell: a class or enumeration of the program by
///   value, which may be or hold a vector; names of C functions, but for main; gcc's clones, whose
///   parameters are not those of the name; names that are not understood.
[[nodiscard]] FTRACE_NOTRACE inline arch::vector_width widest_vector_argument(
    std::string_view linker_name) noexcept {
    if (linker_name == std::string_view("main")) return arch::scalar_width;
    if (is_clone(linker_name)) return arch::unknown_width;
    return mangled_walk(linker_name).function();
}

}  // namespace ftrace::inline v0::detail
