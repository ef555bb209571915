// Prints its stack as it sees it itself, a line for each way of looking:
//
//     program traced|untraced calls|uncaught
//
// With `traced` every function that has a site is hooked. Return trampolines are left out: code of
// no object, or of one that calls them so. The rest is to be the same. Built with -rdynamic, and with
// WITH_BOOST or WITH_LIBUNWIND if those are there.
#include <dlfcn.h>
#include <execinfo.h>
#include <unwind.h>

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <exception>
#include <ftrace/ftrace.hpp>
#include <ftrace/graph/fgraph.hpp>
#include <stdexcept>
#ifdef WITH_BOOST
#include <boost/stacktrace.hpp>
#endif
#ifdef WITH_LIBUNWIND
#include <libunwind.h>
#endif

#define FUNCTION extern "C" __attribute__((noinline))

static int trampolines;

static FTRACE_NOTRACE bool is_trampoline(const char* name) {
    return std::strcmp(name, "ftrace_return_trampoline") == 0;
}
static FTRACE_NOTRACE void show_name(std::uintptr_t ip) {
    Dl_info info{};
    // The call, and not what follows it.
    const bool known = ::dladdr(reinterpret_cast<void*>(ip - 1), &info) != 0;
    if (!known || (info.dli_sname != nullptr && is_trampoline(info.dli_sname))) {
        ++trampolines;
    } else {
        std::fprintf(stderr, " %s", info.dli_sname != nullptr ? info.dli_sname : "?");
    }
}
static FTRACE_NOTRACE void begin(const char* how) {
    trampolines = 0;
    std::fprintf(stderr, "%s:", how);
}
static FTRACE_NOTRACE void end() {
    std::fprintf(stderr, "\n");
    std::printf("%d\n", trampolines);
}

FUNCTION FTRACE_NOTRACE void show_stack() {
    begin("backtrace");
    void* addresses[100];
    const int count = ::backtrace(addresses, 100);
    for (int i = 0; i < count; ++i) show_name(reinterpret_cast<std::uintptr_t>(addresses[i]));
    end();

    begin("_Unwind_Backtrace");
    ::_Unwind_Backtrace(
        [](_Unwind_Context* context, void*) FTRACE_NOTRACE {
            int is_exact = 0;
            const std::uintptr_t ip = ::_Unwind_GetIPInfo(context, &is_exact);
            if (ip != 0) show_name(is_exact != 0 ? ip + 1 : ip);
            return _URC_NO_REASON;
        },
        nullptr);
    end();

#ifdef WITH_LIBUNWIND
    begin("unw_step");
    unw_context_t context;
    unw_cursor_t cursor;
    unw_getcontext(&context);
    unw_init_local(&cursor, &context);
    do {
        unw_word_t ip = 0, offset = 0;
        unw_get_reg(&cursor, UNW_REG_IP, &ip);
        char name[200] = "?";
        if (unw_get_proc_name(&cursor, name, sizeof name, &offset) != 0 || is_trampoline(name))
            show_name(ip);
        else
            std::fprintf(stderr, " %s", name);
    } while (unw_step(&cursor) > 0);
    end();
#endif

#ifdef WITH_BOOST
    begin("boost");
    for (const boost::stacktrace::frame& frame : boost::stacktrace::stacktrace()) {
        const std::string name = frame.name();
        if (name.empty() || is_trampoline(name.c_str()))
            show_name(reinterpret_cast<std::uintptr_t>(frame.address()) + 1);
        else
            std::fprintf(stderr, " %s", name.c_str());
    }
    end();
#endif
}

static bool throws;
static volatile int told;

FUNCTION int innermost(int x) {
    if (throws) throw std::runtime_error("for nobody");
    show_stack();
    return x + 1;
}
FUNCTION int four(int x) {
    int result = innermost(x) + 1;
    told = told + 0;  // no call in the tail
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
    int result = two(x) + 1;
    told = told + 0;
    return result;
}

static FTRACE_NOTRACE void on_return(const ftrace::ftrace_graph_ret&, ftrace::fgraph_ops&,
                                     ftrace::ftrace_regs&) noexcept {}
static ftrace::fgraph_ops gops{nullptr, on_return};
static std::terminate_handler report;

FTRACE_NOTRACE int main(int count, char** arguments) {
    if (count != 3) return 2;
    ftrace::graph_registration registered;
    if (std::strcmp(arguments[1], "traced") == 0) {
        for (const char* name : {"innermost", "four", "three", "two", "one"})
            if (!gops.ops.set_filter(name)) return 3;
        auto made = ftrace::register_ftrace_graph(gops);
        if (!made) {
            std::puts(made.error().message.c_str());
            return 4;
        }
        registered = std::move(made).value();
    }
    throws = std::strcmp(arguments[2], "uncaught") == 0;
    report = std::set_terminate([]() FTRACE_NOTRACE {
        show_stack();
        std::fflush(stdout);
        report();
    });
    one(1);
    std::fflush(stdout);
    return 0;
}
