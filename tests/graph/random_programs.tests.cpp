// Random programs throw, catch, rethrow, jump, call in their tails, recurse, switch fibers and end their threads, and note
// what they do; what is traced of them has to be the same. A program is made of a number, the seed:
// RANDOM_PROGRAM=17 runs only that one of each test, RANDOM_PROGRAM_LISTS=1 prints the lists of all.
#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <cstdio>
#include <cstdlib>
#include <ftrace/ftrace.hpp>
#include <ftrace/graph/fgraph.hpp>
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
    const unsigned long id = ++made;
    static inline std::atomic<unsigned long> made{0};
    void add(const event& one) {
        if (length == most) std::abort();
        list[length++] = one;
    }
    [[nodiscard]] std::span<const event> all() const { return {list.data(), length}; }
};
/// Of the thread: where the callbacks of each of two ops write.
thread_local trace* traces[2];

unsigned function_at(unsigned long site) {
    for (unsigned i = 0; i < function_count; ++i)
        if (site - addresses[i] <= arch::farthest_site) return i;
    return function_count;
}

struct of_call {
    unsigned long number;
    unsigned long trace;
};
struct of_thread {
    unsigned long calls;
};
constexpr fgraph_options kept{sizeof(of_call), sizeof(of_thread)};

template <int Which>
bool on_entry(const ftrace_graph_ent& call, fgraph_ops&, ftrace_regs& regs) noexcept {
    if (traces[Which] == nullptr) return false;
    auto& mine = *static_cast<of_call*>(call.data);
    if (mine.number != 0) std::abort();  // zero is promised
    mine = {++static_cast<of_thread*>(call.thread_data)->calls, traces[Which]->id};
    traces[Which]->add({true, mine.number, function_at(call.func), call.depth,
                        ftrace::regs_get_stack_pointer(regs), way::returned, nullptr, 0, 0});
    return true;
}
template <int Which>
void on_return(const ftrace_graph_ret& call, fgraph_ops&, ftrace_regs& regs) noexcept {
    const auto& mine = *static_cast<of_call*>(call.data);
    // A thread may be told of calls that are left of a thread before it.
    if (traces[Which] == nullptr || mine.trace != traces[Which]->id) {
        if (call.end != graph_end::abandoned && call.end != graph_end::longjmp &&
            call.end != graph_end::thread_exit)
            std::abort();
        return;
    }
    const unsigned function = function_at(call.func);
    unsigned long value = call.end == graph_end::returned ? call.retval : 0;
    if (call.end == graph_end::returned && function == number_of("floating")) {
        const double result = ftrace::regs_get_return_value<double>(regs);
        __builtin_memcpy(&value, &result, sizeof value);
    }
    traces[Which]->add({false, mine.number, function, call.depth, 0, static_cast<way>(call.end),
                        call.exception, call.handler, value});
}
static_assert(way::returned == static_cast<way>(graph_end::returned));
static_assert(way::exception == static_cast<way>(graph_end::exception));
static_assert(way::longjmp == static_cast<way>(graph_end::longjmp));
static_assert(way::thread_exit == static_cast<way>(graph_end::thread_exit));
static_assert(way::tail_call == static_cast<way>(graph_end::tail_call));
static_assert(way::abandoned == static_cast<way>(graph_end::abandoned));

// ---- Running programs -----------------------------------------------------------------------

constexpr abilities all{!sanitized, false, true, false}, with_drops{!sanitized, true, true, false},
    with_exits{!sanitized, true, true, true};

struct counts {
    std::atomic<unsigned long> calls, ended[way_count], switches;
    void add(const machine& m) {
        switches += m.switches;
        for (const note& each : m.book.list())
            ++(each.entry ? calls : ended[static_cast<int>(each.ended)]);
    }
    unsigned long of(way how) const { return ended[static_cast<int>(how)]; }
};

bool is_wanted(unsigned seed) {
    static const char* const one = std::getenv("RANDOM_PROGRAM");
    return one == nullptr || seed == static_cast<unsigned>(std::atoi(one));
}

/// One thread's programs.
class runner {
public:
    explicit runner(abilities can, counts* sums = nullptr) : can_(can), sums_(sums) {}

    /// The program, without hooks: what it notes.
    notes run_alone(unsigned seed) {
        traces[0] = nullptr;
        const program made = generator(seed, can_).generate();
        machine m(blocks_, 0);
        run(m, made);
        return std::move(m.book);
    }
    /// The program, hooked. What is wrong with its trace; empty: nothing.
    std::string run_traced(unsigned seed) {
        begin(seed);
        run_once();
        return compare();
    }
    // In two halves, if it is to end its thread.
    void begin(unsigned seed) {
        made_ = generator(seed, can_).generate();
        machine_ = std::make_unique<machine>(blocks_, calls_);
        list.length = other_list.length = 0;
    }
    void run_once() {
        traces[0] = &list;
        traces[1] = &other_list;
        run(*machine_, made_);
    }
    std::string compare() {
        end_program(*machine_);
        calls_ = machine_->book.calls();
        if (sums_ != nullptr) sums_->add(*machine_);
        std::string wrong = compared.compare(machine_->book, list.all());
        if (wrong.empty() && std::getenv("RANDOM_PROGRAM_LISTS") != nullptr)
            wrong = "as asked for\n" + compared.both_lists(list.all());
        return wrong;
    }
    [[nodiscard]] const notes& book() const { return machine_->book; }

    trace list, other_list;
    comparison compared;

private:
    static void run(machine& m, const program& made) {
        machine_of_thread = &m;
        run_program(m, made);
        end_program(m);
    }
    abilities can_;
    counts* sums_;
    stack_blocks blocks_;
    program made_;
    std::unique_ptr<machine> machine_;
    unsigned long calls_ = 0;
};

std::atomic<unsigned> reported{0};
/// True if it agrees; prints the first few that do not.
bool agrees(unsigned seed, const std::string& wrong) {
    if (wrong.empty()) return true;
    if (reported++ < 3) std::fprintf(stderr, "random program %u: %s\n", seed, wrong.c_str());
    return false;
}

/// As a thread of its own, so that the data of threads are new.
template <class Work>
void in_thread(Work work) {
    std::thread(work).join();
}

/// What it does is the same with hooks: functions, ends, results.
bool did_the_same(const notes& one, const notes& other) {
    if (one.list().size() != other.list().size()) return false;
    for (std::size_t i = 0; i < one.list().size(); ++i) {
        const note &a = one.list()[i], &b = other.list()[i];
        if (a.entry != b.entry || a.function != b.function || a.ended != b.ended ||
            a.value != b.value || a.flight != b.flight)
            return false;
        if (a.flight >= 0 && one.flight_of(a.flight).handler != other.flight_of(b.flight).handler)
            return false;
    }
    return true;
}

struct hooked_by {
    explicit hooked_by(fgraph_ops& ops, const char* functions = "random_programs::hooked::*",
                       std::size_t count = function_count) {
        REQUIRE(ops.ops.set_filter(functions).value() == count);
        auto registered = register_ftrace_graph(ops);
        REQUIRE(registered);
        handle = std::move(registered).value();
    }
    graph_registration handle;
};

}  // namespace

TEST_CASE("random programs: the trace is what the program did, and the program does what it did",
          "[graph]") {
    counts sums{};
    std::vector<notes> alone;
    constexpr unsigned programs = 2000;
    in_thread([&] {
        runner runs(all);
        for (unsigned seed = 1; seed <= programs; ++seed)
            alone.push_back(is_wanted(seed) ? runs.run_alone(seed) : notes(0));
    });
    static fgraph_ops ops(on_entry<0>, on_return<0>, nullptr, kept);
    const hooked_by hooks(ops);
    unsigned wrong = 0, others = 0;
    in_thread([&] {
        runner runs(all, &sums);
        for (unsigned seed = 1; seed <= programs; ++seed) {
            if (!is_wanted(seed)) continue;
            if (!agrees(seed, runs.run_traced(seed))) ++wrong;
            if (!did_the_same(alone[seed - 1], runs.book())) ++others;
            if (wrong != 0) break;  // what follows is none the wiser
        }
    });
    CHECK(wrong == 0);
    CHECK(others == 0);
    if (std::getenv("RANDOM_PROGRAM") != nullptr || wrong != 0) return;
    // What they are for they do, and often.
    CHECK(sums.calls > 100'000);
    CHECK(sums.of(way::exception) > 10'000);
    CHECK(sums.of(way::longjmp) > 1'000);
    CHECK((sums.of(way::tail_call) > 500 || !calls_in_tails));
    CHECK((sums.switches > 10'000 || sanitized));
}

TEST_CASE("random programs: fibers that are dropped", "[graph]") {
    if (sanitized) SKIP("sanitizers do not follow fibers");
    static fgraph_ops ops(on_entry<0>, on_return<0>, nullptr, kept);
    const hooked_by hooks(ops);
    counts sums{};
    unsigned wrong = 0;
    in_thread([&] {
        runner runs(with_drops, &sums);
        for (unsigned seed = 1; seed <= 500 && wrong == 0; ++seed)
            if (is_wanted(seed) && !agrees(seed, runs.run_traced(seed))) ++wrong;
    });
    CHECK(wrong == 0);
    if (std::getenv("RANDOM_PROGRAM") == nullptr && wrong == 0)
        CHECK(sums.of(way::abandoned) > 200);
}

TEST_CASE("random programs: four threads, and two ops of which one has some functions only",
          "[graph]") {
    static fgraph_ops wide(on_entry<0>, on_return<0>, nullptr, kept);
    static fgraph_ops narrow(on_entry<1>, on_return<1>, nullptr, kept);
    const auto has_s = [](unsigned function) {
        return std::string_view(kinds[function].name).find('s') != std::string_view::npos;
    };
    std::size_t with_s = 0;
    for (unsigned i = 0; i < function_count; ++i) with_s += has_s(i) ? 1 : 0;
    const hooked_by some(narrow, "random_programs::hooked::*s*", with_s);
    const hooked_by every(wide);
    std::atomic<unsigned> wrong{0}, others{0};
    std::vector<std::thread> threads;
    for (unsigned t = 0; t < 4; ++t)
        threads.emplace_back([&, t] {
            runner runs(all);
            for (unsigned seed = 2001 + t * 200; seed < 2201 + t * 200; ++seed) {
                if (!is_wanted(seed)) continue;
                if (!agrees(seed, runs.run_traced(seed))) {
                    ++wrong;
                    break;
                }
                const std::string differs =
                    first_difference(runs.list.all(), runs.other_list.all(), has_s);
                if (!agrees(seed, differs)) ++others;
            }
        });
    for (std::thread& thread : threads) thread.join();
    CHECK(wrong == 0);
    CHECK(others == 0);
}

TEST_CASE("random programs: threads that end in the middle", "[graph]") {
    static fgraph_ops ops(on_entry<0>, on_return<0>, nullptr, kept);
    const hooked_by hooks(ops);
    counts sums{};
    unsigned wrong = 0;
    for (unsigned seed = 3001; seed <= 3500 && wrong == 0; ++seed) {
        if (!is_wanted(seed)) continue;
        runner runs(with_exits, &sums);
        runs.begin(seed);
        in_thread([&] { runs.run_once(); });
        if (!agrees(seed, runs.compare())) ++wrong;
    }
    CHECK(wrong == 0);
    if (std::getenv("RANDOM_PROGRAM") == nullptr && wrong == 0)
        CHECK(sums.of(way::thread_exit) > 500);
}

TEST_CASE("random programs: the comparison sees every event that is missing, late or wrong",
          "[graph]") {
    static fgraph_ops ops(on_entry<0>, on_return<0>, nullptr, kept);
    const hooked_by hooks(ops);
    unsigned long changes = 0, unseen = 0;
    in_thread([&] {
        runner runs(all);
        for (unsigned seed = 1; seed <= 30; ++seed) {
            const comparison before = runs.compared;
            if (!runs.run_traced(seed).empty()) return;  // another case's business
            const std::span<const event> right = runs.list.all();
            if (right.size() > 100) continue;  // it takes the square of the time
            const auto is_seen = [&](const std::vector<event>& changed) {
                comparison again = before;
                ++changes;
                if (again.compare(runs.book(), changed).empty()) ++unseen;
            };
            for (std::size_t i = 0; i < right.size(); ++i) {
                const auto at = static_cast<std::ptrdiff_t>(i);
                std::vector<event> changed(right.begin(), right.end());
                const auto with = [&](auto change) {
                    change(changed[i]);
                    is_seen(changed);
                    changed[i] = right[i];
                };
                with([](event& e) { ++e.depth; });
                with([](event& e) { e.function ^= 1; });
                with([](event& e) { ++e.call; });
                if (right[i].entry) {
                    with([](event& e) { e.slot += 8; });
                    with([](event& e) { e.entry = false; });
                } else {
                    with([](event& e) {
                        e.ended = e.ended == way::returned ? way::exception : way::returned;
                    });
                    with([](event& e) {
                        e.ended = e.ended == way::thread_exit ? way::tail_call : way::thread_exit;
                    });
                }
                if (!right[i].entry && right[i].ended == way::exception) {
                    with([](event& e) {
                        e.exception = e.exception == nullptr ? &typeid(long) : nullptr;
                    });
                    with([](event& e) { e.exception = &typeid(long); });
                    with([](event& e) { ++e.handler; });
                }
                const bool returns_number =
                    !kinds[right[i].function].returns_other && right[i].value != any_value;
                if (!right[i].entry && right[i].ended == way::returned && returns_number)
                    with([](event& e) { ++e.value; });
                changed.insert(changed.begin() + at, right[i]);
                is_seen(changed);  // twice
                changed.erase(changed.begin() + at);
                // Late ends that nothing shows need not be told, and may be told early or late.
                if (!right[i].entry && is_late(right[i].ended)) continue;
                if (i + 1 < right.size() && (right[i + 1].entry || !is_late(right[i + 1].ended))) {
                    std::swap(changed[i], changed[i + 1]);
                    is_seen(changed);
                    std::swap(changed[i], changed[i + 1]);
                }
                changed.erase(changed.begin() + at);
                is_seen(changed);
            }
        }
    });
    CHECK(changes > 2'000);
    CHECK(unseen == 0);
}
