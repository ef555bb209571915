// What gdb.sh looks at:
//
//     program traced|untraced calls|throws|uncaught|tail|waits
//
// With `traced` every function below that has a site is hooked. Those that have none are for
// breakpoints.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ftrace/ftrace.hpp>
#include <ftrace/graph/fgraph.hpp>
#include <stdexcept>

#define FUNCTION __attribute__((noinline))

volatile int told;
FTRACE_NOTRACE FUNCTION void stop_here() { told = told + 1; }
FTRACE_NOTRACE FUNCTION void begin_here() { told = told + 1; }
FTRACE_NOTRACE FUNCTION void in_callback() { told = told + 1; }

enum { calls, throws, uncaught, tail, waits, scenarios };
static constexpr const char* scenario_names[] = {"calls", "throws", "uncaught", "tail", "waits"};
static int scenario;
volatile bool returned;  // from `innermost`

FUNCTION int innermost(int x) {
    if (scenario == throws) throw std::runtime_error("for nothing");
    stop_here();
    if (scenario == uncaught) throw std::runtime_error("for nobody");
    if (scenario == waits) {
        std::puts("waiting");
        std::fflush(stdout);
        ::sleep(60);
    }
    return x + 1;
}
FUNCTION int four(int x) {
    begin_here();
    int result = innermost(x) + 1;
    returned = true;  // so it was no call in the tail
    return result;
}
FUNCTION int three(int x) {
    int result = four(x) + 1;
    told = told + 0;
    return result;
}
FUNCTION int two(int x) {
    int result = three(x) + 1;
    told = told + 0;
    return result;
}
FUNCTION int one(int x) {
    int result = -1;
    try {
        result = two(x) + 1;
    } catch (const std::logic_error&) {
        std::puts("wrong handler");
    }
    told = told + 0;
    return result;
}

// Calls in a tail from -O2 on.
FUNCTION int tail_three(int x) {
    stop_here();
    return x + told;
}
FUNCTION int tail_two(int x) {
    told = told + 0;
    return tail_three(x + 1);
}
FUNCTION int tail_one(int x) {
    told = told + 0;
    return tail_two(x + 1);
}

static FTRACE_NOTRACE void on_return(const ftrace::ftrace_graph_ret&, ftrace::fgraph_ops&,
                                     ftrace::ftrace_regs&) noexcept {
    in_callback();
}
static ftrace::fgraph_ops gops{nullptr, on_return};

FTRACE_NOTRACE int main(int count, char** arguments) {
    if (count != 3) return 2;
    while (scenario < scenarios && std::strcmp(arguments[2], scenario_names[scenario]) != 0)
        ++scenario;
    ftrace::graph_registration registered;
    if (std::strcmp(arguments[1], "traced") == 0) {
        for (const char* name : {"innermost", "four", "three", "two", "one", "tail_*"})
            if (!gops.ops.set_filter(name)) return 3;
        auto made = ftrace::register_ftrace_graph(gops);
        if (!made) {
            std::puts(made.error().message.c_str());
            return 4;
        }
        registered = std::move(made).value();
    }
    if (scenario == throws) {
        try {
            one(1);
        } catch (const std::runtime_error& e) {
            std::puts(e.what());
        }
    } else {
        std::printf("%d\n", scenario == tail ? tail_one(1) : one(1));
    }
    std::fflush(stdout);
    return 0;
}
