// How long it takes to switch sites on and off. CPU time of the thread that does it, system calls
// included.
//
//     bazel run --config=opt //benchmarks:patch_time
#include <optional>

#include "many_functions.hpp"

namespace {

void empty(unsigned long, unsigned long, ftrace::ftrace_ops&, ftrace::ftrace_regs&) noexcept {}

/// An ops with a filter: finding functions by name is another matter (list_time).
struct filtered_ops {
    ftrace::ops<empty> op;
    std::optional<ftrace::registration> handle;

    explicit filtered_ops(std::int64_t sites) {
        std::size_t matched = many::checked(op.set_filter("many_a_*"));
        if (sites >= 100) matched += many::checked(op.set_filter("many_b_*"));
        if (sites >= 10'000) matched += many::checked(op.set_filter("many_c_*"));
        if (sites >= 100'000) matched += many::checked(op.set_filter("many_d_*"));
        if (matched != static_cast<std::size_t>(sites)) std::abort();
    }
    void on() { handle = many::checked(ftrace::register_ftrace_function(op)); }
    void off() { many::checked(handle->unregister()); }
};

template <class Prepare, class Action>
void measure(benchmark::State& state, Prepare prepare, Action action) {
    many::in_processes(state, [&] {
        filtered_ops op(state.range(0));
        prepare(op);
        return many::time_of([&] { action(op); });
    });
}

// Copies the pages of text, makes one nop of five, and reads names for the width of vector
// arguments.
void register_first_time(benchmark::State& state) {
    measure(state, [](filtered_ops&) {}, [](filtered_ops& op) { op.on(); });
}
// One function of 100,000, by its address: names are read of that one alone.
void register_by_address(benchmark::State& state) {
    many::in_processes(state, [] {
        ftrace::ops<empty> op;
        many::checked(op.set_filter_ip(reinterpret_cast<std::uintptr_t>(&many_begin)));
        std::optional<ftrace::registration> handle;
        return many::time_of([&] { handle = many::checked(ftrace::register_ftrace_function(op)); });
    });
}
void unregister(benchmark::State& state) {
    measure(state, [](filtered_ops& op) { op.on(); }, [](filtered_ops& op) { op.off(); });
}
void register_later(benchmark::State& state) {
    const auto prepare = [](filtered_ops& op) {
        op.on();
        op.off();
    };
    measure(state, prepare, [](filtered_ops& op) { op.on(); });
}
// The transaction over the text alone.
void switch_off(benchmark::State& state) {
    const auto prepare = [](filtered_ops& op) { op.on(); };
    measure(state, prepare, [](filtered_ops&) { many::checked(ftrace::set_enabled(false)); });
}
void switch_on_again(benchmark::State& state) {
    const auto prepare = [](filtered_ops& op) {
        op.on();
        many::checked(ftrace::set_enabled(false));
    };
    measure(state, prepare, [](filtered_ops&) { many::checked(ftrace::set_enabled(true)); });
}

void sizes(benchmark::internal::Benchmark* benchmark) {
    many::repeated(benchmark->Arg(1)->Arg(100)->Arg(10'000)->Arg(100'000));
}
BENCHMARK(register_first_time)->Apply(sizes);
BENCHMARK(register_by_address)->Apply(many::repeated);
BENCHMARK(register_later)->Apply(sizes);
BENCHMARK(unregister)->Apply(sizes);
BENCHMARK(switch_off)->Apply(sizes);
BENCHMARK(switch_on_again)->Apply(sizes);

}  // namespace
