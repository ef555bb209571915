// One of two shared libraries: LIBRARY is first_library or second_library.
#include "tests/packaging/library.hpp"

#include <ftrace/ftrace.hpp>

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

__attribute__((noinline)) int work_in_library(int x) {
    asm volatile("");
    return x + 1;
}

constinit library_interface interface{attach, detach, count, work_in_library, &counting};

}  // namespace

FTRACE_NOTRACE const library_interface* LIBRARY() { return &interface; }
