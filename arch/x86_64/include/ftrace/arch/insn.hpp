// The few instructions that ever stand at a site or in a veneer, as packed structs.
// Encodings: Intel SDM volume 2 (CALL E8 cd, JMP E9 cd, JMP FF /4, PUSH FF /6, INT3 CC, NOP 0F 1F /0).
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <ftrace/core/config.hpp>

namespace ftrace::inline v0::arch {

#pragma pack(push, 1)
/// call rel32: the target is relative to the end of the instruction.
struct call_insn {
    constexpr FTRACE_NOTRACE call_insn() noexcept = default;
    std::uint8_t opcode = 0xe8;
    std::int32_t displacement = 0;
};
/// jmp rel32, as far as a call reaches.
struct jump_insn {
    constexpr FTRACE_NOTRACE jump_insn() noexcept = default;
    std::uint8_t opcode = 0xe9;
    std::int32_t displacement = 0;
};
/// push qword [rip + displacement]
struct push_indirect_insn {
    constexpr FTRACE_NOTRACE push_indirect_insn() noexcept = default;
    std::uint8_t opcode[2] = {0xff, 0x35};
    std::int32_t displacement = 0;
};
/// notrack jmp qword [rip + displacement]: the target needs no endbr64.
struct jump_indirect_insn {
    constexpr FTRACE_NOTRACE jump_indirect_insn() noexcept = default;
    std::uint8_t opcode[3] = {0x3e, 0xff, 0x25};
    std::int32_t displacement = 0;
};
#pragma pack(pop)

inline constexpr std::uint8_t int3_opcode = 0xcc;
inline constexpr std::size_t site_size = sizeof(call_insn);
static_assert(site_size == 5 && sizeof(jump_insn) == site_size && sizeof(push_indirect_insn) == 6 &&
              sizeof(jump_indirect_insn) == 7);

/// The five bytes of a site.
struct site_bytes {
    std::uint8_t byte[site_size];

    FTRACE_NOTRACE friend bool operator==(const site_bytes& a, const site_bytes& b) noexcept {
        return std::memcmp(a.byte, b.byte, site_size) == 0;
    }
};

/// One five-byte instruction that does nothing: nopl 8(%rax,%rax), as clang writes it.
inline constexpr site_bytes nop_site{{0x0f, 0x1f, 0x44, 0x00, 0x08}};

/// Whether a call or jump at `from` reaches `to`.
[[nodiscard]] FTRACE_NOTRACE inline bool call_reaches(std::uintptr_t from,
                                                      std::uintptr_t to) noexcept {
    const auto distance = static_cast<std::int64_t>(to - (from + site_size));
    return distance >= INT32_MIN && distance <= INT32_MAX;
}

/// An instruction by the distance of its target from the end of the site; and back, 0 for another
/// instruction.
template <class Insn>
[[nodiscard]] FTRACE_NOTRACE site_bytes site_at_distance(std::int32_t distance) noexcept {
    Insn insn;
    insn.displacement = distance;
    site_bytes bytes;
    std::memcpy(bytes.byte, &insn, site_size);
    return bytes;
}
template <class Insn>
[[nodiscard]] FTRACE_NOTRACE std::int32_t distance_in(const site_bytes& bytes) noexcept {
    Insn insn;
    if (bytes.byte[0] != insn.opcode) return 0;
    std::memcpy(&insn, bytes.byte, site_size);
    return insn.displacement;
}
[[nodiscard]] FTRACE_NOTRACE inline site_bytes call_site_at_distance(
    std::int32_t distance) noexcept {
    return site_at_distance<call_insn>(distance);
}
[[nodiscard]] FTRACE_NOTRACE inline site_bytes jump_site_at_distance(
    std::int32_t distance) noexcept {
    return site_at_distance<jump_insn>(distance);
}
[[nodiscard]] FTRACE_NOTRACE inline std::int32_t call_distance(const site_bytes& bytes) noexcept {
    return distance_in<call_insn>(bytes);
}
[[nodiscard]] FTRACE_NOTRACE inline std::int32_t jump_distance(const site_bytes& bytes) noexcept {
    return distance_in<jump_insn>(bytes);
}

/// A call or jump from `site` to `target`, which it must reach.
[[nodiscard]] FTRACE_NOTRACE inline site_bytes call_site(std::uintptr_t site,
                                                         std::uintptr_t target) noexcept {
    return call_site_at_distance(
        static_cast<std::int32_t>(static_cast<std::int64_t>(target - (site + site_size))));
}
[[nodiscard]] FTRACE_NOTRACE inline site_bytes jump_site(std::uintptr_t site,
                                                         std::uintptr_t target) noexcept {
    return jump_site_at_distance(
        static_cast<std::int32_t>(static_cast<std::int64_t>(target - (site + site_size))));
}

/// Not memcpy, which sanitizers replace by one that wants shadow memory for text.
[[nodiscard]] FTRACE_NO_INSTRUMENTATION inline site_bytes read_site(std::uintptr_t site) noexcept {
    site_bytes bytes;
    for (std::size_t i = 0; i < site_size; ++i)
        bytes.byte[i] =
            __atomic_load_n(reinterpret_cast<const std::uint8_t*>(site + i), __ATOMIC_RELAXED);
    return bytes;
}

}  // namespace ftrace::inline v0::arch
