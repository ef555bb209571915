// Where functions begin, from the search table of .eh_frame_hdr (Linux Standard Base, core 5,
// section 10.6.2). It is in memory in every program that can unwind, stripped or not.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <ftrace/core/config.hpp>
#include <ftrace/sites/elf_file.hpp>

namespace ftrace::inline v0::detail {

/// A table of sorted function starts; empty where the section is absent or encoded otherwise than
/// linkers do.
class function_starts {
public:
    FTRACE_NOTRACE function_starts() noexcept = default;
    /// `section`: the loaded bytes of the segment PT_GNU_EH_FRAME.
    FTRACE_NOTRACE explicit function_starts(byte_view section) noexcept {
        constexpr unsigned char relative_to_here = 0x1b;     // DW_EH_PE_pcrel | sdata4
        constexpr unsigned char four_bytes = 0x03;           // DW_EH_PE_udata4
        constexpr unsigned char relative_to_section = 0x3b;  // DW_EH_PE_datarel | sdata4
        constexpr std::size_t table = 12;
        if (section.size() < table || section[0] != 1 || section[1] != relative_to_here ||
            section[2] != four_bytes || section[3] != relative_to_section)
            return;
        std::uint32_t count;
        std::memcpy(&count, section.data() + 8, sizeof count);
        const std::size_t room = (section.size() - table) / entry_size;
        base_ = reinterpret_cast<std::uintptr_t>(section.data());
        table_ = section.data() + table;
        count_ = count < room ? count : room;
    }

    [[nodiscard]] FTRACE_NOTRACE std::size_t size() const noexcept { return count_; }
    [[nodiscard]] FTRACE_NOTRACE std::uintptr_t operator[](std::size_t i) const noexcept {
        std::int32_t distance;
        std::memcpy(&distance, table_ + i * entry_size, sizeof distance);
        return base_ + static_cast<std::uintptr_t>(static_cast<std::intptr_t>(distance));
    }

    /// The index of the first function at or behind `address`; size() if none.
    [[nodiscard]] FTRACE_NOTRACE std::size_t lower_bound(std::uintptr_t address) const noexcept {
        std::size_t low = 0, high = count_;
        while (low < high) {
            const std::size_t middle = low + (high - low) / 2;
            if ((*this)[middle] < address)
                low = middle + 1;
            else
                high = middle;
        }
        return low;
    }

private:
    static constexpr std::size_t entry_size = 8;  // function start and FDE, four bytes each
    std::uintptr_t base_ = 0;
    const unsigned char* table_ = nullptr;
    std::size_t count_ = 0;
};

}  // namespace ftrace::inline v0::detail
