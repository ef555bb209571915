// What the callbacks of the tracers share: how a call is written into its thread's buffer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <ftrace/arch/argument_words.hpp>
#include <ftrace/arch/clock.hpp>
#include <ftrace/arch/registers.hpp>
#include <ftrace/core/config.hpp>
#include <ftrace/trace/event.hpp>
#include <ftrace/trace/thread_buffer.hpp>

namespace ftrace::inline v0::detail {

/// Sites in order.
struct graph_sites {
    const std::uintptr_t* sites;
    std::size_t count;

    [[nodiscard]] FTRACE_NO_INSTRUMENTATION bool empty() const noexcept { return count == 0; }
    [[nodiscard]] FTRACE_NO_INSTRUMENTATION bool contains(std::uintptr_t site) const noexcept {
        std::size_t low = 0, high = count;
        while (low < high) {
            const std::size_t middle = low + (high - low) / 2;
            if (sites[middle] < site)
                low = middle + 1;
            else
                high = middle;
        }
        return low < count && sites[low] == site;
    }
};

inline constexpr std::uint32_t argument_slots = (arch::argument_words + 2) / 3;
static_assert(1 + argument_slots <= ring_buffer::largest_event);

/// What the callbacks of one tracer share. Changed only while none runs.
struct recorder {
    FTRACE_NOTRACE recorder() = default;
    FTRACE_NOTRACE ~recorder() = default;
    recorder(const recorder&) = delete;
    recorder& operator=(const recorder&) = delete;

    tracer_buffers buffers;
    bool arguments = true;

    // function_graph
    bool results = true;
    bool sleep_time = true;             ///< whether the time in which a thread does not run counts
    std::uint64_t threshold = 0;        ///< nanoseconds; calls that take less are left out
    std::uint64_t threshold_ticks = 0;  ///< the same in ticks
    int max_depth = 0;                  ///< 0: no limit
    graph_sites graph_functions{};      ///< traced with all they call; none: every function
    graph_sites graph_notrace{};        ///< not traced, and nothing they call

    /// How many slots a call takes.
    [[nodiscard]] FTRACE_NO_INSTRUMENTATION std::uint32_t call_slots() const noexcept {
        return arguments ? 1 + argument_slots : 1;
    }
};

/// A call, with what may be its arguments where they are wanted. False: no room. `now` is when.
FTRACE_NO_INSTRUMENTATION inline bool record_call(const recorder& wanted, thread_buffer& thread,
                                                  event_kind kind, std::uint32_t depth,
                                                  std::uintptr_t ip, std::uintptr_t parent_ip,
                                                  const ftrace_regs& regs,
                                                  std::uint64_t& now) noexcept {
    const std::uint32_t slots = wanted.call_slots();
    const std::uint64_t at = thread.reserve(slots);
    if (at == ring_buffer::none) return false;
    const std::uint32_t cpu = arch::current_cpu();
    if (wanted.arguments) {
        std::uint64_t words[arch::argument_words];
        arch::copy_argument_words(regs, words);
        thread.ring.write_continuation(at, words, arch::argument_words);
    }
    now = arch::ticks();
    thread.ring.write(at, pack({thread.ring.round_of(at), kind, slots, cpu, depth}), now, ip,
                      parent_ip);
    return true;
}

}  // namespace ftrace::inline v0::detail
