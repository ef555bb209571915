// What was read out of a tracer: plain values that outlive the tracer, its threads and the
// libraries it traced.
#pragma once

#include <ftrace/core/config.hpp>
#include <ftrace/trace/event.hpp>
#include <ftrace/trace/signature.hpp>

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace ftrace::inline v0 {

/// One recorded event, its time in nanoseconds of CLOCK_MONOTONIC.
struct trace_event {
    FTRACE_NOTRACE constexpr trace_event() = default;

    static constexpr std::uint64_t unknown = ~std::uint64_t{0};
    static constexpr std::size_t no_arguments = ~std::size_t{0};

    event_kind kind = event_kind::none;
    std::uint32_t thread = 0;  ///< index into trace_snapshot::threads
    std::uint32_t cpu = 0;
    std::uint32_t depth = 0;           ///< graph events: how many traced functions are around it
    std::uint64_t time = 0;            ///< of the call, or of the return
    std::uintptr_t ip = 0;             ///< the function's site
    std::uintptr_t parent_ip = 0;      ///< the return address of the call; 0 in graph_return
    std::uint64_t duration = unknown;  ///< graph_return: nanoseconds since the call
    bool has_return_value = false;     ///< graph_return: whether the next member holds one
    std::uint64_t return_value =
        0;  ///< the first integer word of the result, also where the type is void
    std::size_t arguments =
        no_arguments;  ///< index of the first word in trace_snapshot::argument_words
    std::uint64_t lost_before =
        0;  ///< events of this thread that are missing right before this one
};

struct trace_thread {
    FTRACE_NOTRACE trace_thread(pid_t id, std::string thread_name)
        : tid(id), name(std::move(thread_name)) {}
    FTRACE_NOTRACE trace_thread(const trace_thread&) = default;
    FTRACE_NOTRACE trace_thread(trace_thread&&) = default;
    FTRACE_NOTRACE trace_thread& operator=(const trace_thread&) = default;
    FTRACE_NOTRACE trace_thread& operator=(trace_thread&&) = default;
    FTRACE_NOTRACE ~trace_thread() = default;

    pid_t tid = 0;
    std::string name;              ///< the kernel's comm, at most 15 characters
    std::uint32_t last_cpu = 0;    ///< where its last event was recorded
    std::uint64_t lost_after = 0;  ///< events dropped behind that one
};

/// Everything an exporter needs.
struct trace_snapshot {
    FTRACE_NOTRACE trace_snapshot() = default;
    FTRACE_NOTRACE trace_snapshot(const trace_snapshot&) = default;
    FTRACE_NOTRACE trace_snapshot(trace_snapshot&&) = default;
    FTRACE_NOTRACE trace_snapshot& operator=(const trace_snapshot&) = default;
    FTRACE_NOTRACE trace_snapshot& operator=(trace_snapshot&&) = default;
    FTRACE_NOTRACE ~trace_snapshot() = default;

    std::string tracer = "function";
    unsigned cpus = 1;  ///< of the machine
    std::vector<trace_thread> threads;
    std::vector<trace_event>
        events;  ///< in time order, those of a thread in the order of recording
    std::vector<std::uint64_t> argument_words;
    std::map<std::uintptr_t, std::string>
        symbols;                ///< linker names of all ip and parent_ip; "" where unknown
    scope_facts scopes;         ///< classes and namespaces, for the values of arguments
    std::uint64_t written = 0;  ///< events recorded, those since overwritten included
    std::uint64_t overwritten = 0;
    std::uint64_t dropped = 0;  ///< not recorded, because the buffer was full or could not be had
};

}  // namespace ftrace::inline v0
