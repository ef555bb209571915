// How the System V psABI (x86-64, section 3.2.3) classifies a C++ type, as far as a compiler
// without reflection can know it while compiling. The rest (classes by value, whose members no
// trait reveals) is `known == false` and is located by abi_probe.hpp.
#pragma once

#include <ftrace/core/config.hpp>

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace ftrace::inline v0::arch {

enum class eightbyte : std::uint8_t { none, integer, sse };

/// The class of a parameter or result.
struct type_class {
    bool known = false;
    bool memory =
        false;  ///< on the stack; a result: in memory the caller names by a hidden pointer
    eightbyte lo = eightbyte::none;  ///< none and not memory: nothing is passed
    eightbyte hi =
        eightbyte::none;   ///< none with lo == sse: the one vector register holds all `size` bytes
    std::uint8_t x87 = 0;  ///< results only: how many values are returned on the x87 stack
    std::uint32_t size = 0;
    std::uint32_t align = 1;
};

__extension__ typedef __int128 int128;
__extension__ typedef unsigned __int128 uint128;
__extension__ typedef _Complex float complex_float;
__extension__ typedef _Complex double complex_double;
__extension__ typedef _Complex long double complex_long_double;

template <typename T, typename... Others>
inline constexpr bool is_one_of = (std::is_same_v<T, Others> || ...);

/// clang strays from the psABI: with one register left it passes the halves of an __int128 in it
/// and on the stack, and a nullptr_t takes a register that it does not count, so that a later class
/// may be torn apart in the same way.
#if defined(__clang__)
inline constexpr bool splits_values = true;
#else
inline constexpr bool splits_values = false;
#endif
template <typename T>
inline constexpr bool may_split =
    splits_values && (is_one_of<T, int128, uint128> || std::is_null_pointer_v<T>);

/// A vector type (__m128, vector_size(N)): the only type that is neither a class, pointer nor array
/// and has elements.
template <typename T>
inline constexpr bool is_vector =
    !std::is_class_v<T> && !std::is_union_v<T> && !std::is_pointer_v<T> && !std::is_array_v<T> &&
    !std::is_reference_v<T> && requires(T& v) { v[0]; };

template <typename T>
inline constexpr bool is_complete = requires { sizeof(T); };
template <typename T>
    requires std::is_void_v<T> || std::is_reference_v<T>
inline constexpr bool is_complete<T> = true;

template <typename T>
inline constexpr bool is_class = std::is_class_v<T> || std::is_union_v<T>;

/// No copy or move constructor of the class T can be called: all are deleted, and then the caller
/// passes an address (std::atomic), or inaccessible, and then T may be passed in registers. No
/// trait tells which, so the compiler's own answer is taken (abi_probe.hpp).
template <typename T>
FTRACE_NOTRACE consteval bool immovable() {
    if constexpr (!is_class<T> || !is_complete<T>)
        return false;
    else if constexpr (std::is_destructible_v<T> && !std::is_trivially_destructible_v<T>)
        return false;  // passed by address, whatever its constructors are
    else
        return !std::is_constructible_v<T, T> && !std::is_constructible_v<T, T&> &&
               !std::is_constructible_v<T, const T&> && !std::is_constructible_v<T, const T>;
}
template <typename T>
inline constexpr bool is_immovable = immovable<T>();

/// T is a class that "has a non-trivial copy constructor, move constructor or destructor" (Itanium
/// C++ ABI, 3.1.1): the caller passes the address of an object of its own.
template <typename T>
FTRACE_NOTRACE consteval bool passed_by_address() {
    if constexpr (!is_class<T> || !is_complete<T> || is_immovable<T>) {
        return false;
    } else if constexpr (std::is_trivially_copyable_v<T>) {
        return false;
    } else {
#if defined(__clang__) && __clang_major__ < 20
        // Up to clang 19 this trait is "may be passed in registers",
        // [[clang::trivial_abi]] included.
        return !__is_trivially_relocatable(T);
#else
        return !std::is_trivially_destructible_v<T> || !std::is_move_constructible_v<T> ||
               (std::is_copy_constructible_v<T> && !std::is_trivially_copy_constructible_v<T>) ||
               !std::is_trivially_move_constructible_v<T>;
#endif
    }
}

/// The caller passes an address for a parameter declared as T.
template <typename T>
inline constexpr bool is_address = std::is_reference_v<T> || passed_by_address<T>();

/// The class of a parameter declared as T.
template <typename T>
FTRACE_NOTRACE consteval type_class classify() {
    using enum eightbyte;
    if constexpr (std::is_const_v<T> || std::is_volatile_v<T>) {
        return classify<std::remove_cv_t<T>>();
    } else if constexpr (is_address<T>) {
        return {.known = true, .lo = integer, .size = 8, .align = 8};
    } else {
        type_class c{.size = sizeof(T), .align = alignof(T)};
        if constexpr (std::is_pointer_v<T> || std::is_enum_v<T> || std::is_null_pointer_v<T> ||
                      std::is_member_pointer_v<T> || is_one_of<T, int128, uint128> ||
                      std::is_integral_v<T>) {
            c.known = !may_split<T>;
            c.lo = integer;
            c.hi = sizeof(T) > 8 ? integer : none;
        } else if constexpr (is_one_of<T, float, double, complex_float>) {
            c.known = true;
            c.lo = sse;
        } else if constexpr (std::is_same_v<T, complex_double>) {
            c.known = true;
            c.lo = c.hi = sse;
        } else if constexpr (is_one_of<T, long double, complex_long_double>) {
            c.known = c.memory = true;
#if defined(__SIZEOF_FLOAT128__)
        } else if constexpr (std::is_same_v<T, __float128>) {
            c.known = true;
            c.lo = sse;
#endif
#if defined(__FLT16_MANT_DIG__)
        } else if constexpr (std::is_same_v<T, _Float16>) {
            c.known = true;
            c.lo = sse;
#endif
        } else if constexpr (is_class<T>) {
            if constexpr (is_immovable<T>) {
                c.known = false;
            } else if constexpr (std::is_empty_v<T> && sizeof(T) == 1) {
                c.known = true;
            } else {
                // Above two eightbytes only a single __m256 or __m512 in a class may still go to a
                // register. Alignment above 16 is left to the compiler too: gcc and clang differ
                // in it.
                c.known = c.memory = !std::is_empty_v<T> && sizeof(T) > 16 && sizeof(T) != 32 &&
                                     sizeof(T) != 64 && alignof(T) <= 16;
            }
        } else if constexpr (is_vector<T>) {
            c.known = sizeof(T) == 16 || sizeof(T) == 32 || sizeof(T) == 64;
            c.lo = sse;
        }
        return c;
    }
}

/// The class of a result of type T.
template <typename T>
FTRACE_NOTRACE consteval type_class classify_result() {
    if constexpr (std::is_const_v<T> || std::is_volatile_v<T>) {
        return classify_result<std::remove_cv_t<T>>();
    } else if constexpr (std::is_void_v<T>) {
        return {.known = true};
    } else if constexpr (passed_by_address<T>()) {
        return {.known = true, .memory = true};
    } else {
        type_class c = classify<T>();
        if constexpr (is_one_of<T, long double, complex_long_double>) {
            c.memory = false;
            c.x87 = sizeof(T) / sizeof(long double);
        }
        return c;
    }
}

}  // namespace ftrace::inline v0::arch
