// What function_graph keeps of a call until it ends: its fgraph_ops' call data.
//
//     graph_call               always
//     held_call                where a call is written only if it turns out to be long enough:
//     argument words           how it began, and its arguments if they are wanted
#pragma once

#include <sys/syscall.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <ftrace/arch/argument_words.hpp>
#include <ftrace/core/config.hpp>
#include <ftrace/trace/event.hpp>
#include <ftrace/trace/thread_buffer.hpp>

namespace ftrace::inline v0::detail {

struct graph_call {
    std::uint64_t ticks;
    std::uint64_t run_time;    ///< of the thread, where the time it slept does not count
    std::uint64_t generation;  ///< with tid the thread, as in thread_buffer
    pid_t tid;
    bool silent;  ///< a function that is not traced, nor what it calls: hooked for the latter

    [[nodiscard]] FTRACE_NO_INSTRUMENTATION bool began_on(
        const thread_buffer& thread) const noexcept {
        return tid == thread.tid && generation == thread.generation;
    }
};

/// How long the calling thread has run, in nanoseconds; `unknown_ticks` where the kernel does not
/// say. Costs a system call.
[[nodiscard]] FTRACE_NO_INSTRUMENTATION inline std::uint64_t run_time() noexcept {
    timespec now{};
    if (::syscall(SYS_clock_gettime, CLOCK_THREAD_CPUTIME_ID, &now) != 0) return unknown_ticks;
    return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 +
           static_cast<std::uint64_t>(now.tv_nsec);
}

struct held_call : graph_call {
    std::uint32_t cpu;
    std::uintptr_t parent_ip;

    /// arch::argument_words of them, if arguments are wanted.
    [[nodiscard]] FTRACE_NO_INSTRUMENTATION std::uint64_t* arguments() noexcept {
        return reinterpret_cast<std::uint64_t*>(this + 1);
    }

    /// How much memory a call needs.
    [[nodiscard]] FTRACE_NOTRACE static constexpr std::size_t bytes(bool held,
                                                                    bool arguments) noexcept {
        if (!held) return sizeof(graph_call);
        return sizeof(held_call) + (arguments ? arch::argument_words * sizeof(std::uint64_t) : 0);
    }
};

}  // namespace ftrace::inline v0::detail
