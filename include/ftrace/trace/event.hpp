// What a tracer writes for one event, and what a reader makes of it.
#pragma once

#include <ftrace/core/config.hpp>

#include <cstdint>

namespace ftrace::inline v0 {

/// What happened. `none` is memory that was never written, `continuation` a slot that belongs to
/// the one before.
enum class event_kind : std::uint8_t { none, function, graph_entry, graph_return, continuation };

namespace detail {

/// The unit of a ring buffer. An event takes one slot, and more where arguments or a return value
/// follow; these hold three more words each.
///
///                     function         graph_entry      graph_return
///      0   stamp      event_stamp      event_stamp      event_stamp
///      8   words[0]   ticks            ticks            ticks
///     16   words[1]   site             site             site
///     24   words[2]   return address   return address   ticks since the entry, or `unknown_ticks`
///
/// Written raw: names, times and text are made when the trace is read.
struct event_slot {
    std::uint64_t stamp;
    std::uint64_t words[3];
};
static_assert(sizeof(event_slot) == 32 && alignof(event_slot) == 8);

inline constexpr std::uint64_t unknown_ticks = ~std::uint64_t{0};

/// A stamp, from its low bit up:
///
///     |  sequence 32  | kind 3 | slots 3 |  cpu 12  |     depth 14     |
///
/// The sequence is the slot's position in its buffer's history, cut to 32 bits, plus one: a reader
/// tells by it a slot that holds what it looks for from one that is older, newer, or being written
/// (stamp 0).
struct event_stamp {
    static constexpr std::uint64_t largest_cpu = (1u << 12) - 1;
    static constexpr std::uint64_t largest_depth = (1u << 14) - 1;

    std::uint32_t sequence;
    event_kind kind;
    std::uint32_t slots;
    std::uint32_t cpu;
    std::uint32_t depth;
};

[[nodiscard]] FTRACE_NO_INSTRUMENTATION constexpr std::uint32_t sequence_of(
    std::uint64_t position) noexcept {
    return static_cast<std::uint32_t>(position + 1);
}

[[nodiscard]] FTRACE_NO_INSTRUMENTATION constexpr std::uint64_t pack(
    const event_stamp& s) noexcept {
    const std::uint64_t cpu = s.cpu < event_stamp::largest_cpu ? s.cpu : event_stamp::largest_cpu;
    const std::uint64_t depth =
        s.depth < event_stamp::largest_depth ? s.depth : event_stamp::largest_depth;
    return s.sequence | static_cast<std::uint64_t>(s.kind) << 32 | std::uint64_t{s.slots} << 35 |
           cpu << 38 | depth << 50;
}

[[nodiscard]] FTRACE_NO_INSTRUMENTATION constexpr event_stamp unpack(std::uint64_t bits) noexcept {
    return {static_cast<std::uint32_t>(bits), static_cast<event_kind>(bits >> 32 & 7),
            static_cast<std::uint32_t>(bits >> 35 & 7),
            static_cast<std::uint32_t>(bits >> 38 & 0xfff), static_cast<std::uint32_t>(bits >> 50)};
}

}  // namespace detail
}  // namespace ftrace::inline v0
