// One of two shared libraries: LIBRARY is first_library or second_library.
#include "tests/packaging/library.hpp"

#include <ftrace/ftrace.hpp>
#include <ftrace/graph/fgraph.hpp>

#include <string>
#include <utility>

namespace {

int calls = 0;

FTRACE_NOTRACE void on_call(unsigned long, unsigned long, ftrace::ftrace_ops&,
                            ftrace::ftrace_regs&) noexcept {
    __atomic_add_fetch(&calls, 1, __ATOMIC_RELAXED);
}

ftrace::ops<on_call> counting;
std::string failure;

FTRACE_NOTRACE const char* attach(const char* filter) {
    auto matched = counting.set_filter(filter);
    if (!matched) return (failure = matched.error().message).c_str();
    auto registered = ftrace::register_ftrace_function(counting);
    if (!registered) return (failure = registered.error().message).c_str();
    static ftrace::registration handle;
    handle = std::move(registered).value();
    return "";
}

FTRACE_NOTRACE void detach() { (void)ftrace::unregister_ftrace_function(counting); }

FTRACE_NOTRACE int count() { return __atomic_load_n(&calls, __ATOMIC_RELAXED); }

int returned = 0;
FTRACE_NOTRACE void on_return(const ftrace::ftrace_graph_ret&, ftrace::fgraph_ops&,
                              ftrace::ftrace_regs&) noexcept {
    __atomic_add_fetch(&returned, 1, __ATOMIC_RELAXED);
}
ftrace::fgraph_ops graph(nullptr, on_return);
ftrace::graph_registration graph_handle;

FTRACE_NOTRACE const char* attach_graph(const char* filter) {
    auto matched = graph.ops.set_filter(filter);
    if (!matched) return (failure = matched.error().message).c_str();
    auto registered = ftrace::register_ftrace_graph(graph);
    if (!registered) return (failure = registered.error().message).c_str();
    graph_handle = std::move(registered).value();
    return "";
}
FTRACE_NOTRACE void detach_graph() { (void)graph_handle.unregister(); }
FTRACE_NOTRACE int ends() { return __atomic_load_n(&returned, __ATOMIC_RELAXED); }

__attribute__((noinline)) int work_in_library(int x) {
    asm volatile("");
    return x + 1;
}

constinit library_interface interface{attach,       detach,       count, work_in_library,
                                      attach_graph, detach_graph, ends,  &counting};

}  // namespace

FTRACE_NOTRACE const library_interface* LIBRARY() { return &interface; }
