// Text that changes in every way at once, under threads that run it:
//
//     bazel run //tests/torture -- --seconds 60
//
// Workers call functions and check their results. Others register and unregister ops, graphs, fprobes and typed probes on
// them, change filters, switch everything off and on, load and unload a library, fork, start threads, and send signals,
// all at random. Ends with 0 if no result was wrong, no callback came too late, and the text is as it was.
//
//     --seconds N    how long (10)
//     --seed N       what everybody does; a run says its seed
//     --workers N    threads that call functions (the number of processors, at least 2)
//     --without X    leaves out: forks, loads, signals, switches, threads
#include <ftrace/arch/insn.hpp>
#include <functional>
#include <random>
#include <set>
#include <string_view>

#include "tests/torture/actors.hpp"

namespace {

using namespace torture;

struct settings {
    unsigned seconds = 10;
    unsigned workers = std::max(2U, std::thread::hardware_concurrency());
    std::set<std::string, std::less<>> without;
    std::string library;
};

FTRACE_NOTRACE settings read(int count, char** words) {
    settings wanted;
    torture::seed = std::random_device()();
    wanted.library = words[0];
    wanted.library =
        wanted.library.substr(0, wanted.library.rfind('/') + 1) + "libtorture_library.so";
    for (int i = 1; i < count; i += 2) {
        const std::string_view name = words[i];
        const char* const value = i + 1 < count ? words[i + 1] : "";
        if (name == "--seconds")
            wanted.seconds = static_cast<unsigned>(std::strtoul(value, nullptr, 10));
        else if (name == "--seed")
            torture::seed = std::strtoull(value, nullptr, 10);
        else if (name == "--workers")
            wanted.workers = static_cast<unsigned>(std::strtoul(value, nullptr, 10));
        else if (name == "--without")
            wanted.without.insert(value);
        else
            fail("unknown option %s", words[i]);
    }
    return wanted;
}

signalled_threads signalled;

FTRACE_NOTRACE void work_on(std::uint64_t own_seed) {
    random_numbers random(own_seed);
    signalled.join();
    while (!stopping) run_some(random, 100);
    signalled.leave();
}

/// No call, jump or trap is left at any function's entry.
FTRACE_NOTRACE void check_text() {
    for (const auto& function : ftrace::available_filter_functions()) {
        if (function.site == 0) continue;
        const auto bytes = ftrace::arch::read_site(function.site);
        if (ftrace::arch::call_distance(bytes) != 0 || ftrace::arch::jump_distance(bytes) != 0 ||
            bytes.byte[0] == ftrace::arch::int3_opcode)
            fail("%s is still changed", function.name.c_str());
    }
}

FTRACE_NOTRACE unsigned long long value(const std::atomic<std::uint64_t>& of) { return of; }

FTRACE_NOTRACE void report(const settings& wanted) {
    std::printf(
        "%u s, %u workers, seed %llu: %llu calls, %llu callbacks, %llu ends, %llu transactions "
        "(%llu refused), %llu forks, "
        "%llu signals, %llu loads, %llu threads; nothing wrong\n",
        wanted.seconds, wanted.workers, static_cast<unsigned long long>(torture::seed),
        value(done.calls), value(done.callbacks), value(done.returns), value(done.transactions),
        value(done.refused), value(done.forks), value(done.signals), value(done.loads),
        value(done.threads));
}

}  // namespace

FTRACE_NOTRACE int main(int argument_count, char** arguments) {
    const settings wanted = read(argument_count, arguments);
    std::printf("seed %llu\n", static_cast<unsigned long long>(torture::seed));
    std::fflush(stdout);
    signalled_threads::install();

    std::vector<std::thread> threads;
    std::uint64_t next_seed = torture::seed;
    const auto start = [&](std::string_view name, std::function<void(std::uint64_t)> body)
                           FTRACE_NOTRACE {
                               ++next_seed;
                               if (wanted.without.count(name) == 0)
                                   threads.emplace_back(std::move(body), next_seed);
                           };
    for (unsigned i = 0; i < wanted.workers; ++i) start("", work_on);
    for (int i = 0; i < 3; ++i) start("", change_text);
    start("switches", switch_all);
    start("loads", [&](std::uint64_t own) FTRACE_NOTRACE { load_library(own, wanted.library); });
    start("forks", fork_children);
    start("threads", make_threads);
    start("signals", [](std::uint64_t own) FTRACE_NOTRACE { signalled.send(own); });

    std::this_thread::sleep_for(std::chrono::seconds(wanted.seconds));
    stopping = true;
    for (std::thread& each : threads) each.join();
    check_text();
    random_numbers random(torture::seed);
    run_some(random, count);
    if (done.calls == 0 || done.callbacks == 0 || done.returns == 0 || done.transactions == 0)
        fail("nothing has happened");
    report(wanted);
}
