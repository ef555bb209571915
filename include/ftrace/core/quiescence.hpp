// The grace period: waiting until no thread is inside a callback that began before.
//
//   a stub's C++ side                         synchronize_callbacks()
//   section: the next odd one         (1)     the ops has been taken off its lists       (a)
//   op = list entry                   (2)     synchronize_cores()                        (b)
//   if op: op's callback                      note every thread's section                (c)
//   section: the next even one        (3)     wait until each that was odd has changed
//
// (b) runs a full barrier on every CPU, so a thread is either before (1), and will see the entry
// cleared at (2), or its section is visible to (c). That is why (1) and (2) need no barrier of
// their own, only the compiler's order. Sections that begin after (c) are not waited for.
//
// Of an odd section only 16 bits of the count are known, so that a thread's word is the same again
// after 32,768 sections from one place. Who waits for it and looks just then waits for one more
// look, 0.1 ms later; never is a section that goes on taken for one that ended.
#pragma once

#include <sched.h>
#include <time.h>

#include <cstddef>
#include <cstdint>
#include <ftrace/core/config.hpp>
#include <ftrace/core/os.hpp>
#include <ftrace/core/process.hpp>
#include <ftrace/core/stack_pointer.hpp>
#include <ftrace/core/thread_state.hpp>

namespace ftrace::inline v0::detail {

/// Returns when every callback that was running in another thread has returned. The calling
/// thread's own callbacks, if it is inside one, are not waited for. Call with the process locked.
///
/// A callback that a signal handler left by siglongjmp() is over when its thread is seen above it on
/// its stack: at its next callback, or waiting in the kernel.
FTRACE_NOTRACE inline void synchronize_callbacks(process_state& process) noexcept {
    synchronize_cores();
    const std::size_t threads = process.threads.used();
    for (std::size_t i = 0; i < threads; ++i) {
        thread_state& thread = process.threads[i];
        const std::uint64_t section = __atomic_load_n(&thread.section, __ATOMIC_ACQUIRE);
        __atomic_store_n(&thread.awaited, section, __ATOMIC_RELEASE);
    }
    for (std::size_t i = 0; i < threads; ++i) {
        thread_state& thread = process.threads[i];
        const std::uint64_t awaited = __atomic_load_n(&thread.awaited, __ATOMIC_RELAXED);
        if (&thread == current_thread || awaited % 2 == 0) continue;
        for (unsigned spins = 0;; ++spins) {
            if (__atomic_load_n(&thread.section, __ATOMIC_ACQUIRE) != awaited) break;
            if (spins < 100) {
                ::sched_yield();
                continue;
            }
            // A thread that the fork left behind, or that was killed in a callback, will not
            // end it.
            const pid_t tid = process.threads.owner(i);
            if (tid == 0 || !thread_pool::alive(tid)) break;
            // Whatever the thread did since it was asked for: what was awaited is over.
            if (left_behind(thread.stack, begin_of(awaited), waiting_stack_pointer(tid) - 1)) break;
            const timespec pause{0, 100'000};
            ::nanosleep(&pause, nullptr);
        }
    }
}

}  // namespace ftrace::inline v0::detail
