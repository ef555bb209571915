// How long it takes to find what can be traced: a program of 100,000 functions with a site each.
//
//     bazel run --config=opt //benchmarks:list_time
#include "many_functions.hpp"

namespace {

void empty(unsigned long, unsigned long, ftrace::ftrace_ops&, ftrace::ftrace_regs&) noexcept {}

std::size_t listed() {
    std::size_t traceable = 0;
    for (const auto& function : ftrace::available_filter_functions())
        traceable += function.reason == ftrace::trace_reason::traceable;
    return traceable;
}

// All functions with their names, and for those without a site the reason.
void list_first_time(benchmark::State& state) {
    many::in_processes(state, [] {
        std::size_t found = 0;
        const double time = many::time_of([&] { found = listed(); });
        if (found < 100'000) std::abort();
        return time;
    });
}
void list_later(benchmark::State& state) {
    many::in_processes(state, [] {
        listed();
        return many::time_of([] { listed(); });
    });
}
void filter_by_pattern_first_time(benchmark::State& state) {
    many::in_processes(state, [] {
        static ftrace::ops<empty> op;
        return many::time_of([] { many::checked(op.set_filter("many_c_*")); });
    });
}
void filter_by_name_later(benchmark::State& state) {
    many::in_processes(state, [] {
        static ftrace::ops<empty> op;
        many::checked(op.set_filter("many_a_0"));
        return many::time_of([] { many::checked(op.set_filter("many_d_7")); });
    });
}
void filter_by_address_first_time(benchmark::State& state) {
    many::in_processes(state, [] {
        static ftrace::ops<empty> op;
        const auto address = reinterpret_cast<std::uintptr_t>(&many_begin);
        return many::time_of([&] { many::checked(op.set_filter_ip(address)); });
    });
}

BENCHMARK(list_first_time)->Apply(many::repeated);
BENCHMARK(list_later)->Apply(many::repeated);
BENCHMARK(filter_by_pattern_first_time)->Apply(many::repeated);
BENCHMARK(filter_by_name_later)->Apply(many::repeated);
BENCHMARK(filter_by_address_first_time)->Apply(many::repeated);

}  // namespace
