// The kernel's tracers for one's own program: choose one, filter, start, stop, read.
//
//     ftrace::tracer trace("function_graph");
//     if (auto set = trace.set_filter("*parse*"); !set) complain(set.error().message);
//     if (auto started = trace.start(); !started) complain(started.error().message);
//     ...
//     if (auto stopped = trace.stop(); !stopped) complain(stopped.error().message);
//     std::string text = to_text(trace.read());          // <ftrace/export/text.hpp>
#pragma once

#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <ftrace/core/config.hpp>
#include <ftrace/core/memory.hpp>
#include <ftrace/core/result.hpp>
#include <ftrace/core/thread_state.hpp>
#include <ftrace/ops/registry.hpp>
#include <ftrace/trace/clock.hpp>
#include <ftrace/trace/function_graph_tracer.hpp>
#include <ftrace/trace/function_tracer.hpp>
#include <ftrace/trace/graph_functions.hpp>
#include <ftrace/trace/reader.hpp>
#include <ftrace/trace/snapshot.hpp>
#include <ftrace/trace/spelling.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace ftrace::inline v0 {

struct tracer_options {
    /// Whether the argument registers of each call, and the result, are recorded. Costs time and
    /// memory: a call takes 192 bytes of buffer instead of 32, and its return 64.
    bool arguments = true;
    /// Of each thread, in KiB, rounded up to a power of two. Memory is taken as it is written.
    std::size_t buffer_kb = 4096;
    /// Whether a full buffer keeps the newest events (the kernel's default), or the first ones.
    overflow when_full = overflow::overwrite;

    // function_graph
    /// Whether results are recorded where arguments are not.
    bool results = false;
    /// Microseconds; calls that took less are left out. Entries are then written when calls end, so
    /// those of calls that have not ended are missing, too. start() takes 2 ms to know the clock.
    /// (0: no threshold.)
    std::uint64_t tracing_thresh = 0;
    static constexpr std::uint64_t longest_thresh = 1'000'000'000'000;  ///< 11 days
    /// Whether the time in which a thread did not run is part of durations. Without it each call
    /// and each end costs a system call, which asks for the thread's CPU time; and a call that
    /// another thread began has no known duration. Such a call is shown if the time between its
    /// beginning and its end reaches the threshold.
    bool sleep_time = true;
};

/// One tracer with its filters and buffers. Several may be active at once, each with its own.
///
/// Not copied, not moved; used from one thread at a time, except read(), which any thread may call.
/// The destructor stops tracing and frees the buffers.
class tracer {
public:
    /// "function", "function_graph" or "nop" (records nothing). Another name is an error of start()
    /// and of the filters.
    FTRACE_NOTRACE explicit tracer(std::string_view name, tracer_options options = {})
        : name_(name),
          is_graph_(name_ == "function_graph"),
          options_(options),
          graph_(&detail::record_entry, &detail::record_return, &recorder_,
                 {.call_data =
                      detail::held_call::bytes(options.tracing_thresh != 0, options.arguments),
                  .no_x87 = true}) {
        function_.private_data = &recorder_;
    }
    tracer(const tracer&) = delete;
    tracer& operator=(const tracer&) = delete;
    FTRACE_NOTRACE ~tracer() { (void)stop(); }

    /// The names the constructor knows.
    [[nodiscard]] FTRACE_NOTRACE static std::vector<std::string_view> available_tracers() {
        return {"function_graph", "function", "nop"};
    }

    /// Adds the functions that match to those that are traced; without a filter all are. Patterns
    /// and errors as ftrace_ops::set_filter(). Takes effect at once, also while tracing.
    FTRACE_NOTRACE result<std::size_t> set_filter(std::string_view pattern) {
        return detail::or_out_of_memory([&]() FTRACE_NOTRACE -> result<std::size_t> {
            const detail::library_work untraced;
            if (auto known = check_name(); !known) return std::move(known).error();
            return is_graph() ? graph_.ops.set_filter(pattern) : function_.set_filter(pattern);
        });
    }
    /// Adds functions that are never traced, whatever the filter says.
    FTRACE_NOTRACE result<std::size_t> set_notrace(std::string_view pattern) {
        return detail::or_out_of_memory([&]() FTRACE_NOTRACE -> result<std::size_t> {
            const detail::library_work untraced;
            if (auto known = check_name(); !known) return std::move(known).error();
            return is_graph() ? graph_.ops.set_notrace(pattern) : function_.set_notrace(pattern);
        });
    }
    /// Adds functions whose calls are traced with all they call, and nothing else is; a pattern
    /// with `!` takes functions off the list again. What a call calls is what runs on its stack
    /// until it ends. Of function_graph only, and while it is stopped. The number of functions that
    /// match; errors: no_match, with the nearest names; invalid_argument, also where no function
    /// would be left, since that would mean all.
    FTRACE_NOTRACE result<std::size_t> set_graph_function(std::string_view patterns) {
        return change(graph_functions_, "set_graph_function()", patterns, false);
    }
    /// Adds functions whose calls are not traced, nor what they call, whatever else says they are. A
    /// call costs what it would if it was traced. `!`, conditions and errors as above; none may be
    /// left.
    FTRACE_NOTRACE result<std::size_t> set_graph_notrace(std::string_view patterns) {
        return change(graph_notrace_, "set_graph_notrace()", patterns, true);
    }
    /// Traces only calls with fewer than `depth` traced calls around them; 0: all. Of
    /// function_graph only, and while it is stopped.
    FTRACE_NOTRACE result<void> set_max_depth(int depth) {
        const detail::library_work untraced;
        if (auto allowed = check_graph("set_max_depth()"); !allowed) return allowed;
        if (depth < 0)
            return error{errc::invalid_argument,
                         "a depth of " + std::to_string(depth) + ": 0 is no limit, 1 the least"};
        recorder_.max_depth = depth;
        return {};
    }

    /// Starts tracing; events are added to those recorded before. When it returns, every thread is
    /// traced. Errors: already_registered; invalid_argument, an unknown tracer, or an option that it
    /// does not have; and those of register_ftrace_function(). With an error nothing is traced, and
    /// the program runs on.
    FTRACE_NOTRACE result<void> start() {
        return detail::or_out_of_memory([&]() FTRACE_NOTRACE -> result<void> {
            if (is_graph()) (void)detail::prepare_graph();  // what it says, it says again
            const detail::library_work untraced(&function_, &graph_.ops);
            if (auto known = check_name(); !known) return known;
            if (running_) return error{errc::already_registered, "this tracer runs already"};
            if (auto possible = check_thresh(); !possible) return possible;
            if (begin_.ticks == 0) begin_ = detail::sample_clocks();
            configure();
            if (name_ != "nop") recorder_.buffers.prepare_this_thread();
            if (name_ == "function") {
                auto handle = register_ftrace_function(function_);
                if (!handle) return std::move(handle).error();
                function_handle_ = std::move(handle).value();
            } else if (is_graph()) {
                auto handle = register_ftrace_graph(graph_);
                if (!handle) return std::move(handle).error();
                graph_handle_ = std::move(handle).value();
            }
            running_ = true;
            return {};
        });
    }

    /// Stops tracing. When it returns, nothing is recorded any more; the events stay, to be read.
    /// Errors: those of registration::unregister(). Without effect on a tracer that does not run.
    FTRACE_NOTRACE result<void> stop() {
        if (!running_) return {};
        const detail::library_work untraced;
        running_ = false;
        result<void> outcome;
        if (name_ == "function") outcome = function_handle_.unregister();
        if (is_graph()) outcome = graph_handle_.unregister();
        return outcome;
    }

    [[nodiscard]] FTRACE_NOTRACE bool running() const { return running_; }

    /// Everything recorded so far, of all threads in the order of time, with the names of the
    /// functions. Consumes nothing; works while tracing, too. The reading thread is not traced
    /// meanwhile. Within 2 ms of the first start it waits until they are over, to know the clock.
    [[nodiscard]] FTRACE_NOTRACE trace_snapshot read() const {
        const detail::internal_section untraced;
        trace_snapshot out;
        out.tracer = name_;
        const long cpus = ::sysconf(_SC_NPROCESSORS_CONF);
        out.cpus = cpus > 0 ? static_cast<unsigned>(cpus) : 1;
        const detail::tracer_buffers::reading reading(recorder_.buffers);
        if (recorder_.buffers.first() == nullptr)
            out.dropped = recorder_.buffers.lost_events();
        else
            detail::trace_reader(recorder_.buffers, detail::clock_scale::since(begin_),
                                 options_.sleep_time, out)
                .read();
        if (is_graph()) out.dropped += unhooked_.count();
        return out;
    }

    /// Calls since the first start() of which no thread's buffer knows; part of `dropped` in what
    /// read() returns. They had no room where they were made: `threads`, in a buffer, for want of
    /// memory, or because the thread has those of 258 tracers; `depth`, among the hooked calls of
    /// function_graph, for want of memory.
    struct unrecorded_calls {
        std::uint64_t threads;
        std::uint64_t depth;
    };
    [[nodiscard]] FTRACE_NOTRACE unrecorded_calls unrecorded() const {
        return {recorder_.buffers.lost_events(), is_graph() ? unhooked_.count() : 0};
    }

    /// Forgets everything recorded so far, and frees the buffers of threads that have ended. Until
    /// then each keeps its own: a page, and what it recorded.
    FTRACE_NOTRACE void clear() {
        recorder_.buffers.clear();
        unhooked_.clear();
    }

    [[nodiscard]] FTRACE_NOTRACE const std::string& name() const { return name_; }

private:
    [[nodiscard]] FTRACE_NOTRACE bool is_graph() const noexcept { return is_graph_; }

    [[nodiscard]] FTRACE_NOTRACE result<void> check_name() const {
        const auto names = available_tracers();
        for (const std::string_view known : names)
            if (known == name_) return {};
        return error{errc::invalid_argument,
                     "there is no tracer '" + name_ + "'" + detail::did_you_mean(name_, names)};
    }

    [[nodiscard]] FTRACE_NOTRACE result<void> check_thresh() const {
        if (options_.tracing_thresh != 0 && !is_graph())
            return error{errc::invalid_argument,
                         "tracing_thresh is for the tracer function_graph, and this is " + name_};
        if (options_.tracing_thresh > tracer_options::longest_thresh)
            return error{errc::invalid_argument,
                         "tracing_thresh is " + std::to_string(options_.tracing_thresh) +
                             " us: the most is " + std::to_string(tracer_options::longest_thresh)};
        return {};
    }

    [[nodiscard]] FTRACE_NOTRACE result<void> check_graph(const char* what) const {
        if (auto known = check_name(); !known) return known;
        if (!is_graph())
            return error{errc::invalid_argument, std::string(what) + " is for the tracer " +
                                                     "function_graph, and this is " + name_};
        if (running_)
            return error{errc::busy, std::string(what) + " while tracing: call stop() first"};
        return {};
    }

    FTRACE_NOTRACE result<std::size_t> change(detail::graph_functions& list, const char* what,
                                              std::string_view patterns, bool may_be_none) {
        return detail::or_out_of_memory([&]() FTRACE_NOTRACE -> result<std::size_t> {
            const detail::library_work untraced;
            if (auto allowed = check_graph(what); !allowed) return std::move(allowed).error();
            return list.change(patterns, may_be_none);
        });
    }

    /// What the callbacks go by.
    FTRACE_NOTRACE void configure() {
        recorder_.buffers.configure(options_.buffer_kb * 1024, options_.when_full);
        recorder_.arguments = options_.arguments;
        recorder_.results = options_.arguments || options_.results;
        recorder_.sleep_time = options_.sleep_time;
        recorder_.graph_functions = graph_functions_.list();
        recorder_.graph_notrace = graph_notrace_.list();
        if (options_.tracing_thresh == 0) return;
        recorder_.threshold = options_.tracing_thresh * 1000;
        recorder_.threshold_ticks = detail::clock_scale::since(begin_).ticks(recorder_.threshold);
    }

    std::string name_;
    bool is_graph_;  // it is asked where no template of std may be used
    tracer_options options_;
    bool running_ = false;
    detail::clock_sample begin_;
    detail::graph_functions graph_functions_, graph_notrace_;
    // Destroyed last: the buffers outlive the callbacks.
    detail::recorder recorder_;
    detail::function_ops function_;
    fgraph_ops graph_;
    detail::unhooked_calls unhooked_{graph_};
    registration function_handle_;
    graph_registration graph_handle_;
};

}  // namespace ftrace::inline v0
