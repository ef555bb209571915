// A recursive lock on pthreads: <mutex> costs more to include than the rest of this library's core.
#pragma once

#include <pthread.h>

#include <ftrace/core/config.hpp>

namespace ftrace::inline v0::detail {

/// Recursive, since user callbacks of a listing may come back. Never taken on a path that a
/// stub reaches.
class recursive_lock {
public:
    FTRACE_NOTRACE recursive_lock() noexcept { make(); }
    recursive_lock(const recursive_lock&) = delete;
    recursive_lock& operator=(const recursive_lock&) = delete;
    FTRACE_NOTRACE void lock() noexcept { ::pthread_mutex_lock(&mutex_); }
    FTRACE_NOTRACE void unlock() noexcept { ::pthread_mutex_unlock(&mutex_); }
    /// Unlocks it in a child of fork() whose parent's thread held it: the mutex knows that thread
    /// by a number which it has no longer, and refuses. The attempt tells ThreadSanitizer.
    FTRACE_NOTRACE void unlock_in_child() noexcept {
        ::pthread_mutex_unlock(&mutex_);
        make();
    }

private:
    FTRACE_NOTRACE void make() noexcept {
        pthread_mutexattr_t attributes;
        ::pthread_mutexattr_init(&attributes);
        ::pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_RECURSIVE);
        ::pthread_mutex_init(&mutex_, &attributes);
        ::pthread_mutexattr_destroy(&attributes);
    }

    pthread_mutex_t mutex_;
};

class lock_guard {
public:
    FTRACE_NOTRACE explicit lock_guard(recursive_lock& lock) noexcept : lock_(lock) {
        lock_.lock();
    }
    FTRACE_NOTRACE ~lock_guard() { lock_.unlock(); }
    lock_guard(const lock_guard&) = delete;
    lock_guard& operator=(const lock_guard&) = delete;

private:
    recursive_lock& lock_;
};

}  // namespace ftrace::inline v0::detail
