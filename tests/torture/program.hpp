// What the threads of the torture program share: the functions they run, what they count, and how they say that
// something is wrong.
#pragma once

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ftrace/ftrace.hpp>
#include <thread>
#include <vector>

#include "tests/torture/work.hpp"

namespace torture {

/// work<0> to work<count - 1>; with those they call, 4,000 sites.
constexpr int count = 2400;
inline constexpr auto table = make_table(std::make_integer_sequence<int, count>());

/// Everything is counted, so that a run says what it has tried.
struct tallies {
    std::atomic<std::uint64_t> calls, callbacks, returns, transactions, refused, forks, signals,
        loads, threads;
};
inline tallies done;

inline std::atomic<bool> stopping;
inline std::uint64_t seed;

/// Something is wrong: the program says what, and ends.
[[noreturn, gnu::format(printf, 1, 2)]] FTRACE_NOTRACE inline void fail(const char* format, ...) {
    std::va_list arguments;
    va_start(arguments, format);
    std::fprintf(stderr,
                 "torture: WRONG (seed %llu, process %d): ", static_cast<unsigned long long>(seed),
                 static_cast<int>(::getpid()));
    std::vfprintf(stderr, format, arguments);
    std::fputc('\n', stderr);
    va_end(arguments);
    std::abort();
}

FTRACE_NOTRACE inline void check(int n, long x, long result) {
    if (result != expected(n, x))
        fail("work<%d>(%ld) is %ld instead of %ld", n, x, result, expected(n, x));
}

/// Calls a function of the table, and checks its result.
FTRACE_NOTRACE inline void run_one(int n, long x) {
    check(n, x, table[static_cast<std::size_t>(n)](x));
    done.calls.fetch_add(1, std::memory_order_relaxed);
}
FTRACE_NOTRACE inline void run_some(random_numbers& random, int times) {
    for (int i = 0; i < times; ++i)
        run_one(static_cast<int>(random.below(count)), argument_from(random.below(1U << 31)));
}

/// An operation of the library's must succeed, unless a thread has just blocked SIGTRAP: the C
/// library does so for a moment where it makes threads.
template <class Result>
FTRACE_NOTRACE bool succeeded(const Result& result, const char* what) {
    if (result) {
        done.transactions.fetch_add(1, std::memory_order_relaxed);
        return true;
    }
    if (result.error().code != ftrace::errc::busy)
        fail("%s: %s", what, result.error().message.c_str());
    done.refused.fetch_add(1, std::memory_order_relaxed);
    return false;
}

FTRACE_NOTRACE inline void pause_for(std::uint32_t microseconds) {
    std::this_thread::sleep_for(std::chrono::microseconds(microseconds));
}

/// Between 1 and `most` functions of the table.
FTRACE_NOTRACE inline std::vector<std::uintptr_t> some_sites(random_numbers& random,
                                                             std::uint32_t most) {
    std::vector<std::uintptr_t> sites(1 + random.below(most));
    for (std::uintptr_t& site : sites)
        site = reinterpret_cast<std::uintptr_t>(table[random.below(count)]);
    return sites;
}

}  // namespace torture
