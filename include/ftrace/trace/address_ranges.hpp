// Where memory is: what tells an address from a number.
#pragma once

#include <cstdio>

#include <algorithm>
#include <cstdint>
#include <ftrace/core/config.hpp>
#include <utility>
#include <vector>

namespace ftrace::inline v0 {

/// The parts of the address space in which the process has, or had, memory. A few ranges, for they
/// are coarse: what was unmapped since was most likely near what is still there.
class address_ranges {
public:
    FTRACE_NOTRACE address_ranges() = default;
    FTRACE_NOTRACE address_ranges(const address_ranges&) = default;
    FTRACE_NOTRACE address_ranges(address_ranges&&) = default;
    FTRACE_NOTRACE address_ranges& operator=(const address_ranges&) = default;
    FTRACE_NOTRACE address_ranges& operator=(address_ranges&&) = default;
    FTRACE_NOTRACE ~address_ranges() = default;

    /// Those of this process, now; none where /proc cannot be read.
    [[nodiscard]] FTRACE_NOTRACE static address_ranges of_this_process() {
        address_ranges out;
        std::FILE* const maps = std::fopen("/proc/self/maps", "re");
        if (maps == nullptr) return out;
        char line[512];
        bool at_line_start = true;
        while (std::fgets(line, sizeof line, maps) != nullptr) {
            unsigned long begin, end;
            if (at_line_start && std::sscanf(line, "%lx-%lx", &begin, &end) == 2)
                out.add(begin, end);
            at_line_start = false;
            for (const char* c = line; *c != 0; ++c) at_line_start = *c == '\n';
        }
        std::fclose(maps);
        return out;
    }

    /// Adds one mapping; they come in order.
    FTRACE_NOTRACE void add(std::uintptr_t begin, std::uintptr_t end) {
        // Below 4 GiB are small numbers, too: there only the program's own parts, if it is at a
        // fixed address, and the heap behind it, which may have been larger.
        const bool low = begin >> 32 == 0;
        const std::uintptr_t margin = low ? std::uintptr_t{1} << 20 : std::uintptr_t{1} << 36;
        const std::uintptr_t floor = low ? first_possible : std::uintptr_t{1} << 32;
        begin = begin > floor + margin ? begin - margin : std::min(begin, floor);
        end = end + margin > end ? end + margin : end;
        if (!ranges_.empty() && begin <= ranges_.back().second)
            ranges_.back().second = std::max(end, ranges_.back().second);
        else
            ranges_.emplace_back(begin, end);
    }

    /// Whether there is anything to tell an address by, but its first and last bits.
    [[nodiscard]] FTRACE_NOTRACE bool known() const { return !ranges_.empty(); }

    /// Whether a word may be the address of something in memory.
    [[nodiscard]] FTRACE_NOTRACE bool may_hold(std::uint64_t word) const {
        constexpr int highest_user_bit = 56;
        if (word < first_possible || word >> highest_user_bit != 0) return false;
        if (ranges_.empty()) return true;
        for (const auto& [begin, end] : ranges_)
            if (word >= begin && word < end) return true;
        return false;
    }

private:
    /// Linux maps nothing lower unless told to (vm.mmap_min_addr).
    static constexpr std::uintptr_t first_possible = 65536;

    std::vector<std::pair<std::uintptr_t, std::uintptr_t>> ranges_;
};

}  // namespace ftrace::inline v0
