// Records the calls of a scenario while it runs, and writes them as a tree.
//
//     TREE=FILE [FILTER=PATTERN] program
//
// hooks the functions of namespace scenario (or those that match PATTERN) before main, and writes
// FILE when the process ends; a child of fork writes FILE.NAME. Without TREE nothing is hooked.
//
// A line for each call, under its caller, with the way it ended if that is not a return. Alike
// calls in a row are one line, "(x 3)"; so are calls each of which is all that the one before
// called, "(3 deep)". A fiber's calls, and those on a signal stack, have a tree of their own,
// beside that of the thread that began it. Threads are sorted by their text.
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ftrace/args/registers.hpp>
#include <ftrace/graph/fgraph.hpp>
#include <ftrace/sites/name_forms.hpp>
#include <ftrace/sites/symbols.hpp>
#include <map>
#include <new>
#include <string>
#include <typeinfo>
#include <utility>
#include <vector>

#include "scenario.hpp"

namespace {

using ftrace::graph_end;

// One call. `began` and `ended` are moments of one clock that all threads advance; 0: not yet.
struct call {
    std::uintptr_t function;
    std::uintptr_t slot;
    std::uint64_t began, ended;
    const std::type_info* exception;
    std::uintptr_t handler;
    int depth;
    int thread;
    graph_end how;
};

constexpr std::size_t most_calls = 1 << 20;
// In the data of calls that are not listed.
constexpr std::uint64_t counted = ~std::uint64_t{0}, left_out = counted - 1;

struct count {
    std::uintptr_t function;
    std::uint64_t calls;
    std::uint64_t ends[8];
};

call* calls;
std::uint64_t used;
std::uint64_t clock_of_all;
std::uint64_t strange_ends;  // of a call that ended before, or that is another one
bool recording;
recorder::mode mode_now = recorder::mode::listed;
std::uint64_t left_out_calls, left_out_ends;
count counts[64];
const char* file;
char process_name[32];
pid_t first_process;
int threads;
int signal_to_raise, times_to_raise;
__thread int thread_number __attribute__((tls_model("initial-exec")));

std::uint64_t now() noexcept { return __atomic_add_fetch(&clock_of_all, 1, __ATOMIC_RELAXED); }

int this_thread() noexcept {
    if (thread_number == 0) thread_number = __atomic_add_fetch(&threads, 1, __ATOMIC_RELAXED);
    return thread_number;
}

count* count_of(std::uintptr_t function) noexcept {
    for (count& c : counts) {
        std::uintptr_t known = 0;
        if (__atomic_compare_exchange_n(&c.function, &known, function, false, __ATOMIC_RELAXED,
                                        __ATOMIC_RELAXED) ||
            known == function)
            return &c;
    }
    return nullptr;
}

void add_one(std::uint64_t& n) noexcept { __atomic_fetch_add(&n, 1, __ATOMIC_RELAXED); }

void raise_if_asked() noexcept {
    if (times_to_raise == 0) return;
    --times_to_raise;
    ::raise(signal_to_raise);
}

bool began(const ftrace::ftrace_graph_ent& e, ftrace::fgraph_ops&,
           ftrace::ftrace_regs& regs) noexcept {
    raise_if_asked();
    if (!recording) return false;
    std::uint64_t number = 0;
    if (mode_now == recorder::mode::left_out) {
        number = left_out;
        add_one(left_out_calls);
    } else if (mode_now == recorder::mode::counted) {
        number = counted;
        if (count* const c = count_of(e.func)) add_one(c->calls);
    } else {
        number = __atomic_fetch_add(&used, 1, __ATOMIC_RELAXED);
        if (number >= most_calls) return false;
        calls[number] = {e.func,  ftrace::regs_get_stack_pointer(regs),
                         now(),   0,
                         nullptr, 0,
                         e.depth, this_thread(),
                         {}};
        ++number;  // 0 would be a call that never began
    }
    std::memcpy(e.data, &number, sizeof number);
    return true;
}

void ended(const ftrace::ftrace_graph_ret& e, ftrace::fgraph_ops&, ftrace::ftrace_regs&) noexcept {
    raise_if_asked();
    if (!recording) return;
    std::uint64_t number;
    std::memcpy(&number, e.data, sizeof number);
    if (number == left_out) return add_one(left_out_ends);
    if (number == counted) {
        if (count* const c = count_of(e.func)) add_one(c->ends[static_cast<int>(e.end)]);
        return;
    }
    call* const known = number == 0 ? nullptr : &calls[number - 1];
    if (known == nullptr || known->ended != 0 || known->function != e.func ||
        known->depth != e.depth)
        return add_one(strange_ends);
    call& c = *known;
    c.exception = e.exception;
    c.handler = e.handler;
    c.how = e.end;
    c.ended = now();
}

// Names and labels.

std::string qualified_name(std::uintptr_t address) {
    static std::map<std::uintptr_t, std::string> known;
    std::string& name = known[address];
    if (!name.empty()) return name;
    ftrace::detail::demangler demangle;
    const std::string linker_name = ftrace::symbol_of(address).name;
    const ftrace::name_forms forms(demangle, linker_name, "", true);
    ftrace::detail::append_plain(name, forms.parts().qualified, false);
    // Coroutines consist of several functions: "f(int) [clone .actor]", "f(int) (.resume)".
    const std::string_view suffix = forms.parts().suffix;
    for (const char* part : {".actor", ".resume", ".destroy", ".cleanup"})
        if (suffix.find(part) != suffix.npos) name += part;
    return name;
}

// Whose names begin with it; in C there are no namespaces.
bool is_of_scenario(std::string_view name) {
    return name.starts_with("scenario::") || name.starts_with("scenario_");
}

std::string short_name(std::uintptr_t address) {
    std::string name = qualified_name(address);
    if (is_of_scenario(name)) name.erase(0, std::strlen("scenario_") + (name[8] == ':' ? 1 : 0));
    // A nested function of GNU C: "scale.0".
    const std::size_t number = name.find_last_not_of("0123456789");
    if (number + 1 < name.size() && name[number] == '.') name.resize(number);
    return name;
}

std::string type_name(const std::type_info* type) {
    if (type == nullptr) return "unknown";
    std::string name = ftrace::demangle(std::string("_ZTS") + type->name());
    const std::string_view prefix = "typeinfo name for ";
    if (name.starts_with(prefix)) name.erase(0, prefix.size());
    if (name.starts_with("scenario::")) name.erase(0, std::strlen("scenario::"));
    return name;
}

std::string label(const call& c) {
    std::string text = short_name(c.function);
    if (c.ended == 0) return text + "  ! no end";
    switch (c.how) {
    case graph_end::returned: break;
    case graph_end::exception:
        text += "  ! exception " + type_name(c.exception);
        if (c.handler != 0)
            text += " -> " + (is_of_scenario(qualified_name(c.handler)) ? short_name(c.handler)
                                                                        : "elsewhere");
        break;
    case graph_end::longjmp: text += "  ! longjmp"; break;
    case graph_end::thread_exit: text += "  ! thread exit"; break;
    case graph_end::tail_call: text += "  ! tail call"; break;
    case graph_end::abandoned: text += "  ! abandoned"; break;
    }
    return text;
}

// The tree.

struct group {
    std::size_t shape, times;
    bool operator<(const group& other) const {
        return std::pair(shape, times) < std::pair(other.shape, other.times);
    }
};
using groups = std::vector<group>;

// What a call and all below it look like. Equal ones exist once.
struct shape {
    std::string text;
    std::size_t deep;
    groups below;
    bool operator<(const shape& other) const {
        return std::tie(text, deep, below) < std::tie(other.text, other.deep, other.below);
    }
};

class tree {
public:
    tree() : count_(std::min<std::size_t>(used, most_calls)), parents_(count_), shapes_(count_) {
        if (used > most_calls) problems_ += "order: more calls than the recorder has room for\n";
        if (strange_ends != 0)
            problems_ +=
                "order: " + std::to_string(strange_ends) + " ends of no call that is open\n";
        find_parents();
        check_order();
        find_shapes();
    }

    std::string text() {
        std::string out;
        std::map<std::string, int> others;
        for (int t = 1; t <= threads; ++t) {
            groups roots;
            for (const std::size_t i : roots_)
                if (calls[i].thread == t) add(roots, shapes_[i]);
            if (roots.empty()) continue;
            std::string lines;
            for (const group& g : roots) print(lines, g, 1);
            if (t == 1)
                out += "main thread:\n" + lines;
            else
                ++others[lines];
        }
        for (const auto& [lines, times] : others)
            out +=
                (times == 1 ? "thread:\n" : "thread (x " + std::to_string(times) + "):\n") + lines;
        return out + problems_;
    }

private:
    static constexpr std::size_t none = ~std::size_t{0};

    // A call's caller is, of the calls that are open and one less deep, that whose return address
    // lies nearest above. (In a tail call both have one.)
    void find_parents() {
        std::vector<std::vector<std::size_t>> open;
        for (std::size_t i = 0; i < count_; ++i) {
            const call& c = calls[i];
            const auto depth = static_cast<std::size_t>(c.depth);
            parents_[i] = none;
            if (open.size() <= depth) open.resize(depth + 1);
            open[depth].push_back(i);
            if (depth == 0) {
                roots_.push_back(i);
                continue;
            }
            auto& around = open[depth - 1];
            std::erase_if(around, [&c](std::size_t k) {
                return calls[k].ended != 0 && calls[k].ended < c.began;
            });
            for (const std::size_t k : around)
                if (calls[k].slot >= c.slot &&
                    (parents_[i] == none || calls[k].slot <= calls[parents_[i]].slot))
                    parents_[i] = k;
            if (parents_[i] == none) {
                problem(i, "has no caller at depth " + std::to_string(depth - 1));
                roots_.push_back(i);
            }
        }
    }

    // Whoever called is open as long as whom it called, and calls one after the other.
    void check_order() {
        std::vector<std::size_t> last(count_, none);
        for (std::size_t i = 0; i < count_; ++i) {
            const std::size_t parent = parents_[i];
            if (parent == none) continue;
            const call &c = calls[i], &p = calls[parent];
            if (p.ended != 0 && (c.ended == 0 || c.ended > p.ended))
                problem(i, "ended after its caller, " + short_name(p.function));
            if (const std::size_t before = std::exchange(last[parent], i); before != none) {
                const call& b = calls[before];
                if (b.ended == 0 || b.ended > c.began)
                    problem(i, "began before the end of " + short_name(b.function));
            }
        }
    }

    void problem(std::size_t i, const std::string& what) {
        if (++problem_count_ <= 10)
            problems_ += "order: " + short_name(calls[i].function) + ' ' + what + '\n';
    }

    // Callers stand before those they call.
    void find_shapes() {
        std::vector<std::vector<std::size_t>> below(count_);
        for (std::size_t i = count_; i-- > 0;) {
            shape s{label(calls[i]), 1, {}};
            for (std::size_t k = below[i].size(); k-- > 0;) add(s.below, below[i][k]);
            if (s.below.size() == 1 && s.below[0].times == 1) {
                const shape& only = *known_[s.below[0].shape];
                if (only.text == s.text) s = {s.text, only.deep + 1, only.below};
            }
            const auto [place, is_new] = numbers_.try_emplace(std::move(s), known_.size());
            if (is_new) known_.push_back(&place->first);
            shapes_[i] = place->second;
            if (parents_[i] != none) below[parents_[i]].push_back(shapes_[i]);
        }
    }

    static void add(groups& to, std::size_t shape) {
        if (!to.empty() && to.back().shape == shape)
            ++to.back().times;
        else
            to.push_back({shape, 1});
    }

    void print(std::string& out, const group& g, std::size_t indent) const {
        const shape& s = *known_[g.shape];
        out.append(2 * indent, ' ').append(s.text, 0, s.text.find("  ! "));
        if (s.deep > 1) out += "  (" + std::to_string(s.deep) + " deep)";
        if (g.times > 1) out += "  (x " + std::to_string(g.times) + ")";
        if (const std::size_t end = s.text.find("  ! "); end != s.text.npos)
            out.append(s.text, end, s.text.npos);
        out += '\n';
        if (indent == 100 && !s.below.empty()) out += "order: too deep to be shown\n";
        if (indent == 100) return;
        for (const group& b : s.below) print(out, b, indent + 1);
    }

    std::size_t count_;
    std::vector<std::size_t> parents_, shapes_, roots_;
    std::map<shape, std::size_t> numbers_;
    std::vector<const shape*> known_;
    std::string problems_;
    int problem_count_ = 0;
};

// "leaf: 100 calls, 99 returned, 1 longjmp"
std::string counts_text() {
    constexpr const char* ends[] = {"returned",    "exception", "longjmp",
                                    "thread exit", "tail call", "abandoned"};
    std::string out;
    for (const count& c : counts) {
        if (c.function == 0) break;
        if (out.empty()) out = "counted:\n";
        out += "  " + short_name(c.function) + ": " + std::to_string(c.calls) + " calls";
        for (std::size_t i = 0; i < std::size(ends); ++i)
            if (c.ends[i] != 0) out += ", " + std::to_string(c.ends[i]) + ' ' + ends[i];
        out += '\n';
    }
    return out;
}

void on_abort(int) { recorder::finish(); }

// Before all other initialisers of the program.
__attribute__((constructor(101))) void start() {
    file = std::getenv("TREE");
    if (file == nullptr) return;
    void* const memory = ::mmap(nullptr, most_calls * sizeof(call), PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) std::abort();
    calls = static_cast<call*>(memory);
    first_process = ::getpid();
    (void)this_thread();
    std::atexit(recorder::finish);
    std::at_quick_exit(recorder::finish);
    struct sigaction action{};
    action.sa_handler = on_abort;
    action.sa_flags = static_cast<int>(SA_RESETHAND);
    ::sigaction(SIGABRT, &action, nullptr);

    // Never destroyed: what happens at exit is part of the scenario.
    alignas(ftrace::fgraph_ops) static std::byte room[sizeof(ftrace::fgraph_ops)];
    alignas(ftrace::graph_registration) static std::byte kept[sizeof(ftrace::graph_registration)];
    ftrace::fgraph_options options;
    options.call_data = sizeof(std::uint64_t);
    auto& ops = *new (room) ftrace::fgraph_ops(began, ended, nullptr, options);
    if (const char* const filter = std::getenv("FILTER")) {
        ops.ops.set_filter(filter).value();
    } else {
        const bool has_some = ops.ops.set_filter("scenario::*").has_value();
        if (const auto of_c = ops.ops.set_filter("scenario_*"); !has_some) of_c.value();
    }
    recording = true;
    new (kept) ftrace::graph_registration(ftrace::register_ftrace_graph(ops).value());
}

}  // namespace

namespace recorder {

void finish() noexcept {
    if (!__atomic_exchange_n(&recording, false, __ATOMIC_RELAXED)) return;
    std::string name = file;
    if (::getpid() != first_process || process_name[0] != '\0')
        name += std::string(".") + (process_name[0] == '\0' ? "child" : process_name);
    const std::string text = tree().text() + counts_text();
    std::FILE* const out = std::fopen(name.c_str(), "w");
    if (out == nullptr) return;
    std::fputs(text.c_str(), out);
    std::fclose(out);
}

void process(const char* name) noexcept {
    std::strncpy(process_name, name, sizeof process_name - 1);
}

void set_mode(mode wanted) noexcept { mode_now = wanted; }

bool all_ended() noexcept { return left_out_calls == left_out_ends; }

int raise_in_callbacks(int signal, int times) noexcept {
    if (!recording) return 0;
    signal_to_raise = signal;
    return times_to_raise = times;
}

}  // namespace recorder
