// Reads and writes the bytes of a located value in what an entry or return stub saved.
#pragma once

#include <ftrace/arch/abi_layout.hpp>
#include <ftrace/arch/registers.hpp>

namespace ftrace::inline v0::arch {

/// Where the integer registers of location::lo_index are in a pt_regs.
inline constexpr std::uint64_t pt_regs::* integer_registers[] = {
    &pt_regs::di, &pt_regs::si, &pt_regs::dx, &pt_regs::cx,
    &pt_regs::r8, &pt_regs::r9, &pt_regs::ax, &pt_regs::dx};

FTRACE_STUB_INLINE bool vectors_saved(const ftrace_regs& regs) noexcept {
    return arch_access::saved(regs).width != vector_width::none;
}

/// Copies and clears without a call, and without a vector register where the caller has none:
/// memcpy may use both. No string instruction either, since a stub may run with DF set. (The empty
/// asm keeps the compiler from putting a call of memcpy in the loop's place.)
FTRACE_STUB_INLINE void copy_string(void* to, const void* from, std::size_t size) noexcept {
    auto* out = static_cast<std::byte*>(to);
    const auto* in = static_cast<const std::byte*>(from);
    for (; size >= 8; size -= 8, in += 8, out += 8) {
        __builtin_memcpy(out, in, 8);
        asm volatile("" : : : "memory");
    }
    for (; size != 0; --size) {
        *out++ = *in++;
        asm volatile("" : : : "memory");
    }
}
FTRACE_STUB_INLINE void zero_string(void* to, std::size_t size) noexcept {
    auto* out = static_cast<std::byte*>(to);
    for (; size != 0; --size) {
        *out++ = std::byte{};
        asm volatile("" : : : "memory");
    }
}

/// The same, cheaper for the few words that a register holds.
template <std::size_t Size>
FTRACE_STUB_INLINE void copy_bytes(void* to, const void* from) noexcept {
    if constexpr (Size > 64) {
        copy_string(to, from, Size);
    } else if constexpr (Size > 8) {
        __builtin_memcpy(to, from, 8);
        copy_bytes<Size - 8>(static_cast<std::byte*>(to) + 8,
                             static_cast<const std::byte*>(from) + 8);
    } else if constexpr (Size != 0) {
        __builtin_memcpy(to, from, Size);
    }
}

/// The stack word `offset` bytes above the first stack argument, while the function is
/// being entered.
FTRACE_STUB_INLINE void* stack_argument(const ftrace_regs& regs, std::size_t offset) noexcept {
    std::uint64_t at = arch_access::stack_pointer(regs) + 8 + offset;
    asm("" : "+r"(at));  // gcc would take it for an offset from a null pointer, and warn
    return reinterpret_cast<void*>(at);
}

/// The saved bytes of one place, or nullptr where the policy saved fewer than `size` of them.
FTRACE_STUB_INLINE std::byte* place_bytes(ftrace_regs& regs, place where, unsigned index,
                                          std::uint32_t offset, std::size_t size) noexcept {
    saved_registers& saved = arch_access::saved(regs);
    if (where == place::stack) return static_cast<std::byte*>(stack_argument(regs, offset));
    if (where == place::memory) return reinterpret_cast<std::byte*>(saved.gpr.ax);
    if (where == place::integer)
        return reinterpret_cast<std::byte*>(&(saved.gpr.*integer_registers[index]));
    if (where == place::vector && size <= std::size_t(saved.width))
        return arch_access::vector(regs, index);
    return nullptr;
}

/// A value is in one place, not in two.
FTRACE_STUB_INLINE constexpr bool is_whole(location at, std::size_t size) noexcept {
    return (size <= 8 && at.hi != place::memory) ||
           (at.lo != place::integer && at.hi == place::nothing);
}

FTRACE_STUB_INLINE std::byte* lower_bytes(ftrace_regs& regs, location at,
                                          std::size_t size) noexcept {
    return place_bytes(regs, at.lo, at.lo_index, at.offset, size);
}
FTRACE_STUB_INLINE std::byte* upper_bytes(ftrace_regs& regs, location at,
                                          std::size_t size) noexcept {
    return place_bytes(regs, at.hi, at.hi_index, at.offset, size);
}

/// Copies a value out of a place known while compiling. Bytes that were not saved are zero.
template <location At, std::size_t Size>
FTRACE_STUB_INLINE void load_at(const ftrace_regs& constant, void* to) noexcept {
    ftrace_regs& regs = const_cast<ftrace_regs&>(constant);  // nothing is written through it
    if constexpr (is_whole(At, Size)) {
        static constexpr std::byte zeros[Size]{};
        const void* const from = lower_bytes(regs, At, Size);
        copy_bytes<Size>(to, from != nullptr ? from : zeros);
    } else if constexpr (Size <= 16) {
        load_at<location{.lo = At.lo, .hi = place::nothing, .lo_index = At.lo_index}, 8>(regs, to);
        load_at<location{.lo = At.hi, .hi = place::nothing, .lo_index = At.hi_index}, Size - 8>(
            regs, static_cast<std::byte*>(to) + 8);
    }
}

/// Copies a value to a place known while compiling. What the policy did not save stays what it is.
template <location At, std::size_t Size>
FTRACE_STUB_INLINE void store_at(ftrace_regs& regs, const void* from) noexcept {
    if constexpr (is_whole(At, Size)) {
        if (void* const to = lower_bytes(regs, At, Size)) copy_bytes<Size>(to, from);
    } else if constexpr (Size <= 16) {
        store_at<location{.lo = At.lo, .hi = place::nothing, .lo_index = At.lo_index}, 8>(regs,
                                                                                          from);
        store_at<location{.lo = At.hi, .hi = place::nothing, .lo_index = At.hi_index}, Size - 8>(
            regs, static_cast<const std::byte*>(from) + 8);
    }
}

// The same for places read from a table. One copy of the code, and no vector register in it.

/// All bytes of a value that is in one place, or nullptr.
FTRACE_STUB_INLINE std::byte* whole_bytes(ftrace_regs& regs, location at,
                                          std::size_t size) noexcept {
    if (at.hi == place::memory) {
        std::byte* const holder = lower_bytes(regs, at, sizeof(void*));
        return holder != nullptr ? *reinterpret_cast<std::byte**>(holder) : nullptr;
    }
    return is_whole(at, size) ? lower_bytes(regs, at, size) : nullptr;
}

FTRACE_PROBE_FUNCTION FTRACE_GENERAL_REGS_ONLY inline void load_located(const ftrace_regs& constant,
                                                                        location at, void* to,
                                                                        std::size_t size) noexcept {
    ftrace_regs& regs = const_cast<ftrace_regs&>(constant);
    auto* const bytes = static_cast<unsigned char*>(to);
    for (std::size_t done = 0; done < size;) {
        std::size_t part = size - done;
        const void* from;
        if (at.hi == place::memory || is_whole(at, size)) {
            from = whole_bytes(regs, at, size);
        } else {
            part = done == 0 ? 8 : size - 8;
            from = done == 0 ? lower_bytes(regs, at, part) : upper_bytes(regs, at, part);
        }
        if (from != nullptr && part == 8)
            copy_bytes<8>(bytes + done, from);
        else if (from != nullptr)
            copy_string(bytes + done, from, part);
        else
            zero_string(bytes + done, part);
        done += part;
    }
}

FTRACE_PROBE_FUNCTION FTRACE_GENERAL_REGS_ONLY inline void store_located(
    ftrace_regs& regs, location at, const void* from, std::size_t size) noexcept {
    const auto* const bytes = static_cast<const unsigned char*>(from);
    if (at.hi == place::memory || is_whole(at, size)) {
        if (void* const to = whole_bytes(regs, at, size)) copy_string(to, bytes, size);
        return;
    }
    if (void* const to = lower_bytes(regs, at, 8)) copy_string(to, bytes, 8);
    if (void* const to = upper_bytes(regs, at, size - 8)) copy_string(to, bytes + 8, size - 8);
}

/// Copies Size bytes of parameter N of Result(P...) out of the registers, or into them.
template <std::size_t Size, std::size_t N, bool Variadic, typename Result, typename... P>
FTRACE_STUB_INLINE void load_parameter(const ftrace_regs& regs, void* to) noexcept {
    constexpr location at = static_location<N, Variadic, Result, P...>();
    if constexpr (at.lo != place::unknown)
        load_at<at, Size>(regs, to);
    else
        load_located(regs, table_location<N, Variadic, Result, P...>(vectors_saved(regs)), to,
                     Size);
}
template <std::size_t Size, std::size_t N, bool Variadic, typename Result, typename... P>
FTRACE_STUB_INLINE void store_parameter(ftrace_regs& regs, const void* from) noexcept {
    constexpr location at = static_location<N, Variadic, Result, P...>();
    if constexpr (at.lo != place::unknown)
        store_at<at, Size>(regs, from);
    else
        store_located(regs, table_location<N, Variadic, Result, P...>(vectors_saved(regs)), from,
                      Size);
}

/// What an immovable T that is not in one place reads as.
template <typename T>
union nowhere {
    static inline constinit nowhere instead{};
    std::byte zeros[sizeof(T)]{};
    T value;
    FTRACE_STUB_INLINE ~nowhere() {}
};
/// The object at a place of an immovable T: the caller's, or what the stub saved of it.
template <typename T>
FTRACE_STUB_INLINE T& located_object(const ftrace_regs& constant, location at) noexcept {
    ftrace_regs& regs = const_cast<ftrace_regs&>(constant);  // as the caller of the accessor has it
    std::byte* const bytes = whole_bytes(regs, at, sizeof(T));
    return bytes != nullptr ? *reinterpret_cast<T*>(bytes) : nowhere<T>::instead.value;
}

/// Parameter N of Result(P...), which is an immovable T.
template <typename T, std::size_t N, bool Variadic, typename Result, typename... P>
FTRACE_STUB_INLINE T& parameter_object(const ftrace_regs& regs) noexcept {
    return located_object<T>(regs, table_location<N, Variadic, Result, P...>(vectors_saved(regs)));
}
/// Makes `object` that parameter.
template <std::size_t N, bool Variadic, typename Result, typename... P, typename T>
FTRACE_STUB_INLINE void set_parameter_object(ftrace_regs& regs, T& object) noexcept {
    location at = table_location<N, Variadic, Result, P...>(vectors_saved(regs));
    if (at.hi == place::memory) {
        at.hi = place::nothing;
        const void* const address = __builtin_addressof(object);
        store_located(regs, at, &address, sizeof address);
    } else {
        store_located(regs, at, __builtin_addressof(object), sizeof(T));
    }
}

/// The N-th integer-class word, as the kernel counts: six registers, then the stack.
template <std::size_t N>
FTRACE_STUB_INLINE unsigned long* integer_word(const ftrace_regs& constant) noexcept {
    if constexpr (N < integer_argument_registers) {
        ftrace_regs& regs =
            const_cast<ftrace_regs&>(constant);  // written only by callers that hold it unconst
        return &(arch_access::saved(regs).gpr.*integer_registers[N]);
    } else {
        return static_cast<unsigned long*>(
            stack_argument(constant, 8 * (N - integer_argument_registers)));
    }
}

}  // namespace ftrace::inline v0::arch
