// From ticks to nanoseconds, when a trace is read.
#pragma once

#include <time.h>

#include <cstdint>
#include <ftrace/arch/clock.hpp>
#include <ftrace/core/config.hpp>

namespace ftrace::inline v0::detail {

/// One moment on both clocks.
struct clock_sample {
    FTRACE_NOTRACE constexpr clock_sample() = default;
    FTRACE_NOTRACE constexpr clock_sample(std::uint64_t t, std::uint64_t n)
        : ticks(t), nanoseconds(n) {}

    std::uint64_t ticks = 0;
    std::uint64_t nanoseconds = 0;  ///< CLOCK_MONOTONIC
};

[[nodiscard]] FTRACE_NOTRACE inline std::uint64_t monotonic_nanoseconds() {
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 +
           static_cast<std::uint64_t>(now.tv_nsec);
}

/// Both clocks are read several times; the pair counts during which least ticks went by, since
/// anything may come between two reads.
[[nodiscard]] FTRACE_NOTRACE inline clock_sample sample_clocks() {
    clock_sample best;
    std::uint64_t least = ~std::uint64_t{0};
    for (int tries = 0; tries < 8; ++tries) {
        const std::uint64_t before = arch::ticks();
        const std::uint64_t now = monotonic_nanoseconds();
        const std::uint64_t between = arch::ticks() - before;
        if (between >= least) continue;
        least = between;
        best = {before + between / 2, now};
    }
    return best;
}

/// The line through two samples. The further apart they are, the better it is: a read of both
/// clocks is some 50 ns wide, which over 2 ms is a part in 40,000.
class clock_scale {
public:
    FTRACE_NOTRACE clock_scale(const clock_sample& first, const clock_sample& second)
        : origin_(first) {
        if (second.ticks > first.ticks)
            nanoseconds_per_tick_ = static_cast<double>(second.nanoseconds - first.nanoseconds) /
                                    static_cast<double>(second.ticks - first.ticks);
    }

    /// The scale from `first` to now; waits until they are 2 ms apart.
    [[nodiscard]] FTRACE_NOTRACE static clock_scale since(const clock_sample& first) {
        constexpr std::uint64_t shortest = 2'000'000;
        while (monotonic_nanoseconds() - first.nanoseconds < shortest) {
        }
        return {first, sample_clocks()};
    }

    [[nodiscard]] FTRACE_NOTRACE std::uint64_t time(std::uint64_t ticks) const {
        const auto distance = static_cast<double>(static_cast<std::int64_t>(ticks - origin_.ticks));
        return origin_.nanoseconds + static_cast<std::uint64_t>(static_cast<std::int64_t>(
                                         distance * nanoseconds_per_tick_));
    }
    [[nodiscard]] FTRACE_NOTRACE std::uint64_t duration(std::uint64_t ticks) const {
        return static_cast<std::uint64_t>(static_cast<double>(ticks) * nanoseconds_per_tick_);
    }
    [[nodiscard]] FTRACE_NOTRACE std::uint64_t ticks(std::uint64_t nanoseconds) const {
        return static_cast<std::uint64_t>(static_cast<double>(nanoseconds) / nanoseconds_per_tick_);
    }

private:
    clock_sample origin_;
    double nanoseconds_per_tick_ = 1;
};

}  // namespace ftrace::inline v0::detail
