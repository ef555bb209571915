// The shortest use: see every call of one function, with its caller.
//
//     g++ -std=c++20 -I include -I arch/x86_64/include -fpatchable-function-entry=5
//         examples/01_hello.cpp -o hello
#include <ftrace/ftrace.hpp>
#include <ftrace/sites/demangle.hpp>
#include <ftrace/sites/symbols.hpp>

#include <cstdio>

int greeted = 0;

// noinline: in a file as small as this the compiler would leave no call to trace.
__attribute__((noinline)) void greet(const char* whom) { std::printf("  Hello, %s!\n", whom); }

__attribute__((noinline)) void greet_all() {
    greet("kernel");
    greet("user space");
    greeted += 2;
}

// Runs at the entry of each traced function: it must be noexcept, and may call anything that does
// not wait for the traced code.
void on_call(unsigned long ip, unsigned long parent_ip, ftrace::ftrace_ops&,
             ftrace::ftrace_regs&) noexcept {
    std::printf("-> %s, called from %s\n", ftrace::demangle(ftrace::symbol_of(ip).name).c_str(),
                ftrace::demangle(ftrace::symbol_of(parent_ip).name).c_str());
}

static ftrace::ops<on_call> tracer;

int main() {
    std::puts("Not traced:");
    greet_all();

    if (auto set = tracer.set_filter("greet"); !set)
        return std::puts(set.error().message.c_str()), 1;
    auto traced = ftrace::register_ftrace_function(tracer);
    if (!traced) return std::puts(traced.error().message.c_str()), 1;
    std::puts("Traced:");
    greet_all();

    if (!traced->unregister()) return 1;
    std::puts("Not traced any more:");
    greet_all();
}
