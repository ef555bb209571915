// What a tracer writes for one event, and what a reader makes of it.
#pragma once

#include <ftrace/core/config.hpp>
#include <ftrace/graph/graph_end.hpp>

#include <cstdint>

namespace ftrace::inline v0 {

/// What happened. `none` is memory that was never written, `continuation` a slot that belongs to
/// the one before.
enum class event_kind : std::uint8_t { none, function, graph_entry, graph_return, continuation };

namespace detail {

/// The unit of a ring buffer. An event takes one slot, and more where something follows; these hold
/// three more words each.
///
///                     function         graph_entry      graph_return
///      0   stamp      event_stamp      event_stamp      event_stamp
///      8   words[0]   ticks            ticks            ticks
///     16   words[1]   site             site             site
///     24   words[2]   return address   return address   ticks of the call
///
/// What follows a call are its argument words. What follows a graph_return are slots of
///
///     the result      of calls that returned: arch::result_words
///     notes           how many calls of the thread were not hooked so far, and of a call that
///                     another thread began, that thread's id, in the upper half; its generation;
///                     and where the time that a thread sleeps does not count, how many nanoseconds
///                     it ran during the call, or `unknown_ticks`
///     the exception   the entry of the function that catches it, and the type's linker name, eight
///                     letters a word, as many as there is room for
///
/// of which only those are there that somebody wants, or that say something; but none without those
/// before it.
///
/// Written raw: names, times and text are made when the trace is read.
struct event_slot {
    std::uint64_t stamp;
    std::uint64_t words[3];
};
static_assert(sizeof(event_slot) == 32 && alignof(event_slot) == 8);

inline constexpr std::uint64_t unknown_ticks = ~std::uint64_t{0};

/// Whether it is known when a call ended, and so how long it took: not of one whose end was noticed
/// later. `here`: it began on the thread that tells.
[[nodiscard]] FTRACE_NO_INSTRUMENTATION constexpr bool end_is_exact(graph_end end,
                                                                    bool here) noexcept {
    if (end == graph_end::thread_exit) return here;
    return end != graph_end::longjmp && end != graph_end::abandoned;
}

/// A stamp, from its low bit up:
///
///     |  round 20  | kind 3 | slots 3 | end 3 |  cpu 13  |     depth 22     |
///
/// The round is how often the buffer was full before, cut to 20 bits, plus one: with the slot's
/// place it says which event of the buffer's history it is, so a reader tells what it looks for
/// from what is older, newer, or being written (stamp 0). A reader would have to stop in the middle
/// of a slot for a million rounds to be wrong. That leaves room for every CPU that Linux may have
/// (8192), and for a depth of four million.
struct event_stamp {
    static constexpr unsigned round_bits = 20, cpu_bits = 13, depth_bits = 22;
    static constexpr std::uint64_t largest_cpu = (1u << cpu_bits) - 1;
    static constexpr std::uint64_t largest_depth = (1u << depth_bits) - 1;

    std::uint32_t round;
    event_kind kind;
    std::uint32_t slots;
    std::uint32_t cpu;
    std::uint32_t depth;
    graph_end end = graph_end::returned;  ///< of a graph_return
};

[[nodiscard]] FTRACE_NO_INSTRUMENTATION constexpr std::uint64_t pack(
    const event_stamp& s) noexcept {
    const std::uint64_t cpu = s.cpu < event_stamp::largest_cpu ? s.cpu : event_stamp::largest_cpu;
    const std::uint64_t depth =
        s.depth < event_stamp::largest_depth ? s.depth : event_stamp::largest_depth;
    return s.round | static_cast<std::uint64_t>(s.kind) << 20 | std::uint64_t{s.slots} << 23 |
           static_cast<std::uint64_t>(s.end) << 26 | cpu << 29 | depth << 42;
}

[[nodiscard]] FTRACE_NO_INSTRUMENTATION constexpr event_stamp unpack(std::uint64_t bits) noexcept {
    return {static_cast<std::uint32_t>(bits & 0xfffff),
            static_cast<event_kind>(bits >> 20 & 7),
            static_cast<std::uint32_t>(bits >> 23 & 7),
            static_cast<std::uint32_t>(bits >> 29 & event_stamp::largest_cpu),
            static_cast<std::uint32_t>(bits >> 42),
            static_cast<graph_end>(bits >> 26 & 7)};
}

}  // namespace detail
}  // namespace ftrace::inline v0
