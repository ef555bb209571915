// The buffer of one thread: written by that thread and by signal handlers that interrupt it, read
// by anyone.
//
//     history   ... | p-1 |  p  |  p  |  p  | p+1 | ...   an event takes one slot or several
//                         ^ position_ before  ^ and after
//     memory    slot[position % capacity]
//
// A writer reserves its slots with one instruction that a signal cannot tear
// (arch::local_fetch_add), so a handler that interrupts it anywhere reserves others, and both write
// in peace. Each slot is written in this order:
//
//     1  stamp = 0                 nobody takes the old event for whole
//     2  the three words, release  a reader that sees a new word sees the 0 of step 1 as well
//     3  stamp, release            pairs with the acquire in read(): who sees it sees the words
//
// read() copies a slot between two looks at its stamp and takes it only if both show the round it
// expects: so a buffer can be read while its thread goes on.
#pragma once

#include <ftrace/arch/clock.hpp>
#include <ftrace/core/config.hpp>
#include <ftrace/trace/event.hpp>

#include <cstddef>
#include <cstdint>

namespace ftrace::inline v0 {

/// What happens to events that find the buffer full: the oldest go (the kernel's default), or the
/// new ones.
enum class overflow : std::uint8_t { overwrite, drop };

namespace detail {

/// Over memory that somebody else owns: `capacity` zeroed slots, a power of two.
class ring_buffer {
public:
    static constexpr std::size_t largest_event = 7;  ///< slots; the stamp keeps three bits for it

    FTRACE_NO_INSTRUMENTATION ring_buffer(event_slot* slots, std::size_t capacity,
                                          overflow mode) noexcept
        : slots_(slots),
          capacity_(capacity),
          capacity_bits_(static_cast<unsigned>(__builtin_ctzll(capacity))),
          mode_(mode) {}
    ring_buffer(const ring_buffer&) = delete;
    ring_buffer& operator=(const ring_buffer&) = delete;

    /// Room for `events` events of `slots` slots together: the position of the first, or `none`
    /// where the buffer is full and drops. Only on the buffer's thread.
    [[nodiscard]] FTRACE_NO_INSTRUMENTATION std::uint64_t reserve(
        std::uint32_t slots, std::uint32_t events = 1) noexcept {
        arch::local_fetch_add(written_, events);
        const std::uint64_t at = arch::local_fetch_add(position_, slots);
        if (mode_ == overflow::drop &&
            at + slots - __atomic_load_n(&start_, __ATOMIC_RELAXED) > capacity_) {
            arch::local_fetch_add(dropped_, events);
            return none;
        }
        return at;
    }

    /// The round of a position, for the stamp of what is written there.
    [[nodiscard]] FTRACE_NO_INSTRUMENTATION std::uint32_t round_of(
        std::uint64_t position) const noexcept {
        constexpr std::uint32_t mask = (1u << event_stamp::round_bits) - 1;
        return static_cast<std::uint32_t>((position >> capacity_bits_) + 1) & mask;
    }

    /// Fills one reserved slot. Only on the buffer's thread.
    FTRACE_NO_INSTRUMENTATION void write(std::uint64_t position, std::uint64_t stamp,
                                         std::uint64_t a, std::uint64_t b,
                                         std::uint64_t c) noexcept {
        event_slot& slot = slots_[position & (capacity_ - 1)];
        __atomic_store_n(&slot.stamp, 0, __ATOMIC_RELAXED);
        __atomic_store_n(&slot.words[0], a, __ATOMIC_RELEASE);
        __atomic_store_n(&slot.words[1], b, __ATOMIC_RELEASE);
        __atomic_store_n(&slot.words[2], c, __ATOMIC_RELEASE);
        __atomic_store_n(&slot.stamp, stamp, __ATOMIC_RELEASE);
    }

    /// Fills the slots behind an event's first with `count` words; the last slot is padded
    /// with zeros.
    FTRACE_NO_INSTRUMENTATION void write_continuation(std::uint64_t position,
                                                      const std::uint64_t* words,
                                                      std::uint32_t count) noexcept {
        for (std::uint32_t i = 0; i < count; i += 3) {
            ++position;
            const event_stamp stamp{round_of(position), event_kind::continuation, 1, 0, 0};
            write(position, pack(stamp), words[i], i + 1 < count ? words[i + 1] : 0,
                  i + 2 < count ? words[i + 2] : 0);
        }
    }

    /// Copies the slot that was written at `position`. False: it is not there (any more, or yet).
    /// Any thread.
    [[nodiscard]] FTRACE_NO_INSTRUMENTATION bool read(std::uint64_t position,
                                                      event_slot& out) const noexcept {
        const event_slot& slot = slots_[position & (capacity_ - 1)];
        out.stamp = __atomic_load_n(&slot.stamp, __ATOMIC_ACQUIRE);
        for (int i = 0; i < 3; ++i)
            out.words[i] = __atomic_load_n(&slot.words[i], __ATOMIC_ACQUIRE);
        return out.stamp == __atomic_load_n(&slot.stamp, __ATOMIC_RELAXED) && out.stamp != 0 &&
               unpack(out.stamp).round == round_of(position);
    }

    /// Where the readable history begins and ends. Any thread.
    [[nodiscard]] FTRACE_NO_INSTRUMENTATION std::uint64_t end() const noexcept {
        return __atomic_load_n(&position_, __ATOMIC_ACQUIRE);
    }
    [[nodiscard]] FTRACE_NO_INSTRUMENTATION std::uint64_t begin() const noexcept {
        const std::uint64_t start = __atomic_load_n(&start_, __ATOMIC_ACQUIRE);
        const std::uint64_t last = end();
        if (mode_ == overflow::drop || last - start <= capacity_) return start;
        return last - capacity_;
    }

    /// Events reserved, and of these the dropped ones, since the last clear(). Any thread.
    [[nodiscard]] FTRACE_NO_INSTRUMENTATION std::uint64_t written() const noexcept {
        return __atomic_load_n(&written_, __ATOMIC_RELAXED) -
               __atomic_load_n(&written_before_, __ATOMIC_RELAXED);
    }
    [[nodiscard]] FTRACE_NO_INSTRUMENTATION std::uint64_t dropped() const noexcept {
        return __atomic_load_n(&dropped_, __ATOMIC_RELAXED) -
               __atomic_load_n(&dropped_before_, __ATOMIC_RELAXED);
    }
    /// Events reserved ever. Any thread.
    [[nodiscard]] FTRACE_NO_INSTRUMENTATION std::uint64_t reserved() const noexcept {
        return __atomic_load_n(&written_, __ATOMIC_RELAXED);
    }
    [[nodiscard]] FTRACE_NO_INSTRUMENTATION std::size_t capacity() const noexcept {
        return capacity_;
    }

    /// Forgets everything recorded so far. While the thread goes on recording, the counters may be
    /// one off.
    FTRACE_NO_INSTRUMENTATION void clear() noexcept {
        __atomic_store_n(&written_before_, reserved(), __ATOMIC_RELAXED);
        __atomic_store_n(&dropped_before_, __atomic_load_n(&dropped_, __ATOMIC_RELAXED),
                         __ATOMIC_RELAXED);
        __atomic_store_n(&start_, end(), __ATOMIC_RELEASE);
    }

    static constexpr std::uint64_t none = ~std::uint64_t{0};

private:
    event_slot* const slots_;
    const std::size_t capacity_;
    const unsigned capacity_bits_;
    const overflow mode_;
    std::uint64_t position_ = 0;  // slots ever reserved
    std::uint64_t start_ = 0;     // position_ at the last clear()
    std::uint64_t written_ = 0, dropped_ = 0;
    std::uint64_t written_before_ = 0, dropped_before_ = 0;
};

}  // namespace detail
}  // namespace ftrace::inline v0
