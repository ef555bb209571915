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

/// Copies Size bytes without a call and without a vector register where the caller has none: memcpy
/// might use both.
template <std::size_t Size>
FTRACE_STUB_INLINE void copy_bytes(void* to, const void* from) noexcept {
    if constexpr (Size > 64) {
        std::size_t count = Size;
        asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
    } else if constexpr (Size > 8) {
        __builtin_memcpy(to, from, 8);
        copy_bytes<Size - 8>(static_cast<std::byte*>(to) + 8,
                             static_cast<const std::byte*>(from) + 8);
    } else if constexpr (Size != 0) {
        __builtin_memcpy(to, from, Size);
    }
}

/// The stack word `offset` bytes above the first stack argument, while the function is being
/// entered.
FTRACE_STUB_INLINE void* stack_argument(const ftrace_regs& regs, std::size_t offset) noexcept {
    return reinterpret_cast<void*>(arch_access::saved(regs).gpr.sp + 8 + offset);
}

/// The saved bytes of a register, or nullptr where the policy saved fewer than `size` of them.
FTRACE_STUB_INLINE std::byte* register_bytes(ftrace_regs& regs, place where, unsigned index,
                                             std::size_t size) noexcept {
    saved_registers& saved = arch_access::saved(regs);
    if (where == place::integer)
        return reinterpret_cast<std::byte*>(&(saved.gpr.*integer_registers[index]));
    if (where == place::vector && size <= std::size_t(saved.width))
        return arch_access::vector(regs, int(index));
    return nullptr;
}

/// The address of all bytes of a value that is in one place, else nullptr.
template <std::size_t Size>
FTRACE_STUB_INLINE void* whole(ftrace_regs& regs, location at) noexcept {
    if (at.lo == place::stack) return stack_argument(regs, at.offset);
    if (at.lo == place::memory) return reinterpret_cast<void*>(arch_access::saved(regs).gpr.ax);
    if (at.lo == place::vector && at.hi == place::nothing)
        return register_bytes(regs, at.lo, at.lo_index, Size);
    return nullptr;
}

/// Copies a value out. Bytes that no register holds, or that were not saved, are zero.
template <std::size_t Size>
FTRACE_STUB_INLINE void load_bytes(const ftrace_regs& constant, location at, void* to) noexcept {
    // Nothing is written through it.
    ftrace_regs& regs = const_cast<ftrace_regs&>(constant);
    constexpr std::size_t low = Size < 8 ? Size : 8;
    if (const void* const from = whole<Size>(regs, at)) {
        copy_bytes<Size>(to, from);
        return;
    }
    if constexpr (Size <= 16) {
        const std::uint64_t zero = 0;
        const void* from = register_bytes(regs, at.lo, at.lo_index, low);
        if (at.hi == place::nothing && at.lo == place::vector) from = nullptr;
        __builtin_memcpy(to, from != nullptr ? from : &zero, low);
        if constexpr (Size > 8) {
            from = register_bytes(regs, at.hi, at.hi_index, Size - 8);
            __builtin_memcpy(static_cast<std::byte*>(to) + 8, from != nullptr ? from : &zero,
                             Size - 8);
        }
    } else {
        static constexpr std::byte zeros[Size]{};
        copy_bytes<Size>(to, zeros);
    }
}

/// Copies a value in. What the policy did not save stays what it is.
template <std::size_t Size>
FTRACE_STUB_INLINE void store_bytes(ftrace_regs& regs, location at, const void* from) noexcept {
    constexpr std::size_t low = Size < 8 ? Size : 8;
    if (void* const to = whole<Size>(regs, at)) {
        copy_bytes<Size>(to, from);
        return;
    }
    if constexpr (Size <= 16) {
        if (std::byte* const to = register_bytes(regs, at.lo, at.lo_index, low))
            __builtin_memcpy(to, from, low);
        if constexpr (Size > 8) {
            if (std::byte* const to = register_bytes(regs, at.hi, at.hi_index, Size - 8)) {
                __builtin_memcpy(to, static_cast<const std::byte*>(from) + 8, Size - 8);
            }
        }
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
