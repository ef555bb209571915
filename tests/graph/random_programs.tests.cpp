#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <cstdlib>
#include <ftrace/ftrace.hpp>
#include <ftrace/graph/fgraph.hpp>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "random_comparison.hpp"

using namespace random_programs;

namespace {

using namespace ftrace;

// ---- The trace ------------------------------------------------------------------------------

struct trace {
    static constexpr std::size_t most = 20'000;
    std::vector<event> list = std::vector<event>(most);  // callbacks do not allocate
    std::size_t length = 0;
    void add(const event& one) {
        if (length == most) std::abort();
        list[length++] = one;
    }
    [[nodiscard]] std::span<const event> all() const { return {list.data(), length}; }
};
/// Of the thread, for each of two ops.
thread_local trace* traces[2];

unsigned function_at(unsigned long site) {
    for (unsigned i = 0; i < function_count; ++i)
        if (site - addresses[i] <= arch::farthest_site) return i;
    return function_count;
}

struct of_call {
    unsigned long number;
};
struct of_thread {
    unsigned long calls;
};

template <int Which>
bool on_entry(const ftrace_graph_ent& call, fgraph_ops&, ftrace_regs& regs) noexcept {
    if (traces[Which] == nullptr) return false;
    auto& mine = *static_cast<of_call*>(call.data);
    mine.number = ++static_cast<of_thread*>(call.thread_data)->calls;
    traces[Which]->add({true, mine.number, function_at(call.func), call.depth,
                        regs_get_stack_pointer(regs), {}, nullptr, 0, 0});
    return true;
}
template <int Which>
void on_return(const ftrace_graph_ret& call, fgraph_ops&, ftrace_regs& regs) noexcept {
    const unsigned function = function_at(call.func);
    unsigned long value = call.end == graph_end::returned ? call.retval : 0;
    if (call.end == graph_end::returned && function == number_of("floating")) {
        const double result = regs_get_return_value<double>(regs);
        __builtin_memcpy(&value, &result, sizeof value);
    }
    traces[Which]->add({false, static_cast<of_call*>(call.data)->number, function, call.depth, 0,
                        static_cast<way>(call.end), call.exception, call.handler, value});
}

}  // namespace

TEST_CASE("try", "[graph]") {
    static fgraph_ops ops(on_entry<0>, on_return<0>, nullptr, {sizeof(of_call), sizeof(of_thread)});
    REQUIRE(ops.ops.set_filter("random_programs::hooked::*").value() == function_count);
    auto registered = register_ftrace_graph(ops);
    REQUIRE(registered);
    stack_blocks blocks;
    trace list;
    comparison compared;
    traces[0] = &list;
    unsigned long calls = 0;
    unsigned from = 1, to = 2000;
    if (const char* one = std::getenv("RANDOM_PROGRAM")) from = to = unsigned(std::atoi(one));
    for (unsigned seed = from; seed <= to; ++seed) {
        program p = generator(seed, {true, std::getenv("DROPS") != nullptr, true, false}).generate();
        machine m(blocks, calls);
        machine_of_thread = &m;
        list.length = 0;
        run_program(m, p);
        end_program(m);
        calls = m.book.calls();
        const std::string wrong = compared.compare(m.book, list.all());
        if (!wrong.empty()) {
            std::fprintf(stderr, "seed %u: %s", seed, wrong.c_str());
            FAIL("seed " << seed);
        }
    }
    traces[0] = nullptr;
}
