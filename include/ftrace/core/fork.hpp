// What fork() takes over: it copies one thread of the process, and the memory of all.
#pragma once

#include <pthread.h>

#include <ftrace/core/config.hpp>
#include <ftrace/core/process.hpp>
#include <ftrace/core/thread_state.hpp>

namespace ftrace::inline v0::detail {

/// Whether the thread took the process's locks before its fork().
FTRACE_LOCAL inline constinit thread_local bool fork_holds_locks
    __attribute__((tls_model("initial-exec"))) = false;

/// No change of text, filters or lists is half done in the child. From inside a callback the locks
/// are not taken: who holds them may be waiting for that callback.
FTRACE_LOCAL FTRACE_NOTRACE inline void before_fork() noexcept {
    process_state* const shared = shared_state();
    thread_state* const mine = this_thread();
    if (mine == nullptr || in_section(*mine)) return;
    shared->lock.lock();
    shared->images.lock();
    fork_holds_locks = true;
}
FTRACE_LOCAL FTRACE_NOTRACE inline void after_fork_in_parent() noexcept {
    if (!fork_holds_locks) return;
    fork_holds_locks = false;
    shared_state()->images.unlock();
    shared_state()->lock.unlock();
}
/// The thread has another number here, by which others tell whether it lives.
FTRACE_LOCAL FTRACE_NOTRACE inline void after_fork_in_child() noexcept {
    process_state* const shared = shared_state();
    shared->threads.keep_only(current_thread);
    if (!fork_holds_locks) return;
    fork_holds_locks = false;
    shared->images.unlock_in_child();
    shared->lock.unlock_in_child();
}

/// Once for the process, from an object that stays loaded, when it has met the process's state.
/// false: no memory.
[[nodiscard]] FTRACE_NOTRACE inline bool follow_forks() noexcept {
    return ::pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child) == 0;
}

}  // namespace ftrace::inline v0::detail
