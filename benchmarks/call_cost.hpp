// What benchmarks of single calls share: how a function is measured, and what is hung on its site.
#pragma once

#include <benchmark/benchmark.h>
#include <sched.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ftrace/ftrace.hpp>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace call_cost {

template <class Result>
auto checked(Result&& result) {
    if (result) return *std::forward<Result>(result);
    std::fprintf(stderr, "%s\n", result.error().message.c_str());
    std::exit(1);
}

/// What hangs on sites, until it goes.
using attached = std::shared_ptr<void>;
inline attached attach_nothing() { return {}; }

/// Writes the call of a hand-written stub into a function's site.
class by_hand {
public:
    by_hand(const void* function, void (*stub)())
        : site_(reinterpret_cast<std::uintptr_t>(function)) {
        namespace arch = ftrace::arch;
        const auto* const entry = reinterpret_cast<const unsigned char*>(site_);
        if (arch::is_landing_pad(entry, sizeof arch::landing_pad))
            site_ += sizeof arch::landing_pad;
        before_ = arch::read_site(site_);
        write(arch::call_site(site_, reinterpret_cast<std::uintptr_t>(stub)));
    }
    ~by_hand() { write(before_); }
    by_hand(const by_hand&) = delete;
    by_hand& operator=(const by_hand&) = delete;

private:
    void write(const ftrace::arch::site_bytes& bytes) const {
        void* const page = reinterpret_cast<void*>(site_ & ~std::uintptr_t{4095});
        if (::mprotect(page, 8192, PROT_READ | PROT_WRITE | PROT_EXEC) != 0) std::exit(1);
        std::memcpy(reinterpret_cast<void*>(site_), bytes.byte, sizeof bytes.byte);
        ::mprotect(page, 8192, PROT_READ | PROT_EXEC);
    }
    std::uintptr_t site_;
    ftrace::arch::site_bytes before_;
};

inline void pin(int thread) {
    cpu_set_t allowed, one;
    if (::sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
    static const cpu_set_t all = allowed;  // as the process was started
    int skip = thread % CPU_COUNT(&all);
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
        if (!CPU_ISSET(cpu, &all) || skip-- > 0) continue;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        ::sched_setaffinity(0, sizeof one, &one);
        return;
    }
}

/// Where the stack lies within a cache line decides which of a stub's stores share one: every repetition has another
/// place, so that no row is measured at its best or worst only.
__attribute__((always_inline)) inline void move_stack() {
    static std::atomic<unsigned> turn{0};
    constexpr unsigned line = 64, step = 16;
    volatile char* const room =
        static_cast<volatile char*>(__builtin_alloca(turn++ * step % line + step));
    room[0] = 0;
}

/// The CPU time of each row's repetitions, by name.
class row_times : public benchmark::BenchmarkReporter {
public:
    bool ReportContext(const Context&) override { return true; }
    void ReportRuns(const std::vector<Run>& runs) override {
        for (const Run& run : runs)
            if (run.run_type == Run::RT_Iteration)
                times_[run.run_name.function_name].push_back(run.GetAdjustedCPUTime());
    }
    [[nodiscard]] bool has(const std::string& name) const { return times_.count(name) != 0; }
    double median(const std::string& name) {
        std::vector<double>& times = times_[name];
        std::nth_element(times.begin(), times.begin() + std::ptrdiff_t(times.size() / 2),
                         times.end());
        return times[times.size() / 2];
    }

private:
    std::map<std::string, std::vector<double>> times_;
};

/// Runs what is registered: short repetitions of all rows in random order. The exit code.
inline int run(int argc, char** argv, benchmark::BenchmarkReporter& report) {
    char interleaved[] = "--benchmark_enable_random_interleaving=true",
         repeated[] = "--benchmark_repetitions=51", brief[] = "--benchmark_min_time=0.005";
    std::vector<char*> arguments{argv[0], interleaved, repeated, brief};
    arguments.insert(arguments.end(), argv + 1, argv + argc);
    int count = static_cast<int>(arguments.size());
    benchmark::Initialize(&count, arguments.data());
    if (benchmark::ReportUnrecognizedArguments(count, arguments.data())) return 1;
    benchmark::RunSpecifiedBenchmarks(&report);
    return 0;
}

}  // namespace call_cost
