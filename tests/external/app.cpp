// Prints the functions of this program and its library that can be traced, and how often a callback
// on all of them ran.
#include <ftrace/ftrace.hpp>

#include <cstdio>
#include <string_view>

#include "library.hpp"

namespace {

// Volatile: the compiler sees callers and callees, but not that a callback runs between them.
volatile int calls = 0;

FTRACE_NOTRACE void on_call(unsigned long, unsigned long, ftrace::ftrace_ops&,
                            ftrace::ftrace_regs&) noexcept {
    calls = calls + 1;
}

ftrace::ops<on_call> counting;

}  // namespace

namespace app {

__attribute__((noinline)) int work(int x) {
    asm volatile("");
    return library::half(2 * library::twice(x)) + 1;
}

}  // namespace app

FTRACE_NOTRACE int main() {
    int sites = 0;
    for (const char* filter : {"app::work", "library::twice"})
        if (counting.set_filter(filter)) ++sites;
    if (sites != 0) {
        auto handle = ftrace::register_ftrace_function(counting);
        if (!handle) return std::printf("%s\n", handle.error().message.c_str()), 1;
        if (app::work(20) != 41) return 1;
    }
    std::printf("%d sites, %d calls\n", sites, calls);
}
