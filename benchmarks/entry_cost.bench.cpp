// What a call of a traced function costs, against stubs written by hand in the same run.
//
//     bazel run --config=opt //benchmarks:entry_cost
//
// Time is the thread's own CPU time; the repetitions of all rows take turns in random order, each
// is short, and the median of each row counts. Threads are pinned.
#include <ftrace/ops/direct.hpp>
#include <ftrace/probe/probe.hpp>

#include "call_cost.hpp"
#include "entry_cost_work.hpp"
#include "entry_limit.hpp"

namespace {

using namespace call_cost;

constexpr int calls = 1000;

// ---- What hangs on the site -----------------------------------------------------------------

template <int>
void empty(unsigned long, unsigned long, ftrace::ftrace_ops&, ftrace::ftrace_regs&) noexcept {}
FTRACE_GENERAL_REGS_ONLY void empty_integer(unsigned long, unsigned long, ftrace::ftrace_ops&,
                                            ftrace::integer_regs&) noexcept {}

template <class Op>
struct one_op {
    Op op;
    ftrace::registration handle;
    template <class... Args>
    explicit one_op(Args... args) : op(args...) {
        checked(op.set_filter("traced_work"));
        handle = checked(ftrace::register_ftrace_function(op));
    }
};
template <class Op>
attached attach() {
    return std::make_shared<one_op<Op>>();
}
template <class... Ops>
attached attach_all() {
    return std::shared_ptr<void>(new std::tuple<one_op<Ops>...>, [](void* all) {
        delete static_cast<std::tuple<one_op<Ops>...>*>(all);
    });
}
template <std::size_t... N>
attached attach_list(std::index_sequence<N...>) {
    return attach_all<ftrace::ops<empty<int{N}>>...>();
}
/// A function in between, which a compiler would write: the site jumps there.
int (*volatile behind_site)(int) noexcept;
FTRACE_NOTRACE int in_between(int x) noexcept {
    const int result = behind_site(x);
    __asm__ volatile("");  // no tail call
    return result;
}
struct one_direct {
    ftrace::detail::direct_ops op{reinterpret_cast<const void*>(&in_between)};
    ftrace::registration handle;
    one_direct() {
        checked(op.set_filter("traced_work"));
        const auto site = ftrace::detail::state_of(op).filter[0];
        behind_site = reinterpret_cast<int (*)(int) noexcept>(
            ftrace::detail::process()->registry->sites[site].address + ftrace::arch::site_size);
        handle = checked(ftrace::register_ftrace_function(op));
    }
};
attached attach_direct() { return std::make_shared<one_direct>(); }
attached attach_probe() {
    return std::make_shared<ftrace::typed_probe>(
        checked(ftrace::probe<&traced_work>([](int&) {}, [](int&) {})));
}
attached attach_dynamic() { return std::make_shared<one_op<ftrace::ftrace_ops>>(&empty<0>); }
attached attach_registry() {
    struct two {
        ftrace::registry<ftrace::ops<empty<0>>, ftrace::ops<empty<1>>> all;
        decltype(checked(all.register_all())) handles;
        two() {
            checked(all.get<0>().set_filter("traced_work"));
            checked(all.get<1>().set_filter("traced_work"));
            handles = checked(all.register_all());
        }
    };
    return std::make_shared<two>();
}

template <int>
__attribute__((noinline)) int unrelated(int x) {
    __asm__ volatile("" : "+r"(x));
    return x;
}
/// 100 ops, each on a function of its own, and one on the function that is called.
template <std::size_t... N>
attached attach_beside(std::index_sequence<N...>) {
    struct all {
        std::vector<std::unique_ptr<ftrace::ftrace_ops>> ops;
        std::vector<ftrace::registration> handles;
        attached own = attach<ftrace::ops<empty<0>>>();
    };
    auto beside = std::make_shared<all>();
    int (*const functions[])(int) = {unrelated<int{N}>...};
    for (auto* const function : functions) {
        beside->ops.push_back(std::make_unique<ftrace::ftrace_ops>(&empty<1>));
        checked(beside->ops.back()->set_filter_ip(reinterpret_cast<std::uintptr_t>(function)));
        beside->handles.push_back(checked(ftrace::register_ftrace_function(*beside->ops.back())));
    }
    return beside;
}

template <void (*Stub)()>
attached attach_limit() {
    return std::make_shared<by_hand>(reinterpret_cast<const void*>(&traced_work), Stub);
}
attached attach_two() { return attach_list(std::make_index_sequence<2>{}); }
attached attach_ten() { return attach_list(std::make_index_sequence<10>{}); }
attached attach_unrelated() { return attach_beside(std::make_index_sequence<100>{}); }

// ---- Rows -----------------------------------------------------------------------------------

struct row {
    const char* name;
    attached (*attach)();
    const char* limit;  // the row it is compared with
    double wanted;      // at most this times the limit; 0: no such wish
};
constexpr const char *plain = "compiled without sites", *nop = "site, nothing attached",
                     *limit_of_integer = "by hand: ARGS_INTEGER", *limit_of_args = "by hand: ARGS",
                     *limit_of_full = "by hand: SAVE_REGS",
                     *guarded_integer = "by hand: ARGS_INTEGER, guard and errno",
                     *guarded_args = "by hand: ARGS, guard and errno",
                     *guarded_full = "by hand: SAVE_REGS, guard and errno", *one_args = "ARGS",
                     *one_more_call = "one more call, by a jump to a function in between";

constexpr row rows[] = {
    {plain, attach_nothing, nullptr, 0},
    {nop, attach_nothing, plain, 1.00},
    {limit_of_integer, attach_limit<limit_integer>, nullptr, 0},
    {guarded_integer, attach_limit<limit_integer_guarded>, limit_of_integer, 0},
    {"ARGS_INTEGER", attach<ftrace::ops<empty_integer, ftrace::ARGS_INTEGER>>, limit_of_integer, 0},
    {limit_of_args, attach_limit<limit_args>, nullptr, 0},
    {guarded_args, attach_limit<limit_args_guarded>, limit_of_args, 0},
    {one_args, attach<ftrace::ops<empty<0>>>, limit_of_args, 1.10},
    {limit_of_full, attach_limit<limit_full>, nullptr, 0},
    {guarded_full, attach_limit<limit_full_guarded>, limit_of_full, 0},
    {"SAVE_REGS", attach<ftrace::ops<empty<0>, ftrace::SAVE_REGS>>, limit_of_full, 1.10},
    {one_more_call, attach_direct, nullptr, 0},
    {"typed probe, entry and exit", attach_probe, one_more_call, 2.00},
    {"ARGS, callback chosen at run time", attach_dynamic, one_args, 0},
    {"ARGS, registry of 2", attach_registry, one_args, 0},
    {"ARGS, 2 ops", attach_two, one_args, 0},
    {"ARGS, 10 ops", attach_ten, one_args, 0},
    {"ARGS, 100 unrelated ops elsewhere", attach_unrelated, one_args, 1.02},
};
constexpr const char* two_threads = "ARGS, two threads at once";

attached on_site;

template <int (*Work)(int) noexcept>
void measure(benchmark::State& state) {
    pin(state.thread_index());
    move_stack();
    int x = 1;
    for (int i = 0; i < calls; ++i) x = Work(x);  // pages, caches, predictors
    for (auto _ : state) {
        for (int i = 0; i < calls; ++i) x = Work(x);
        benchmark::DoNotOptimize(x);
    }
}

// ---- The table ------------------------------------------------------------------------------

class table : public row_times {
public:
    void Finalize() override {
        std::printf(
            "| a call of a function | ns | of the limit | wanted | the limit |\n"
            "| --- | ---: | ---: | ---: | --- |\n");
        for (const row& each : rows) {
            if (!has(each.name)) continue;
            const double time = median(each.name) / calls;
            std::printf("| %s | %.2f |", each.name, time);
            if (each.limit == nullptr || !has(each.limit)) {
                std::printf(" | | |\n");
                continue;
            }
            std::printf(" %.2f |", time * calls / median(each.limit));
            if (each.wanted != 0) std::printf(" %.2f", each.wanted);
            std::printf(" | %s |\n", each.limit);
        }
        if (has(two_threads) && has(one_args))
            std::printf("\nTwo threads do %.2f times the calls of one (wanted: 1.95).\n",
                        2 * median(one_args) / median(two_threads));
    }
};

template <int Row>
void set_up(const benchmark::State&) {
    on_site = rows[Row].attach();
}
void tear_down(const benchmark::State&) { on_site.reset(); }

template <std::size_t... Row>
void add_rows(std::index_sequence<Row...>) {
    (benchmark::RegisterBenchmark(
         rows[Row].name, rows[Row].name == plain ? measure<plain_work> : measure<traced_work>)
         ->Setup(set_up<int{Row}>)
         ->Teardown(tear_down),
     ...);
}

}  // namespace

int main(int argc, char** argv) {
    pin(0);
    add_rows(std::make_index_sequence<std::size(rows)>{});
    constexpr int args_row = 7;
    static_assert(rows[args_row].name == one_args);
    benchmark::RegisterBenchmark(two_threads, measure<traced_work>)
        ->Setup(set_up<args_row>)
        ->Teardown(tear_down)
        ->Threads(2);
    table report;
    return run(argc, argv, report);
}
