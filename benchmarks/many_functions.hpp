// 100,000 functions with a site each, and measurements in a process that has not touched them yet.
#pragma once

#include <benchmark/benchmark.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <ftrace/ftrace.hpp>

// many_a_* is one function, many_b_* are 99, many_c_* 9,900, many_d_* 90,000: 1, 100, 10,000 and
// 100,000 with those before. As gcc leaves them: five nops, 16 bytes from one to the next.
// clang-format off
__asm__(
    ".altmacro\n"
    ".macro many_function group, n\n"
    ".type many_\\group\\()_\\n, @function\n"
    "many_\\group\\()_\\n:\n"
    ".cfi_startproc\n"
    "nop; nop; nop; nop; nop; ret\n"
    ".cfi_endproc\n"
    ".size many_\\group\\()_\\n, 6\n"
    ".balign 16\n"
    ".endm\n"
    ".macro many_functions group, count\n"
    ".set many_n, 0\n"
    ".rept \\count\n"
    "many_function \\group, %many_n\n"
    ".set many_n, many_n + 1\n"
    ".endr\n"
    ".endm\n"
    ".pushsection .text.many, \"ax\", @progbits\n"
    ".balign 4096\n"
    "many_begin:\n"
    "many_functions a, 1\n"
    "many_functions b, 99\n"
    "many_functions c, 9900\n"
    "many_functions d, 90000\n"
    ".popsection\n"
    ".pushsection __patchable_function_entries, \"awo\", @progbits, many_begin\n"
    ".balign 8\n"
    ".set many_n, 0\n"
    ".rept 100000\n"
    ".quad many_begin + 16 * many_n\n"
    ".set many_n, many_n + 1\n"
    ".endr\n"
    ".popsection\n"
    ".noaltmacro\n");
// clang-format on
extern "C" void many_begin();

namespace many {

inline double seconds() {
    timespec now{};
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}
template <class Action>
double time_of(Action action) {
    const double begin = seconds();
    action();
    return seconds() - begin;
}

template <class Result>
decltype(auto) checked(Result&& result) {
    if (result) return *std::forward<Result>(result);
    std::fprintf(stderr, "%s\n", result.error().message.c_str());
    std::exit(1);
}
inline void checked(ftrace::result<void>&& result) {
    if (result) return;
    std::fprintf(stderr, "%s\n", result.error().message.c_str());
    std::exit(1);
}

/// Each iteration is a new process, in which `measured` returns seconds.
template <class Measured>
void in_processes(benchmark::State& state, Measured measured) {
    for (auto _ : state) {
        int ends[2];
        if (::pipe(ends) != 0) std::abort();
        const pid_t child = ::fork();
        if (child == 0) {
            const double time = measured();
            const bool written = ::write(ends[1], &time, sizeof time) == sizeof time;
            ::_exit(written ? 0 : 1);
        }
        ::close(ends[1]);
        double time = 0;
        if (::read(ends[0], &time, sizeof time) != sizeof time) state.SkipWithError("child failed");
        ::close(ends[0]);
        ::waitpid(child, nullptr, 0);
        state.SetIterationTime(time);
    }
}

/// One process for each repetition; their median counts.
inline void repeated(benchmark::internal::Benchmark* benchmark) {
    benchmark->UseManualTime()->Iterations(1)->Repetitions(9)->ReportAggregatesOnly(true);
    benchmark->Unit(benchmark::kMicrosecond);
}

}  // namespace many
