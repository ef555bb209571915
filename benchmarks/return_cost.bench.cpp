// What it costs to hook the entry and the return of a function, against hooks written by hand in the same run, and those of
// compilers.
//
//     bazel run --config=opt //benchmarks:return_cost
//     benchmarks/return_cost.sh            the same without Bazel, with clang's XRay
//
// Time is the thread's own CPU time; the repetitions of all rows take turns in random order, each is short, and the median
// of each row counts. What is compared is the time over that of the same calls without hooks.
#include <ftrace/graph/fgraph.hpp>
#include <ftrace/probe/probe.hpp>
#include <ftrace/trace/tracer.hpp>
#include <iterator>

#include "call_cost.hpp"
#include "return_limit.hpp"

namespace {

using namespace call_cost;

// ---- What hangs on the sites ----------------------------------------------------------------

template <void (*Stub)()>
attached attach_by_hand() {
    struct both {
        by_hand work{reinterpret_cast<const void*>(&traced_work), Stub};
        by_hand nested{reinterpret_cast<const void*>(&traced_nested), Stub};
    };
    return std::make_shared<both>();
}

bool on_entry(const ftrace::ftrace_graph_ent&, ftrace::fgraph_ops&, ftrace::ftrace_regs&) noexcept {
    return true;
}
void on_return(const ftrace::ftrace_graph_ret&, ftrace::fgraph_ops&,
               ftrace::ftrace_regs&) noexcept {}
template <ftrace::fgraph_ops::entry_func Entry, bool NoX87>
attached attach_graph() {
    struct hooked {
        ftrace::fgraph_ops ops{Entry, on_return, nullptr, {.no_x87 = NoX87}};
        ftrace::graph_registration handle;
        hooked() {
            checked(ops.ops.set_filter("traced_work"));
            checked(ops.ops.set_filter("traced_nested"));
            handle = checked(ftrace::register_ftrace_graph(ops));
        }
    };
    return std::make_shared<hooked>();
}
void on_entry_only(unsigned long, unsigned long, ftrace::ftrace_ops&,
                   ftrace::ftrace_regs&) noexcept {}
attached attach_ops() {
    struct hooked {
        ftrace::ops<on_entry_only> op;
        ftrace::registration handle;
        hooked() {
            checked(op.set_filter("traced_work"));
            handle = checked(ftrace::register_ftrace_function(op));
        }
    };
    return std::make_shared<hooked>();
}
attached attach_graph_entry() {
    struct hooked {
        ftrace::fgraph_ops ops{on_entry, nullptr};
        ftrace::graph_registration handle;
        hooked() {
            checked(ops.ops.set_filter("traced_work"));
            handle = checked(ftrace::register_ftrace_graph(ops));
        }
    };
    return std::make_shared<hooked>();
}
attached attach_probe() {
    return std::make_shared<ftrace::typed_probe>(
        checked(ftrace::probe<&traced_work>([](int&) {}, [](int&) {})));
}
/// What is written in line in recorded_in_line().
attached attach_recording_probe() {
    const auto function = reinterpret_cast<std::uint64_t>(&traced_work);
    return std::make_shared<ftrace::typed_probe>(checked(ftrace::probe<&traced_work>(
        [function](int&) { return ring_by_hand.add(1, function, 0); },
        [function](int&, std::uint64_t& began) { ring_by_hand.add(2, function, began); })));
}
attached attach_tracer() {
    struct running {
        ftrace::tracer trace{"function_graph", {.arguments = false}};
        running() {
            checked(trace.set_filter("traced_work"));
            checked(trace.set_filter("traced_nested"));
            if (auto started = trace.start(); !started) {
                std::fprintf(stderr, "%s\n", started.error().message.c_str());
                std::exit(1);
            }
        }
    };
    return std::make_shared<running>();
}
template <const compiler_hooks& Hooks, bool Records>
attached attach_compiled() {
    if (!Hooks.attach(Records)) {
        std::fprintf(stderr, "the hooks of a compiler cannot be attached\n");
        std::exit(1);
    }
    static char token;
    return attached(&token, [](void*) { Hooks.detach(); });
}

// ---- Rows -----------------------------------------------------------------------------------

constexpr int most_calls = 1000;

/// Calls in a row, each waiting for the one before.
template <int (*Work)(int) noexcept>
int call(int x, int) noexcept {
    for (int i = 0; i < most_calls; ++i) x = Work(x);
    return x;
}
template <int (*Nested)(int, int) noexcept>
int call_nested(int x, int depth) noexcept {
    for (int i = 0; i < most_calls / depth; ++i) x = Nested(x, depth - 1);
    return x;
}
int call_instrumented(int x, int) noexcept {
    for (int i = 0; i < most_calls; ++i) x = instrumented.work(x);
    return x;
}
int call_xray(int x, int) noexcept {
    for (int i = 0; i < most_calls; ++i) x = xray.work(x);
    return x;
}

struct row {
    std::string name;
    attached (*attach)();
    int (*calls)(int, int) noexcept;
    std::string limit;  // the row it is compared with
    double wanted = 0;  // at most this times the limit; 0: no such wish
    int depth = 0;      // of nested calls
    int events = 0;     // that a call writes into the ring by hand

    [[nodiscard]] int count() const { return depth == 0 ? most_calls : most_calls / depth * depth; }
    /// The same calls, without hooks.
    [[nodiscard]] std::string plain() const {
        return depth == 0 ? "compiled without sites" : "without sites, " + at_depth(depth);
    }
    static std::string at_depth(int depth) {
        return depth == 1 ? "nested 1 deep" : "nested " + std::to_string(depth) + " deep";
    }
};

constexpr int depths[] = {1, 8, 32, 1000};

std::vector<row> all_rows() {
    const char *bare = "by hand, bare", *called = "by hand, empty functions called",
               *only_entry = "an ops, entry only",
               *in_line = "in line: two rdtsc, two events of 32 bytes";
    std::vector<row> rows = {
        {"compiled without sites", attach_nothing, call<plain_work>, ""},
        {"site, nothing attached", attach_nothing, call<traced_work>, ""},
        {bare, attach_by_hand<hijack_bare>, call<traced_work>, ""},
        {called, attach_by_hand<hijack_called>, call<traced_work>, ""},
        {"by hand, guard and errno, too", attach_by_hand<hijack_guarded>, call<traced_work>,
         called},
        {"fgraph_ops, empty callbacks, no_x87", attach_graph<on_entry, true>, call<traced_work>,
         called, 1.10},
        {"fgraph_ops, empty callbacks", attach_graph<on_entry, false>, call<traced_work>, called,
         1.10},
        {"fgraph_ops, no entry callback, no_x87", attach_graph<nullptr, true>, call<traced_work>,
         called},
        {only_entry, attach_ops, call<traced_work>, ""},
        {"fgraph_ops, no return callback", attach_graph_entry, call<traced_work>, only_entry},
        {"typed probe, entry and exit", attach_probe, call<traced_work>, called},
        {"-finstrument-functions, empty hooks", attach_compiled<instrumented, false>,
         call_instrumented, called},
        {"XRay, empty handler", attach_compiled<xray, false>, call_xray, called},
        {in_line, attach_nothing, call<recorded_in_line>, "", 0, 0, 2},
        {"in line: two rdtsc, one event", attach_nothing, call<recorded_in_one_event>, in_line, 0,
         0, 1},
        {"typed probe, the same recorded", attach_recording_probe, call<traced_work>, in_line, 1.15,
         0, 2},
        {"function_graph without arguments", attach_tracer, call<traced_work>, in_line, 1.15},
        {"-finstrument-functions, the same recorded", attach_compiled<instrumented, true>,
         call_instrumented, in_line, 0, 0, 2},
        {"XRay, the same recorded", attach_compiled<xray, true>, call_xray, in_line, 0, 0, 2},
    };
    if (&xray == nullptr) std::erase_if(rows, [](const row& r) { return r.calls == call_xray; });
    struct nested {
        const char* name;
        attached (*attach)();
        int (*calls)(int, int) noexcept;
    };
    const nested kinds[] = {
        {"without sites", attach_nothing, call_nested<plain_nested>},
        {"by hand, empty functions called", attach_by_hand<hijack_called>,
         call_nested<traced_nested>},
        {"fgraph_ops, no_x87", attach_graph<on_entry, true>, call_nested<traced_nested>},
        {"function_graph without arguments", attach_tracer, call_nested<traced_nested>},
    };
    for (const nested& kind : kinds)
        for (const int depth : depths) {
            const std::string begin = std::string(kind.name) + ", ";
            const bool first = depth == depths[0] || kind.attach == attach_nothing;
            rows.push_back({begin + row::at_depth(depth), kind.attach, kind.calls,
                            first ? "" : begin + row::at_depth(depths[0]), 0, depth});
        }
    return rows;
}

attached on_site;

void measure(benchmark::State& state, const row& which) {
    pin(0);
    move_stack();
    on_site = which.attach();
    int x = 1;
    const std::uint64_t before = ring_by_hand.next;
    constexpr int warm_ups = 10;  // pages, caches, predictors
    for (int i = 0; i < warm_ups; ++i) x = which.calls(x, which.depth);
    const int events = warm_ups * which.count() * which.events;
    if (ring_by_hand.next - before != static_cast<std::uint64_t>(events)) {
        std::fprintf(stderr, "%s does not record what it should\n", which.name.c_str());
        std::exit(1);
    }
    for (auto _ : state) {
        x = which.calls(x, which.depth);
        benchmark::DoNotOptimize(x);
    }
    on_site.reset();
}

// ---- The table ------------------------------------------------------------------------------

class table : public row_times {
public:
    explicit table(const std::vector<row>& rows) : rows_(rows) {}
    void Finalize() override {
        std::printf(
            "| a call | ns | over a plain call | of the limit | wanted | the limit |\n"
            "| --- | ---: | ---: | ---: | ---: | --- |\n");
        for (const row& each : rows_) {
            if (!has(each.name)) continue;
            std::printf("| %s | %.2f |", each.name.c_str(), nanoseconds(each));
            if (each.name == each.plain() || !has(each.plain())) {
                std::printf(" | | | |\n");
                continue;
            }
            std::printf(" %.2f |", over_plain(each));
            const row* const limit = find(each.limit);
            if (limit == nullptr || !has(limit->name)) {
                std::printf(" | | |\n");
                continue;
            }
            std::printf(" %.2f |", over_plain(each) / over_plain(*limit));
            if (each.wanted != 0) std::printf(" %.2f", each.wanted);
            std::printf(" | %s |\n", limit->name.c_str());
        }
    }

private:
    double nanoseconds(const row& of) { return median(of.name) / of.count(); }
    double over_plain(const row& of) { return nanoseconds(of) - nanoseconds(*find(of.plain())); }
    [[nodiscard]] const row* find(const std::string& name) const {
        for (const row& each : rows_)
            if (each.name == name) return &each;
        return nullptr;
    }
    const std::vector<row>& rows_;
};

}  // namespace

int main(int argc, char** argv) {
    pin(0);
    void* const ring = ::mmap(nullptr, recorded_ring::size, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (ring == MAP_FAILED) return 1;
    ring_by_hand.events = static_cast<recorded_event*>(ring);
    const std::vector<row> rows = all_rows();
    for (const row& each : rows)
        benchmark::RegisterBenchmark(each.name.c_str(),
                                     [&each](benchmark::State& state) { measure(state, each); });
    table report(rows);
    return run(argc, argv, report);
}
