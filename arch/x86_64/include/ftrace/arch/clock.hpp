// What a recorded event asks of the processor: the time, the CPU, and a counter that signals
// cannot tear.
#pragma once

#include <ftrace/core/config.hpp>

#include <cstddef>
#include <cstdint>

// glibc 2.35 and later: where each thread's rseq area lies, and its size. Weak, so that another C
// library links.
extern "C" {
extern const std::ptrdiff_t __rseq_offset __attribute__((weak));
extern const unsigned int __rseq_size __attribute__((weak));
}

namespace ftrace::inline v0::arch {

/// The time stamp counter. Not ordered with the instructions around it: a fence costs as much as
/// the read, and what it would tell apart is a few nanoseconds. CPUs agree on it where the counter
/// is invariant, as on every x86-64 since 2008 (SDM volume 3, 18.17.1); the generic clock turns it
/// into nanoseconds when a trace is read.
[[nodiscard]] FTRACE_NO_INSTRUMENTATION inline std::uint64_t ticks() noexcept {
    return __builtin_ia32_rdtsc();
}

/// The CPU this thread runs on; it may have moved on when the caller looks at the number.
///
/// One load from the area that the kernel keeps for restartable sequences (linux/rseq.h: cpu_id, 4
/// bytes in); without it the limit of the segment in which the kernel leaves the number for its
/// vDSO (12 bits, the node above).
[[nodiscard]] FTRACE_NO_INSTRUMENTATION inline unsigned current_cpu() noexcept {
    if (&__rseq_size != nullptr && __rseq_size != 0) {
        std::int32_t cpu;
        asm volatile("movl %%fs:4(%1), %0" : "=r"(cpu) : "r"(__rseq_offset));
        if (cpu >= 0) return static_cast<unsigned>(cpu);
    }
    constexpr unsigned cpu_and_node_segment = 0x7b;
    unsigned limit = 0;
    asm("lsl %1, %0" : "+r"(limit) : "r"(cpu_and_node_segment) : "cc");
    return limit & 0xfff;
}

/// Adds to a counter that only this thread writes, and returns what it held before. One instruction
/// without a lock prefix: atomic towards signal handlers of the thread, and towards nobody else.
/// Other threads may read.
FTRACE_NO_INSTRUMENTATION inline std::uint64_t local_fetch_add(std::uint64_t& counter,
                                                               std::uint64_t n) noexcept {
    asm volatile("xaddq %0, %1" : "+r"(n), "+m"(counter) : : "memory", "cc");
    return n;
}

}  // namespace ftrace::inline v0::arch
