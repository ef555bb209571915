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
#include <ftrace/sites/filter.hpp>
#include <ftrace/sites/match.hpp>
#include <ftrace/sites/nearest.hpp>
#include <ftrace/trace/clock.hpp>
#include <ftrace/trace/function_graph_tracer.hpp>
#include <ftrace/trace/function_tracer.hpp>
#include <ftrace/trace/reader.hpp>
#include <ftrace/trace/snapshot.hpp>
#include <ftrace/trace/spelling.hpp>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace ftrace::inline v0 {

struct tracer_options {
    /// Whether the argument registers of each call, and the first word of each result, are
    /// recorded. Costs time and memory: a call takes 192 bytes of buffer instead of 32.
    bool arguments = true;
    /// Of each thread, in KiB, rounded up to a power of two. Memory is taken as it is written.
    std::size_t buffer_kb = 4096;
    /// Whether a full buffer keeps the newest events (the kernel's default), or the first ones.
    overflow when_full = overflow::overwrite;
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
        : name_(name), is_graph_(name_ == "function_graph"), options_(options) {
        function_.private_data = graph_.private_data = &recorder_;
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
    /// with `!` takes functions off the list again. Of function_graph only, and while it is
    /// stopped. The number of functions that match; errors: no_match, with the nearest names;
    /// invalid_argument, also where no function would be left, since that would mean all.
    FTRACE_NOTRACE result<std::size_t> set_graph_function(std::string_view patterns) {
        return detail::or_out_of_memory([&]() FTRACE_NOTRACE -> result<std::size_t> {
            const detail::library_work untraced;
            if (auto allowed = check_graph("set_graph_function()"); !allowed)
                return std::move(allowed).error();
            const std::vector<loaded_object> objects = detail::scan_loaded_objects();
            std::set<std::uintptr_t> chosen(graph_functions_.begin(), graph_functions_.end());
            std::size_t matched = 0;
            result<void> outcome;
            detail::for_each_pattern(patterns, [&](std::string_view word) FTRACE_NOTRACE {
                if (!outcome) return;
                auto pattern = name_pattern::parse(word);
                if (!pattern) {
                    outcome = std::move(pattern).error();
                    return;
                }
                std::size_t found = 0;
                match_sites(objects, *pattern,
                            [&](const loaded_object&, std::uintptr_t site, const name_forms&)
                                FTRACE_NOTRACE {
                                    ++found;
                                    if (pattern->negated())
                                        chosen.erase(site);
                                    else
                                        chosen.insert(site);
                                });
                matched += found;
                if (found == 0) outcome = no_graph_function(*pattern, objects);
            });
            if (!outcome) return std::move(outcome).error();
            if (matched == 0)
                return error{errc::invalid_argument,
                             "an empty list of graph functions: write a function's name"};
            if (chosen.empty())
                return error{
                    errc::invalid_argument,
                    "'" + std::string(patterns) +
                        "' leaves no graph function, which would mean all: name those that "
                        "are wanted, or leave functions out by set_notrace()"};
            graph_functions_.assign(chosen.begin(), chosen.end());
            return matched;
        });
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
    /// traced. Errors: already_registered; invalid_argument, an unknown tracer; and those of
    /// register_ftrace_function(). With an error nothing is traced, and the program runs on.
    FTRACE_NOTRACE result<void> start() {
        return detail::or_out_of_memory([&]() FTRACE_NOTRACE -> result<void> {
            if (is_graph()) (void)detail::prepare_graph();  // what it says, it says again
            const detail::library_work untraced(&function_, &graph_.ops);
            if (auto known = check_name(); !known) return known;
            if (running_) return error{errc::already_registered, "this tracer runs already"};
            recorder_.buffers.configure(options_.buffer_kb * 1024, options_.when_full);
            recorder_.arguments = options_.arguments;
            recorder_.graph_functions = graph_functions_.data();
            recorder_.graph_function_count = graph_functions_.size();
            if (name_ != "nop") recorder_.buffers.prepare_this_thread();
            if (begin_.ticks == 0) begin_ = detail::sample_clocks();
            unhooked_.begin();
            if (name_ == "function") {
                auto handle = register_ftrace_function(function_);
                if (!handle) return not_started(std::move(handle).error());
                function_handle_ = std::move(handle).value();
            } else if (is_graph()) {
                auto handle = register_ftrace_graph(graph_);
                if (!handle) return not_started(std::move(handle).error());
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
        unhooked_.end();
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
            detail::trace_reader(recorder_.buffers, detail::clock_scale::since(begin_), out).read();
        if (is_graph()) out.dropped += unhooked_.count();
        return out;
    }

    /// Calls since the first start() of which no thread's buffer knows; part of `dropped` in what
    /// read() returns. They had no room where they were made: `threads`, in a buffer, for want of
    /// memory, or because the thread has those of 258 tracers; `depth`, in a shadow stack of
    /// function_graph, for the threads are too many or the recursion is too deep. The latter are
    /// counted for the process: where several function_graph tracers run, each has those of all.
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

    [[nodiscard]] FTRACE_NOTRACE error not_started(error e) {
        unhooked_.end();
        return e;
    }

    [[nodiscard]] FTRACE_NOTRACE result<void> check_name() const {
        const auto names = available_tracers();
        for (const std::string_view known : names)
            if (known == name_) return {};
        return error{errc::invalid_argument,
                     "there is no tracer '" + name_ + "'" + detail::did_you_mean(name_, names)};
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

    [[nodiscard]] FTRACE_NOTRACE static error no_graph_function(
        const name_pattern& pattern, const std::vector<loaded_object>& objects) {
        std::string text = "no traceable function matches '" + pattern.text() + "'";
        const char* separator = "; nearest: ";
        for (const std::string& name : nearest_names(pattern, objects, 3)) {
            text += separator + name;
            separator = ", ";
        }
        return {errc::no_match, text};
    }

    std::string name_;
    bool is_graph_;  // it is asked where no template of std may be used
    tracer_options options_;
    bool running_ = false;
    detail::clock_sample begin_;
    std::vector<std::uintptr_t> graph_functions_;
    detail::unhooked_calls unhooked_;
    // Destroyed last: the buffers outlive the callbacks.
    detail::recorder recorder_;
    detail::function_ops function_;
    fgraph_ops graph_{&detail::record_entry, &detail::record_return};
    registration function_handle_;
    graph_registration graph_handle_;
};

}  // namespace ftrace::inline v0
