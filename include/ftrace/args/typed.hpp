// From a located value's bytes to a C++ value and back; shared by the accessors of arguments
// and results.
#pragma once

#include <ftrace/arch/abi_return.hpp>
#include <ftrace/args/regs_views.hpp>
#include <ftrace/args/signature.hpp>
#include <ftrace/core/config.hpp>

#include <cstddef>
#include <type_traits>

namespace ftrace::inline v0::detail {

/// Room for a T that needs no constructor.
template <typename T>
union value_slot {
    std::byte bytes[sizeof(T)];
    T value;
    FTRACE_STUB_INLINE value_slot() noexcept {}
    FTRACE_STUB_INLINE ~value_slot() {}
};

/// What a T is copied from; an lvalue only where it must be.
template <typename T>
using copy_source = std::conditional_t<std::is_constructible_v<T, T>, T&&, T&>;

/// An integer register or stack slot holds a small integer with its sign: the caller's business by
/// the psABI, but compilers rely on 32 bits of it.
template <typename T>
inline constexpr bool is_small_integer =
    (std::is_integral_v<T> || std::is_enum_v<T>) && sizeof(T) <= sizeof(unsigned long);

template <typename T>
FTRACE_STUB_INLINE unsigned long extended(const T& value) noexcept {
    if constexpr (std::is_enum_v<T>)
        return static_cast<unsigned long>(static_cast<std::underlying_type_t<T>>(value));
    else
        return static_cast<unsigned long>(value);
}

/// The T behind a parameter or result that is passed as an address.
template <typename T>
using referred = std::remove_reference_t<T>;

/// Accessors handle the object itself, not its value: the caller passed an address, or the class
/// cannot be copied.
template <typename T>
inline constexpr bool is_object = arch::is_address<T> || arch::is_immovable<T>;

/// What an accessor gives for a parameter declared as T: the object as an lvalue, or a copy. An
/// rvalue reference comes as an lvalue, so that no `auto` moves the program's object away.
template <typename T>
using accessed = std::conditional_t<is_object<T>, std::add_lvalue_reference_t<T>, T>;

/// What an accessor takes to set it: the object to refer to, or a value.
template <typename T>
using assigned = std::conditional_t<is_object<T>, referred<T>&, const T&>;

/// Value is an lvalue whose address is that of a referred<T>.
template <typename T, typename Value>
inline constexpr bool refers_to =
    std::is_lvalue_reference_v<Value> &&
    std::is_convertible_v<std::remove_reference_t<Value>*, std::add_pointer_t<referred<T>>>;

/// A copy of a Value serves as a T, and no fraction is lost.
template <typename T, typename Value>
inline constexpr bool is_settable =
    !is_object<T> && std::is_convertible_v<Value, const T&> &&
    !(std::is_integral_v<T> && std::is_floating_point_v<std::remove_cvref_t<Value>>);

/// Classes of more bytes are copied by calling memcpy: clang, general registers only, -O0 and -Os.
inline constexpr std::size_t largest_general_copy = 32;

/// T can be handled without vector registers.
template <typename T>
inline constexpr bool is_general =
    is_object<T> || std::is_integral_v<T> || std::is_enum_v<T> || std::is_pointer_v<T> ||
    std::is_null_pointer_v<T> || std::is_member_pointer_v<T> ||
    arch::is_one_of<T, arch::int128, arch::uint128>;

/// T is sure to travel in a vector register.
template <typename T>
FTRACE_NOTRACE consteval bool is_vector_class() {
    constexpr arch::type_class c = arch::classify<T>();
    return c.lo == arch::eightbyte::sse || c.hi == arch::eightbyte::sse;
}

template <typename Regs>
inline constexpr bool has_vectors = !std::is_same_v<std::remove_const_t<Regs>, integer_regs>;

/// Values that a function without vector registers can return; under integer_regs classes are tried
/// too, and the compiler refuses one with floating-point members.
template <typename T, typename Regs>
inline constexpr bool by_general_registers =
    std::is_void_v<T> || is_general<T> || std::is_same_v<T, no_signature> || !has_vectors<Regs>;

/// Parameter N of a call_signature, as bytes.
template <std::size_t N, typename Signature>
struct parameter_bytes;
template <std::size_t N, bool Variadic, typename Result, typename... P>
struct parameter_bytes<N, call_signature<Variadic, Result, P...>> {
    template <std::size_t Size>
    FTRACE_STUB_INLINE static void load(const ftrace_regs& regs, void* to) noexcept {
        arch::load_parameter<Size, N, Variadic, Result, P...>(regs, to);
    }
    template <std::size_t Size>
    FTRACE_STUB_INLINE static void store(ftrace_regs& regs, const void* from) noexcept {
        arch::store_parameter<Size, N, Variadic, Result, P...>(regs, from);
    }
    template <typename T>
    FTRACE_STUB_INLINE static T& object(const ftrace_regs& regs) noexcept {
        return arch::parameter_object<T, N, Variadic, Result, P...>(regs);
    }
    template <typename T>
    FTRACE_STUB_INLINE static void set_object(ftrace_regs& regs, T& value) noexcept {
        arch::set_parameter_object<N, Variadic, Result, P...>(regs, value);
    }
};

template <typename T>
    requires arch::is_address<T>
FTRACE_STUB_INLINE accessed<T> refer(unsigned long address) noexcept {
    return *reinterpret_cast<referred<T>*>(address);
}

/// The value in a slot as a prvalue, whichever constructor T copies itself by.
#define FTRACE_COPIED(T, slot) static_cast<T>(static_cast<copy_source<T>>(slot.value))

// Both copies of each function are the same but for the registers they may use. Source: what
// load()s the bytes.
#define FTRACE_VALUE_ACCESSORS(inlined, suffix)                                 \
    template <typename T, typename Source>                                      \
    inlined accessed<T> read_argument_##suffix(const ftrace_regs& regs,         \
                                               const Source& source) noexcept { \
        if constexpr (arch::is_address<T>) {                                    \
            unsigned long address;                                              \
            source.template load<sizeof address>(regs, &address);               \
            return refer<T>(address);                                           \
        } else if constexpr (arch::is_immovable<T>) {                           \
            return source.template object<T>(regs);                             \
        } else if constexpr (std::is_null_pointer_v<T>) {                       \
            return nullptr; /* clang does not even store it */                  \
        } else {                                                                \
            value_slot<T> slot;                                                 \
            source.template load<sizeof(T)>(regs, slot.bytes);                  \
            return FTRACE_COPIED(T, slot);                                      \
        }                                                                       \
    }                                                                           \
    template <typename T>                                                       \
    inlined T read_result_##suffix(const ftrace_regs& regs) noexcept {          \
        value_slot<T> slot;                                                     \
        arch::load_result<T>(regs, slot.bytes);                                 \
        return FTRACE_COPIED(T, slot);                                          \
    }
#pragma GCC diagnostic push
#if !defined(__clang__)
// A std::initializer_list is handed on, not made here.
#pragma GCC diagnostic ignored "-Winit-list-lifetime"
#endif
FTRACE_VALUE_ACCESSORS(FTRACE_STUB_INLINE, general)
FTRACE_VALUE_ACCESSORS(FTRACE_VECTOR_ACCESSOR, vector)
#pragma GCC diagnostic pop
#undef FTRACE_VALUE_ACCESSORS
#undef FTRACE_COPIED

/// Values are written from memory, so one body serves all.
template <typename T, typename Target>
FTRACE_STUB_INLINE void write_argument(ftrace_regs& regs, const Target& target,
                                       assigned<T> value) noexcept {
    if constexpr (arch::is_address<T>) {
        const auto address = reinterpret_cast<unsigned long>(__builtin_addressof(value));
        target.template store<sizeof address>(regs, &address);
    } else if constexpr (arch::is_immovable<T>) {
        target.set_object(regs, value);
    } else if constexpr (std::is_null_pointer_v<T>) {
        (void)value;  // there is but one
    } else if constexpr (is_small_integer<T>) {
        const unsigned long word = extended(value);
        target.template store<sizeof word>(regs, &word);
    } else {
        target.template store<sizeof(T)>(regs, __builtin_addressof(value));
    }
}

}  // namespace ftrace::inline v0::detail
