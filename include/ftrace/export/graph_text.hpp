// The trace of the `function_graph` tracer as the kernel prints it
// (kernel/trace/trace_functions_graph.c).
//
//      0)               |  main_loop() {      a call
//      0)   0.313 us    |    hash();          a leaf: the next event on the CPU is its return
//      0) + 12.917 us   |  }                  a return
//      0)   1.382 us    |  } /* refill */     a return whose call is not in the buffer
//
// What the kernel has no need of: calls that end otherwise. Their brace has the name, and says how:
//
//      0) + 51.300 us   |    } /* parse ! std::runtime_error, caught in main */
//      0)               |    } /* parse: longjmp */
//      0)   0.901 us    |    parse(); /* ! std::runtime_error, caught in main */
//
// and instead of "longjmp": "thread exit"; "tail call", of one that gave its place to the next in a
// long row of them; "abandoned", on the stack of a fiber that was dropped. When one of the first
// and the last ended is not known, so they have no duration.
//
// A call whose end is missing, since the trace does not reach so far or the event was lost, is
// closed as soon as the thread shows an event that cannot lie inside it, and behind the last event
// where the thread is over:
//
//      0)               |    } /* parse: no return */
//
// A call of a fiber that was switched away from is open there, too; its brace comes later, maybe on
// another thread, with its name.
#pragma once

#include <ftrace/core/config.hpp>
#include <ftrace/export/format.hpp>
#include <ftrace/export/graph_order.hpp>
#include <ftrace/export/names.hpp>
#include <ftrace/export/text_options.hpp>
#include <ftrace/trace/snapshot.hpp>

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace ftrace::inline v0::detail {

class graph_printer {
public:
    FTRACE_NOTRACE graph_printer(const trace_snapshot& trace, const text_options& options)
        : trace_(trace),
          options_(options),
          names_(trace, options.names),
          order_(trace, options.by_thread),
          threads_(trace.threads.size()) {
        for (unsigned highest = trace.cpus == 0 ? 0 : trace.cpus - 1; highest >= 10; highest /= 10)
            ++cpu_width_;
    }

    graph_printer(const graph_printer&) = delete;
    graph_printer& operator=(const graph_printer&) = delete;
    FTRACE_NOTRACE ~graph_printer() = default;

    [[nodiscard]] FTRACE_NOTRACE std::string print() {
        header();
        printed_.assign(trace_.events.size(), false);
        const std::size_t count = shown_events(trace_, options_);
        if (options_.by_thread) {
            std::vector<std::vector<std::size_t>> rows(trace_.threads.size());
            for (std::size_t i = 0; i < count; ++i) rows[trace_.events[i].thread].push_back(i);
            for (const auto& row : rows) {
                for (const std::size_t i : row) event(i);
                if (!row.empty()) close_ended(row.back());
            }
        } else {
            std::vector<std::size_t> last(trace_.threads.size(), none);
            for (std::size_t i = 0; i < count; ++i) {
                event(i);
                last[trace_.events[i].thread] = i;
            }
            for (const std::size_t i : last)
                if (i != none) close_ended(i);
        }
        for (const trace_thread& thread : trace_.threads)
            if (count == trace_.events.size() && thread.lost_after != 0)
                append_lost(out_, thread.last_cpu, thread.lost_after);
        return std::move(out_);
    }

private:
    static constexpr std::size_t none = graph_order::none;

    /// The open calls by depth; nullptr where the call is not known.
    using open_calls = std::vector<const trace_event*>;

    FTRACE_NOTRACE void header() {
        out_ = "# tracer: " + trace_.tracer + "\n#\n#";
        if (options_.funcgraph_abstime) out_ += "     TIME       ";
        if (options_.funcgraph_cpu) out_ += " CPU";
        if (options_.funcgraph_proc) out_ += "  TASK/PID       ";
        if (options_.funcgraph_duration) out_ += "  DURATION   ";
        out_ += "               FUNCTION CALLS\n#";
        if (options_.funcgraph_abstime) out_ += "      |         ";
        if (options_.funcgraph_cpu) out_ += " |  ";
        if (options_.funcgraph_proc) out_ += "   |    |        ";
        if (options_.funcgraph_duration) out_ += "   |   |      ";
        out_ += "               |   |   |   |\n";
    }

    /// Behind the last event of a thread that is over, nothing can return any more.
    FTRACE_NOTRACE void close_ended(std::size_t last) {
        const trace_event& e = trace_.events[last];
        const trace_thread& thread = trace_.threads[e.thread];
        const bool all = shown_events(trace_, options_) == trace_.events.size();
        if (!all || !thread.ended || thread.lost_after != 0 || threads_[e.thread].empty()) return;
        show_switch(e);
        close_deeper(e, 0);
    }

    FTRACE_NOTRACE void event(std::size_t i) {
        const trace_event& e = trace_.events[i];
        if (printed_[i]) return;  // the return of a leaf
        if (e.lost_before != 0) {
            append_lost(out_, e.cpu, e.lost_before);
            threads_[e.thread].clear();
        }
        show_switch(e);
        if (e.kind == event_kind::graph_return) {
            leave(i);
        } else {
            close_deeper(e, e.depth);
            enter(i);
        }
    }

    FTRACE_NOTRACE void enter(std::size_t i) {
        const trace_event& call = trace_.events[i];
        const std::size_t next = order_.next[i];
        const trace_event* const after = next == none ? nullptr : &trace_.events[next];
        const bool leaf = options_.funcgraph_leaf && after != nullptr &&
                          order_.partner[i] == next && after->lost_before == 0;
        line_start(call);
        if (leaf) {
            printed_[next] = true;
            duration(after->duration);
        } else {
            duration(trace_event::unknown);
        }
        indent(call.depth);
        out_ += names_.call(call, true);
        if (leaf) {
            out_ += ';';
            comment(call, after, false);
        } else {
            out_ += " {";
            comment(call, nullptr, false);
            auto& open = threads_[call.thread];
            open.resize(call.depth, nullptr);
            open.push_back(&call);
        }
        out_ += '\n';
    }

    /// The end of a call that is not open here (its line is missing, or it was closed since another
    /// stack took over, or began on another thread) has its name.
    FTRACE_NOTRACE void leave(std::size_t i) {
        const trace_event& e = trace_.events[i];
        auto& open = threads_[e.thread];
        const bool known = order_.partner[i] != none;
        const bool here =
            known && e.depth < open.size() && open[e.depth] == &trace_.events[order_.partner[i]];
        if (here || !known) close_deeper(e, e.depth + std::size_t{1});
        if ((here || !known) && e.depth < open.size()) open.resize(e.depth);
        line_start(e);
        duration(e.duration);
        indent(e.depth);
        out_ += '}';
        comment(e, &e, options_.funcgraph_tail || !here || e.end != graph_end::returned);
        out_ += '\n';
        if (options_.funcgraph_overrun) append(out_, " (Overruns: {})\n", e.overrun);
    }

    /// Closes the calls of this thread from `depth` on; those that have no return, visibly.
    FTRACE_NOTRACE void close_deeper(const trace_event& now, std::size_t depth) {
        auto& open = threads_[now.thread];
        while (open.size() > depth) {
            const trace_event* const left = open.back();
            open.pop_back();
            if (left == nullptr) continue;
            if (order_.partner[static_cast<std::size_t>(left - trace_.events.data())] != none)
                continue;
            line_start(now);
            duration(trace_event::unknown);
            indent(left->depth);
            out_ += "} /* " + names_.name(left->ip) + ": no return */\n";
        }
    }

    FTRACE_NOTRACE void line_start(const trace_event& e) {
        if (options_.funcgraph_abstime) {
            append_time(out_, e.time);
            out_ += " |  ";
        }
        if (options_.funcgraph_cpu) append(out_, " {:{}}) ", e.cpu, cpu_width_);
        if (options_.funcgraph_proc) {
            process(e.thread);
            out_ += " | ";
        }
    }

    /// Fourteen columns and the bar; `unknown` leaves them blank.
    FTRACE_NOTRACE void duration(std::uint64_t nanoseconds) {
        if (!options_.funcgraph_duration) return;
        if (nanoseconds == trace_event::unknown) {
            out_ += "              |  ";
            return;
        }
        out_ += options_.funcgraph_overhead ? duration_mark(nanoseconds) : ' ';
        out_ += ' ';
        append_duration(out_, nanoseconds);
        out_ += "|  ";
    }

    FTRACE_NOTRACE void indent(std::uint32_t depth) { out_.append(std::size_t{2} * depth, ' '); }

    /// "/* f <-main ret=-5 */": of these what is wanted and known. `back`: the end of the call.
    FTRACE_NOTRACE void comment(const trace_event& place, const trace_event* back, bool name) {
        std::string text;
        if (name) text += ' ' + names_.name(place.ip);
        if (options_.funcgraph_retaddr && place.parent_ip != 0)
            text += " <-" + names_.caller_place(place.parent_ip);
        if (back != nullptr && back->end != graph_end::returned)
            how_it_ended(text, *back);
        else if (back != nullptr && options_.funcgraph_retval)
            result(text, *back);
        if (!text.empty()) out_ += " /*" + text + " */";
    }

    FTRACE_NOTRACE void result(std::string& text, const trace_event& back) {
        const std::string value = names_.result(back);
        if (value.empty()) return;
        text += " ret=";
        if (options_.funcgraph_retval_hex)
            append(text, "{:#x}", back.return_value);
        else
            text += value;
    }

    FTRACE_NOTRACE void how_it_ended(std::string& text, const trace_event& back) {
        if (back.end == graph_end::exception)
            text += " ! " + names_.exception(back);
        else
            text.append(text.empty() ? " " : ": ").append(name_of(back.end));
    }
    [[nodiscard]] FTRACE_NOTRACE static const char* name_of(graph_end end) {
        switch (end) {
        case graph_end::returned: return "return";
        case graph_end::exception: return "exception";
        case graph_end::longjmp: return "longjmp";
        case graph_end::thread_exit: return "thread exit";
        case graph_end::tail_call: return "tail call";
        case graph_end::abandoned: return "abandoned";
        }
        return "unknown";
    }

    /// "   sh-4802    ": the first seven characters of the name and the id, centred in fourteen
    /// columns.
    FTRACE_NOTRACE void process(std::uint32_t thread) {
        const trace_thread& t = trace_.threads[thread];
        constexpr std::size_t width = 14, longest_name = 7;
        const std::string text = t.name.substr(0, longest_name) + '-' + std::to_string(t.tid);
        const std::size_t spaces = text.size() < width ? width - text.size() : 0;
        out_.append(spaces / 2, ' ').append(text).append(spaces - spaces / 2, ' ');
    }

    FTRACE_NOTRACE void show_switch(const trace_event& e) {
        // By thread there is one row of events, whatever CPUs they were on.
        const auto [last, first] = last_thread_.emplace(options_.by_thread ? 0 : e.cpu, e.thread);
        if (first || last->second == e.thread) return;
        out_ += " ------------------------------------------\n";
        append(out_, " {:{}}) ", e.cpu, cpu_width_);
        process(last->second);
        out_ += " => ";
        process(e.thread);
        out_ += "\n ------------------------------------------\n\n";
        last->second = e.thread;
    }

    const trace_snapshot& trace_;
    const text_options& options_;
    function_names names_;
    graph_order order_;
    std::vector<open_calls> threads_;
    std::vector<bool> printed_;
    std::map<std::uint32_t, std::uint32_t> last_thread_;
    int cpu_width_ = 1;
    std::string out_;
};

}  // namespace ftrace::inline v0::detail
