// Writes the .eh_frame section of code that no object file contains.
#pragma once

#include <cstddef>
#include <cstdint>
#include <ftrace/core/config.hpp>

namespace ftrace::inline v0::arch {

/// One CIE, one FDE, and the zero that ends a section (DWARF 5, 6.4; the augmentations as in the
/// LSB, Exception Frames). A derived class writes the rules between open_cie() and close_cie(). An
/// unwinder it is registered with keeps its address.
class unwind_section {
public:
    unwind_section(const unwind_section&) = delete;
    unwind_section& operator=(const unwind_section&) = delete;

    [[nodiscard]] FTRACE_NOTRACE const void* begin() const noexcept { return bytes_; }
    /// With the zero at its end.
    [[nodiscard]] FTRACE_NOTRACE std::size_t size() const noexcept { return length_; }
    [[nodiscard]] FTRACE_NOTRACE const void* fde() const noexcept { return bytes_ + fde_; }

    static constexpr std::size_t most_bytes = 256;

    /// Room for what an unwinder notes of the section: libgcc's `struct object`, of at most eight
    /// words, twice that.
    static constexpr std::size_t most_unwinders = 2;
    [[nodiscard]] FTRACE_NOTRACE void* notes(std::size_t unwinder) noexcept {
        return notes_[unwinder];
    }

protected:
    // DWARF 5, tables 7.9 and 7.29; registers by the psABI, figure 3.36.
    enum : unsigned {
        def_cfa_expression = 0x0f,
        val_expression = 0x16,
        offset_of = 0x80,  // + register
        op_deref = 0x06,
        op_const1u = 0x08,
        op_const1s = 0x09,
        op_const2u = 0x0a,
        op_const4u = 0x0c,
        op_const8u = 0x0e,
        op_dup = 0x12,
        op_and = 0x1a,
        op_minus = 0x1c,
        op_plus = 0x22,
        op_shl = 0x24,
        op_shr = 0x25,
        op_bra = 0x28,
        op_ge = 0x2a,
        op_le = 0x2c,
        op_ne = 0x2e,
        op_skip = 0x2f,
        op_lit0 = 0x30,
        op_breg_sp = 0x77,
        op_breg_ip = 0x80,
        return_column = 16,
    };

    FTRACE_NOTRACE unwind_section() noexcept {}

    /// `augmentation`: "zR", "zRS" or "zPRS", with the address of a personality routine.
    FTRACE_NOTRACE std::size_t open_cie(const char* augmentation,
                                        std::uintptr_t personality = 0) noexcept {
        length_ = 0;
        const std::size_t cie = open_entry(0);
        byte(1);  // version
        while (*augmentation != '\0') byte(static_cast<unsigned char>(*augmentation++));
        byte(0);
        byte(1);     // code alignment
        byte(0x78);  // data alignment: -8
        byte(return_column);
        constexpr unsigned absolute = 0x00;  // DW_EH_PE_absptr
        if (personality != 0) {
            byte(1 + 8 + 1);  // size of the augmentation's data
            byte(absolute), word(personality);
        } else {
            byte(1);
        }
        byte(absolute);  // of the addresses in FDEs
        return cie;
    }
    FTRACE_NOTRACE void close_cie(std::size_t cie) noexcept { close_entry(cie); }

    /// Describes [begin, begin + size), and ends the section.
    FTRACE_NOTRACE void add_fde(std::uintptr_t begin, std::uintptr_t size) noexcept {
        fde_ = length_;
        const std::size_t fde = open_entry(static_cast<std::uint32_t>(fde_ + 4));
        word(begin);
        word(size);
        byte(0);  // size of the augmentation's data
        close_entry(fde);
        for (int i = 0; i < 4; ++i) byte(0);
    }

    [[nodiscard]] FTRACE_NOTRACE std::size_t length() const noexcept { return length_; }
    FTRACE_NOTRACE void byte(std::uintptr_t value) noexcept {
        bytes_[length_++] = static_cast<std::uint8_t>(value);
    }
    FTRACE_NOTRACE void half(std::uint32_t value) noexcept { byte(value), byte(value >> 8); }
    FTRACE_NOTRACE void quarter_word(std::uintptr_t value) noexcept {
        for (int i = 0; i < 4; ++i) byte(value >> (8 * i));
    }
    FTRACE_NOTRACE void word(std::uintptr_t value) noexcept {
        for (int i = 0; i < 8; ++i) byte(value >> (8 * i));
    }
    FTRACE_NOTRACE std::size_t open_expression() noexcept { return byte(0), length_ - 1; }
    FTRACE_NOTRACE void close_expression(std::size_t at) noexcept { put(at, length_ - at - 1, 1); }
    /// A branch counts from behind its two-byte operand, which is at `branch`.
    FTRACE_NOTRACE void land(std::size_t branch) noexcept { put(branch, length_ - branch - 2, 2); }

private:
    FTRACE_NOTRACE std::size_t open_entry(std::uint32_t id) noexcept {
        const std::size_t at = length_;
        quarter_word(0), quarter_word(id);
        return at;
    }
    FTRACE_NOTRACE void close_entry(std::size_t at) noexcept {
        while (length_ % 8 != 4) byte(0);  // DW_CFA_nop; the length itself is not counted
        put(at, length_ - at - 4, 4);
    }
    FTRACE_NOTRACE void put(std::size_t at, std::size_t value, int size) noexcept {
        for (int i = 0; i < size; ++i)
            bytes_[at + std::size_t(i)] = static_cast<std::uint8_t>(value >> (8 * i));
    }

    alignas(8) std::uint8_t bytes_[most_bytes]{};
    std::uint64_t notes_[most_unwinders][16]{};
    std::size_t length_ = 0;
    std::size_t fde_ = 0;
};

}  // namespace ftrace::inline v0::arch
