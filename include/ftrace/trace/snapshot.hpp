// What was read out of a tracer: plain values that outlive the tracer, its threads and the
// libraries it traced.
#pragma once

#include <ftrace/core/config.hpp>
#include <ftrace/trace/address_ranges.hpp>
#include <ftrace/trace/event.hpp>
#include <ftrace/trace/signature.hpp>

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace ftrace::inline v0 {

/// One recorded event, its time in nanoseconds of CLOCK_MONOTONIC.
struct trace_event {
    FTRACE_NOTRACE constexpr trace_event() = default;

    static constexpr std::uint64_t unknown = ~std::uint64_t{0};
    static constexpr std::size_t no_arguments = ~std::size_t{0};
    static constexpr std::uint32_t no_exception = ~std::uint32_t{0};
    static constexpr std::uint32_t same_thread = ~std::uint32_t{0};

    [[nodiscard]] FTRACE_NOTRACE constexpr std::uint32_t call_thread() const {
        return began_on == same_thread ? thread : began_on;
    }
    /// Whether a graph_return may be the end of a call, at the same depth of the same thread.
    [[nodiscard]] FTRACE_NOTRACE constexpr bool ends(const trace_event& call) const {
        return ip == call.ip && (call_time == unknown || call_time == call.time);
    }

    event_kind kind = event_kind::none;
    graph_end end = graph_end::returned;  ///< graph_return: how the call ended
    /// graph_return: whether return_value and what follows it hold something.
    bool has_return_value = false;
    std::uint32_t thread = 0;  ///< index into trace_snapshot::threads
    /// graph_return: the thread that began the call, if it was another one: a fiber moved.
    std::uint32_t began_on = same_thread;
    std::uint32_t cpu = 0;
    std::uint32_t depth = 0;  ///< graph events: how many traced functions are around it
    /// graph_return: calls of this thread so far that could not be traced for want of room.
    std::uint32_t overrun = 0;
    /// graph_return by an exception: index into trace_snapshot::exceptions.
    std::uint32_t exception = no_exception;
    std::uint64_t time = 0;             ///< of the call, or of its end
    std::uintptr_t ip = 0;              ///< the function's site
    std::uintptr_t parent_ip = 0;       ///< the return address of the call; 0 in graph_return
    std::uint64_t duration = unknown;   ///< graph_return: nanoseconds that the call took
    std::uint64_t call_time = unknown;  ///< graph_return: of the call
    /// The first integer word of the result, also where the type is void; the second one; and the
    /// low word of the first vector register.
    std::uint64_t return_value = 0, return_high = 0, return_vector = 0;
    /// Index of the first word in trace_snapshot::argument_words.
    std::size_t arguments = no_arguments;
    /// Events of this thread that are missing right before this one.
    std::uint64_t lost_before = 0;
};

/// An exception that left a call.
struct trace_exception {
    FTRACE_NOTRACE trace_exception() = default;
    FTRACE_NOTRACE trace_exception(std::string thrown, std::uintptr_t catching)
        : type(std::move(thrown)), handler(catching) {}
    FTRACE_NOTRACE trace_exception(const trace_exception&) = default;
    FTRACE_NOTRACE trace_exception(trace_exception&&) = default;
    FTRACE_NOTRACE trace_exception& operator=(const trace_exception&) = default;
    FTRACE_NOTRACE trace_exception& operator=(trace_exception&&) = default;
    FTRACE_NOTRACE ~trace_exception() = default;

    /// Its type's linker name, "St13runtime_error"; "" if it was no C++ exception. Of a very long
    /// name the beginning.
    std::string type;
    std::uintptr_t handler = 0;  ///< the entry of the function that caught it; 0 if unknown
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
    bool ended = false;            ///< the thread was no more when the trace was read
};

/// The function that a call came from.
struct trace_caller {
    FTRACE_NOTRACE trace_caller() = default;
    FTRACE_NOTRACE trace_caller(const trace_caller&) = default;
    FTRACE_NOTRACE trace_caller(trace_caller&&) = default;
    FTRACE_NOTRACE trace_caller& operator=(const trace_caller&) = default;
    FTRACE_NOTRACE trace_caller& operator=(trace_caller&&) = default;
    FTRACE_NOTRACE ~trace_caller() = default;

    std::string linker_name;
    std::uintptr_t offset =
        0;                 ///< of the return address; its size if the call is its last instruction
    std::size_t size = 0;  ///< 0 where nothing tells
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
    /// In time order, those of a thread in the order of recording.
    std::vector<trace_event> events;
    std::vector<std::uint64_t> argument_words;
    std::vector<trace_exception> exceptions;
    /// Linker names by address, of all functions called, and of those that caught an exception; ""
    /// where unknown.
    std::map<std::uintptr_t, std::string> symbols;
    /// By return address: who called. Where one is missing, `symbols` is asked.
    std::map<std::uintptr_t, trace_caller> callers;
    /// What the values of arguments are told by: classes and namespaces, where memory is, and the
    /// functions that may have other parameters than their names say.
    scope_facts scopes;
    address_ranges memory;
    std::set<std::uintptr_t> changeable;
    std::uint64_t written = 0;  ///< events recorded, those since overwritten included
    std::uint64_t overwritten = 0;
    std::uint64_t dropped = 0;  ///< not recorded, because the buffer was full or could not be had
};

}  // namespace ftrace::inline v0
