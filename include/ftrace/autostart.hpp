// Tracing switched on from outside. One file of a program includes this header, and the program
// obeys its environment:
//
//     FTRACE_TRACER          function, function_graph or nop; without it nothing happens
//     FTRACE_FILTER          functions to trace (patterns as in ftrace_ops::set_filter); all if unset
//     FTRACE_NOTRACE         functions not to trace
//     FTRACE_GRAPH_FUNCTION  functions to trace with all they call (function_graph)
//     FTRACE_GRAPH_NOTRACE   functions not to trace, nor what they call (function_graph)
//     FTRACE_MAX_DEPTH       how deep calls are followed (function_graph); 0: no limit
//     FTRACE_THRESH          microseconds: calls that took less are left out (function_graph); 0: none
//     FTRACE_OUTPUT          the file to write, %p in it is the process id; standard error if unset
//     FTRACE_BUFFER_KB       buffer of each thread, 4096 if unset
//     FTRACE_OPTIONS         kernel names of trace options, separated by commas, switched off by
//                            "no" before them: funcgraph-proc,nofunc-args. function_graph has
//                            funcgraph- abstime, args, cpu, duration, leaf, overhead, overrun, proc,
//                            retaddr, retval, retval-hex, tail, and sleep-time; function has
//                            func-args and irq-info; both have overwrite. What they do:
//                            <ftrace/export/text_options.hpp>, <ftrace/trace/tracer.hpp>
//
// Tracing starts before the constructors of the program's static objects. It ends, and the trace is
// written, when exit() has run their destructors and the program's atexit handlers; not after
// _exit(), quick_exit(), abort(), a deadly signal, or exec, with which all that was recorded goes.
// Programs with raised privileges (set-user-ID) obey nothing.
//
// Children inherit the environment. One of fork() that ends by exit() writes only if
// FTRACE_OUTPUT has a %p. A program that is executed is traced on its own account, if it includes
// this header: without %p it empties the file when it starts, and adds to it when it ends, as its
// parent does later.
//
// The file is that which FTRACE_OUTPUT names at the start, and standard error what it is then,
// wherever the program goes and whatever descriptors it closes; but a program that closes high ones
// too (closefrom) loses a trace that is for standard error.
//
// An empty variable is as good as none. One whose name is much like those above is a mistake; other
// names, FTRACE_DIR say, are other programs'.
//
// A mistake, such as an unknown name or a pattern that matches nothing, is one line on standard
// error, and the program runs untraced; a trace that cannot be written is one line, too, and so are
// calls that are missing in it for want of room. The program's exit code is its own in any case.
#pragma once

#include <errno.h>
#include <pthread.h>
#include <sys/auxv.h>
#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <ftrace/core/config.hpp>
#include <ftrace/core/result.hpp>
#include <ftrace/core/thread_state.hpp>
#include <ftrace/export/environment.hpp>
#include <ftrace/export/text.hpp>
#include <ftrace/ops/registry_state.hpp>
#include <ftrace/trace/output_file.hpp>
#include <ftrace/trace/spelling.hpp>
#include <ftrace/trace/tracer.hpp>
#include <new>
#include <string>
#include <string_view>
#include <utility>

namespace ftrace::inline v0::detail {

/// The one tracer of the process that the environment started. Lives until the process ends.
class autostart_session {
public:
    FTRACE_NOTRACE explicit autostart_session(const autostart_request& request)
        : request_(request),
          tracer_(request_.tracer, request_.recording),
          process_(::getpid()),
          for_children_(request_.output.find("%p") != std::string::npos) {}
    autostart_session(const autostart_session&) = delete;
    autostart_session& operator=(const autostart_session&) = delete;
    FTRACE_NOTRACE ~autostart_session() = default;

    [[nodiscard]] FTRACE_NOTRACE result<void> start() {
        if (!request_.filter.empty())
            if (auto set = tracer_.set_filter(request_.filter); !set)
                return of_patterns("FTRACE_FILTER", request_.filter, std::move(set).error());
        if (!request_.notrace.empty())
            if (auto set = tracer_.set_notrace(request_.notrace); !set)
                return of_patterns("FTRACE_NOTRACE", request_.notrace, std::move(set).error());
        if (!request_.graph_function.empty())
            if (auto set = tracer_.set_graph_function(request_.graph_function); !set)
                return of_patterns("FTRACE_GRAPH_FUNCTION", request_.graph_function,
                                   std::move(set).error());
        if (!request_.graph_notrace.empty())
            if (auto set = tracer_.set_graph_notrace(request_.graph_notrace); !set)
                return of_patterns("FTRACE_GRAPH_NOTRACE", request_.graph_notrace,
                                   std::move(set).error());
        if (request_.max_depth != 0)
            if (auto set = tracer_.set_max_depth(request_.max_depth); !set)
                return named("FTRACE_MAX_DEPTH", std::move(set).error());
        // A trace on standard error goes to what that is now, whatever the program makes of it.
        if (request_.output.empty())
            stderr_.duplicate(STDERR_FILENO);
        else if (auto opened = output_.open(request_.output); !opened)
            return named("FTRACE_OUTPUT", std::move(opened).error());
        else
            stderr_.watch(STDERR_FILENO);
        const bool has_thresh = request_.tracer == "function_graph";
        if (auto started = tracer_.start(); !started)
            return named(request_.recording.tracing_thresh == 0 || has_thresh ? "FTRACE_TRACER"
                                                                              : "FTRACE_THRESH",
                         std::move(started).error());
        return {};
    }

    /// Stops tracing, and writes what was recorded.
    FTRACE_NOTRACE void finish() {
        const bool child = ::getpid() != process_;
        if (child && !for_children_) return;
        (void)tracer_.stop();
        const internal_section untraced;
#if defined(__cpp_exceptions)
        try {
            write(child);
        } catch (...) {
            say("no memory for the text of the trace");
        }
#else
        write(child);
#endif
    }

    /// In a child of fork(): a descriptor that it inherited could keep a pipe open that everybody
    /// else has closed.
    FTRACE_NOTRACE void forget_files() noexcept {
        output_.forget();
        stderr_.forget();
    }

    /// One line on standard error, or rather on what that was when the session began.
    FTRACE_NOTRACE void say(const std::string& message) const {
        if (const int fd = stderr_.get(); fd >= 0) (void)write_all(fd, line_of(message));
    }
    [[nodiscard]] FTRACE_NOTRACE static std::string line_of(const std::string& message) {
        return "ftrace: " + message + "\n";
    }

private:
    [[nodiscard]] FTRACE_NOTRACE static error named(const char* variable, error e) {
        e.message = std::string(variable) + ": " + e.message;
        return e;
    }

    [[nodiscard]] FTRACE_NOTRACE static error of_patterns(const char* variable,
                                                          const std::string& patterns, error e) {
        const std::string list = e.code == errc::no_match ? list_meant(patterns) : std::string();
        if (!list.empty())
            e.message = "no traceable function matches '" + patterns +
                        "', but each part does: write ';' between them, '" + list + "'";
        return named(variable, std::move(e));
    }

    FTRACE_NOTRACE void write(bool child) {
        const std::string text = to_text(tracer_.read(), request_.text);
        result<void> written;
        if (request_.output.empty()) {
            if (const int fd = stderr_.get(); fd >= 0) (void)write_all(fd, text);
        } else {
            if (child) written = output_.open(request_.output);
            if (written) written = output_.write(text);
        }
        if (!written) say(named("FTRACE_OUTPUT", std::move(written).error()).message);
        const auto lost = tracer_.unrecorded();
        if (lost.depth != 0)
            say(std::to_string(lost.depth) +
                " calls were not recorded: there was no memory for function_graph's shadow stacks");
        if (lost.threads != 0)
            say(std::to_string(lost.threads) +
                " calls were not recorded: there was no memory for the buffers of their threads");
    }

    const autostart_request& request_;  ///< lives as long
    tracer tracer_;
    pid_t process_;
    bool for_children_;  ///< whether each process writes a file of its own
    output_file output_;
    kept_descriptor stderr_;
};

inline bool autostart_done = false;
inline autostart_session* autostarted = nullptr;

FTRACE_NOTRACE inline void finish_autostarted() { autostarted->finish(); }
FTRACE_NOTRACE inline void forget_files_of_autostarted() { autostarted->forget_files(); }

/// False: it did not start, and has said why.
[[nodiscard]] FTRACE_NOTRACE inline bool start_session(const autostart_request& request) {
    if (request.tracer == "function_graph") (void)prepare_graph();
    // Also around the end of start(), which is traced already.
    const library_work untraced;
    auto* const session = new (std::nothrow) autostart_session(request);
    if (session == nullptr) return false;
    if (const result<void> started = session->start(); !started) {
        (void)write_all(STDERR_FILENO, session->line_of(started.error().message));
        session->forget_files();
        delete session;
        return false;
    }
    autostarted = session;
    ::pthread_atfork(nullptr, nullptr, forget_files_of_autostarted);
    std::atexit(finish_autostarted);
    return true;
}

/// Starts what the environment asks for, or says why not.
FTRACE_NOTRACE inline void start_from_environment() {
    auto* const request = new (std::nothrow) autostart_request;
    if (request == nullptr) return;
    const result<void> known = read_environment(*request);
    if (!known) (void)write_all(STDERR_FILENO, autostart_session::line_of(known.error().message));
    const bool wanted = known && !request->tracer.empty();
    if (!wanted || !start_session(*request)) delete request;
}

/// Runs before the program's constructors. Where several files include this header, the first does.
__attribute__((constructor(101))) FTRACE_NOTRACE static void autostart() {
    if (std::exchange(autostart_done, true)) return;
    const int saved = errno;
    if (::getauxval(AT_SECURE) == 0) start_from_environment();
    errno = saved;
}

}  // namespace ftrace::inline v0::detail
