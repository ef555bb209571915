// What a compiler leaves at a function's entry, and where in it the call fits.
#pragma once

#include <elf.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <ftrace/arch/insn.hpp>
#include <ftrace/core/config.hpp>

namespace ftrace::inline v0::arch {

/// Adds an object's bias to a word (psABI 4.4.1).
inline constexpr std::uint32_t relative_relocation = R_X86_64_RELATIVE;

/// endbr64, what -fcf-protection puts in front of the nops (SDM volume 2).
inline constexpr unsigned char landing_pad[] = {0xf3, 0x0f, 0x1e, 0xfa};

/// A site is at most this far behind its function's first byte.
inline constexpr std::size_t farthest_site = sizeof landing_pad;

[[nodiscard]] FTRACE_NOTRACE inline bool is_landing_pad(const unsigned char* at,
                                                        std::size_t available) noexcept {
    return available >= sizeof landing_pad && std::memcmp(at, landing_pad, sizeof landing_pad) == 0;
}

/// Whether `site` is the site of the function that begins at `start`, rather than of a short
/// function's neighbour: it stands at the function's first byte, or behind its endbr64.
[[nodiscard]] FTRACE_NOTRACE inline bool is_site_of(std::uintptr_t site,
                                                    std::uintptr_t start) noexcept {
    return site == start ||
           (site - start == farthest_site &&
            is_landing_pad(reinterpret_cast<const unsigned char*>(start), farthest_site));
}

/// The bytes of a ModRM operand, with what follows it, or 0 where they are not all available
/// (SDM volume 2, table 2-2).
[[nodiscard]] FTRACE_NOTRACE inline std::size_t operand_length(const unsigned char* at,
                                                               std::size_t available) noexcept {
    if (available == 0) return 0;
    const unsigned mod = at[0] >> 6, rm = at[0] & 7u;
    std::size_t length = 1;
    unsigned base = rm;
    if (mod == 3) return length;
    if (rm == 4) {
        if (available < 2) return 0;
        base = at[1] & 7u;
        ++length;
    }
    if (mod == 1) length += 1;
    if (mod == 2 || (mod == 0 && base == 5)) length += 4;
    return length <= available ? length : 0;
}

/// The length of the nop at `at`: 90, 0f 1f /0, and both with prefixes 66 and 2e. 0: no nop, or
/// not all of it within `available`.
[[nodiscard]] FTRACE_NOTRACE inline std::size_t nop_length(const unsigned char* at,
                                                           std::size_t available) noexcept {
    constexpr unsigned char operand_size = 0x66, code_segment = 0x2e, one_byte = 0x90;
    constexpr std::size_t longest_instruction = 15;
    if (available > longest_instruction) available = longest_instruction;
    std::size_t prefix = 0;
    while (prefix < available && (at[prefix] == operand_size || at[prefix] == code_segment))
        ++prefix;
    if (prefix < available && at[prefix] == one_byte) return prefix + 1;
    if (available < prefix + 3 || at[prefix] != 0x0f || at[prefix + 1] != 0x1f) return 0;
    constexpr unsigned char extension = 0x38;  // the /0 of 0f 1f /0
    if ((at[prefix + 2] & extension) != 0) return 0;
    const std::size_t operand = operand_length(at + prefix + 2, available - prefix - 2);
    return operand == 0 ? 0 : prefix + 2 + operand;
}

/// What stands at a function's entry.
enum class entry_kind : std::uint8_t {
    site,  ///< nops of five bytes and an instruction behind them, or the call that replaced them
    wide_nop,   ///< a nop reaches beyond the five bytes: the patcher has to replace all of it
    too_short,  ///< fewer than five bytes of nop
    none,       ///< no nop at all: the section's entry leads nowhere
    unknown,    ///< nops enough, and nothing that tells which of them are the function's
};

struct entry_site {
    std::uintptr_t address;
    entry_kind kind;
};

/// The nops from `at` on, as far as they matter for five bytes.
[[nodiscard]] FTRACE_NOTRACE inline entry_kind classify_nops(const unsigned char* at,
                                                             std::size_t available) noexcept {
    std::size_t total = 0;
    while (total < site_size) {
        const std::size_t length = nop_length(at + total, available - total);
        if (length == 0) break;
        total += length;
    }
    if (total == site_size) return entry_kind::site;
    if (total > site_size) return entry_kind::wide_nop;
    return total == 0 ? entry_kind::none : entry_kind::too_short;
}

/// Whether `at` looks like a site somebody already patched: call, jump or trap. True of a
/// compiler's entry only if it was patched, since an entry begins with a nop.
[[nodiscard]] FTRACE_NOTRACE inline bool is_patched(const unsigned char* at,
                                                    std::size_t available) noexcept {
    constexpr unsigned char call = 0xe8, jump = 0xe9;
    return available >= site_size && (at[0] == call || at[0] == jump || at[0] == int3_opcode);
}

/// Where the nops that begin at `entry` end.
[[nodiscard]] FTRACE_NOTRACE inline std::uintptr_t end_of_nops(std::uintptr_t entry,
                                                               std::uintptr_t text_end) noexcept {
    while (entry < text_end) {
        const std::size_t length =
            nop_length(reinterpret_cast<const unsigned char*>(entry), text_end - entry);
        if (length == 0) break;
        entry += length;
    }
    return entry;
}

/// Whether `entry` stands behind an endbr64 that begins its function; `text_begin` bounds what is
/// readable in front of it.
[[nodiscard]] FTRACE_NOTRACE inline bool is_behind_landing_pad(std::uintptr_t entry,
                                                               std::uintptr_t text_begin) noexcept {
    return entry - text_begin >= farthest_site && is_site_of(entry, entry - farthest_site);
}

/// What stands at `entry` if nothing but the bytes tells where the function begins.
///
/// Nops in front of a function look like those at its entry: five bytes of 90 are what
/// -fpatchable-function-entry=5 leaves, or =5,2, whose function begins at the third of them. A call
/// written over that one has callers jump into its middle. So only what is certain is a site:
///
/// - an endbr64 behind the nops begins the function, and what counts is behind that;
/// - a call, jump or trap at `entry`: somebody decided already;
/// - one nop instruction of five bytes and more, and no other behind it. No function begins within
///   an instruction: it begins in front of it, or, with N = M, behind it, where nobody would ever
///   run into the call.
[[nodiscard]] FTRACE_NOTRACE inline entry_site find_site_by_bytes(
    std::uintptr_t entry, std::uintptr_t text_end) noexcept {
    const auto* const at = reinterpret_cast<const unsigned char*>(entry);
    const std::size_t available = text_end - entry;
    if (is_patched(at, available)) return {entry, entry_kind::site};
    const std::uintptr_t end = end_of_nops(entry, text_end);
    const auto* const behind = reinterpret_cast<const unsigned char*>(end);
    if (is_landing_pad(behind, text_end - end)) {
        const auto* const site = behind + farthest_site;
        return {end + farthest_site, classify_nops(site, text_end - end - farthest_site)};
    }
    const std::size_t nops = end - entry, first = nop_length(at, available);
    const bool certain = nops < site_size || first == nops;
    return {entry, certain ? classify_nops(at, available) : entry_kind::unknown};
}

/// The site that an entry of __patchable_function_entries or __mcount_loc stands for.
///
///     -fpatchable-function-entry=5        =5 -fcf-protection         =7,2 (-fcf-protection)
///     entry, f:  five bytes of nop        f:      endbr64            entry:  two nops
///                                         entry:  five bytes of nop  f:      [endbr64]
///                                                                            five bytes of nop
///
/// `function_start` is what other sources say: with it nops in front of the function are told from
/// those at its entry. 0: nothing says so; see find_site_by_bytes(). Everything from `entry` to
/// `text_end` must be readable. Behind nops in front of the function a call or jump may be the
/// function's own: kind is `none` then, as for an entry without nops.
[[nodiscard]] FTRACE_NOTRACE inline entry_site find_site(std::uintptr_t entry,
                                                         std::uintptr_t function_start,
                                                         std::uintptr_t text_end) noexcept {
    if (function_start == 0) return find_site_by_bytes(entry, text_end);
    const auto byte = [](std::uintptr_t at)
                          FTRACE_NOTRACE { return reinterpret_cast<const unsigned char*>(at); };
    std::uintptr_t start =
        function_start > entry && function_start < text_end ? function_start : entry;
    if (start == entry && is_patched(byte(entry), text_end - entry))
        return {entry, entry_kind::site};
    if (is_landing_pad(byte(start), text_end - start)) start += sizeof landing_pad;
    return {start, classify_nops(byte(start), text_end - start)};
}

}  // namespace ftrace::inline v0::arch
