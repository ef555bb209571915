// Which functions are traced: patterns, exceptions from them, help with mistakes, and a list of
// what there is.
#include <ftrace/ftrace.hpp>
#include <ftrace/sites/demangle.hpp>
#include <ftrace/sites/symbols.hpp>

#include <cstdio>

namespace shop {
volatile int total = 0;
__attribute__((noinline)) void parse_order(int n) { total = total + n; }
__attribute__((noinline)) void parse_price(double p) { total = total + static_cast<int>(p); }
__attribute__((noinline)) void parse_price(int p) { total = total - p; }
__attribute__((noinline)) void deliver_parcel(int n) { total = total * n; }
}  // namespace shop

static void serve() {
    shop::parse_order(1);
    shop::parse_price(2.5);
    shop::parse_price(4);
    shop::deliver_parcel(3);
}

void on_call(unsigned long ip, unsigned long, ftrace::ftrace_ops&, ftrace::ftrace_regs&) noexcept {
    std::printf("    %s\n", ftrace::demangle(ftrace::symbol_of(ip).name).c_str());
}

static ftrace::ops<on_call> tracer;

static void show(const char* what, const ftrace::result<std::size_t>& matched) {
    if (matched)
        std::printf("%s: %zu function(s)\n", what, *matched);
    else
        std::printf("%s: error: %s\n", what, matched.error().message.c_str());
}

int main() {
    std::puts("What can be traced in shop:");
    for (const auto& f : ftrace::available_filter_functions())
        if (f.name.rfind("shop::", 0) == 0) std::printf("    %s\n", f.name.c_str());

    show("shop::parse*", tracer.set_filter("shop::parse*"));
    auto traced = ftrace::register_ftrace_function(tracer);
    if (!traced) return std::puts(traced.error().message.c_str()), 1;
    serve();

    // While tracing: a change is one transaction, no thread has to stop.
    show("... but not shop::parse_price(double)", tracer.set_notrace("shop::parse_price(double)"));
    serve();
    show("only shop::deliver_parcel", tracer.set_filter("shop::deliver_parcel", true));
    serve();
    show("shop::deliver_parsel", tracer.set_filter("shop::deliver_parsel"));
}
