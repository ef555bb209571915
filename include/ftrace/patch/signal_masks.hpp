// Who blocks SIGTRAP: the kernel ends a process that runs into an int3 while it is blocked.
//
// Before the first int3 of a transaction
//
//   handlers   of the program that block SIGTRAP while they run get it taken out of their mask, and
//              back when the transaction ends: they may run traced functions any time;
//   threads    are looked at, those inside such a handler included. One that goes on blocking
//              SIGTRAP ends the transaction before it began.
//
// What remains is a thread that begins to block SIGTRAP in the middle of a transaction and runs a
// function that is being changed: a program that blocks all signals for a moment should leave
// SIGTRAP out, which nobody sends. The C library has threads of its own that block all signals, as
// those of timer_create() with SIGEV_THREAD, whose callbacks run so: while there are any, no text
// changes. io_uring's are the kernel's, and none.
//
// Where /proc is not mounted nobody is looked at.
#pragma once

#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <ftrace/arch/kernel_action.hpp>
#include <ftrace/core/config.hpp>
#include <ftrace/core/plain_vector.hpp>
#include <ftrace/core/result.hpp>
#include <ftrace/core/sanitizer.hpp>
#include <ftrace/patch/threads.hpp>
#include <string>

namespace ftrace::inline v0::detail {

using arch::kernel_action;

inline constexpr std::uint64_t trap_bit = std::uint64_t{1} << (SIGTRAP - 1);

/// While it lives, no handler of the program blocks SIGTRAP.
class unmasked_handlers {
public:
    FTRACE_NOTRACE unmasked_handlers() noexcept = default;
    FTRACE_NOTRACE ~unmasked_handlers() {
        for (std::size_t i = 0; i < count_; ++i) {
            kernel_action masked = changed_[i].action;
            masked.mask |= trap_bit;
            replace(changed_[i].signal, changed_[i].action, masked);
        }
    }
    unmasked_handlers(const unmasked_handlers&) = delete;
    unmasked_handlers& operator=(const unmasked_handlers&) = delete;

    FTRACE_NOTRACE void unmask() noexcept {
        for (int signal = 1; signal <= kernel_action::signals; ++signal) {
            kernel_action action;
            if (signal == SIGTRAP || !kernel_action::read(signal, action) || !masks(action))
                continue;
            kernel_action unmasked = action;
            unmasked.mask &= ~trap_bit;
            if (replace(signal, action, unmasked)) changed_[count_++] = {signal, unmasked};
        }
    }

private:
    struct change {
        int signal;
        kernel_action action;
    };

    [[nodiscard]] FTRACE_NOTRACE static bool masks(const kernel_action& action) noexcept {
        return action.handler != SIG_DFL && action.handler != SIG_IGN &&
               (action.mask & trap_bit) != 0;
    }
    /// False: the program has changed the action meanwhile, which then stands as it wants it.
    FTRACE_NOTRACE static bool replace(int signal, const kernel_action& from,
                                       const kernel_action& to) noexcept {
        kernel_action found;
        if (!kernel_action::read(signal, found) || !(found == from)) return false;
        if (!kernel_action::set(signal, to, found)) return false;
        if (found == from) return true;
        kernel_action ours;
        (void)kernel_action::set(signal, found, ours);
        return false;
    }

    change changed_[kernel_action::signals];
    std::size_t count_ = 0;
};

/// A thread that blocks SIGTRAP, watched for a while: some do so for a moment, inside a handler or
/// while the C library makes a thread.
class blocking_thread {
public:
    FTRACE_NOTRACE explicit blocking_thread(pid_t thread) noexcept
        : thread_(thread), ran_(has_run()) {}

    [[nodiscard]] FTRACE_NOTRACE pid_t thread() const noexcept { return thread_; }

    /// Whether it had the time to stop blocking. One that waits for a CPU has not.
    [[nodiscard]] FTRACE_NOTRACE bool had_its_chance(const thread_status& status) noexcept {
        constexpr int enough = 100;
        if (status.state == 'R' && ran_ != 0 && has_run() == ran_) return false;
        return ++looks_ > enough;
    }

private:
    /// How long it has run, in nanoseconds; 0: the system does not tell.
    [[nodiscard]] FTRACE_NOTRACE unsigned long long has_run() const noexcept {
        return std::strtoull(thread_file(thread_, "schedstat").text(), nullptr, 10);
    }

    pid_t thread_;
    unsigned long long ran_;
    int looks_ = 0;
};

FTRACE_NOTRACE inline error blocks_traps(pid_t thread, const thread_status& status,
                                         std::size_t others) {
    return {errc::busy,
            thread_text(thread, status) +
                (others == 0 ? " blocks" : " and " + std::to_string(others) + " more block") +
                " SIGTRAP, and would end the process by running into a function that is being "
                "changed: let it unblock SIGTRAP (pthread_sigmask), or leave SIGTRAP out where the "
                "program blocks signals. Nothing was changed"};
}

/// Error: busy, if a thread goes on blocking SIGTRAP, naming it. Where /proc does not tell,
/// nobody does.
FTRACE_NOTRACE inline result<void> check_masks() {
    auto threads = other_threads(false);
    if (!threads) return {};
    // ThreadSanitizer has a thread of its own that blocks all signals and sleeps between
    // its checks.
    const auto blocks = [](const thread_status& status) FTRACE_NOTRACE {
        return status.trap_blocked && !status.kernel_worker && !status.ended() &&
               !(thread_sanitizer && status.state != 'R');
    };
    plain_vector<blocking_thread> blocking;
    for (const pid_t thread : *threads)
        if (blocks(status_of(thread))) blocking.push_back(blocking_thread(thread));
    constexpr int pauses_at_most = 10'000;
    for (int pauses = 0; !blocking.empty(); ++pauses) {
        const timespec pause{0, 1'000'000};
        ::nanosleep(&pause, nullptr);
        std::size_t kept = 0;
        for (std::size_t i = 0; i < blocking.size(); ++i) {
            const thread_status status = status_of(blocking[i].thread());
            if (!blocks(status)) continue;
            blocking[kept++] = blocking[i];
            if (blocking[kept - 1].had_its_chance(status) || pauses >= pauses_at_most)
                return blocks_traps(blocking[kept - 1].thread(), status, blocking.size() - 1 - i);
        }
        while (blocking.size() > kept) blocking.pop_back();
    }
    return {};
}

}  // namespace ftrace::inline v0::detail
