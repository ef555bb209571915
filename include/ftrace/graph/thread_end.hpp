// When a thread ends: what is open on its stack then has no other end.
//
// The outermost function of a thread that is cancelled is one such: glibc's unwinding stops in front
// of it.
#pragma once

#include <limits.h>
#include <pthread.h>

#include <ftrace/core/config.hpp>
#include <ftrace/core/process.hpp>
#include <ftrace/core/stack_range.hpp>
#include <ftrace/core/thread_state.hpp>
#include <ftrace/graph/shadow_stack.hpp>

namespace ftrace::inline v0::detail {

/// Calls `ended(stack)` on each thread that ends, for its shadow stack: behind the destructors of its
/// thread-local objects, and of most of what else it keeps by keys.
class thread_end {
public:
    FTRACE_NOTRACE thread_end() noexcept {}

    /// `ended`: in code that stays.
    FTRACE_NOTRACE void make(void (*ended)(void*)) noexcept {
        // glibc has the first keys' values in the thread itself: to set others allocates memory, which
        // is not to be done in a callback.
        constexpr pthread_key_t without_memory = 32;
        if (::pthread_key_create(&key_, ended) != 0) return;
        if (key_ < without_memory)
            usable_ = true;
        else
            ::pthread_key_delete(key_);
    }
    /// make() is undone: before anybody uses it.
    FTRACE_NOTRACE void forget() noexcept {
        if (usable_) ::pthread_key_delete(key_);
        usable_ = false;
    }
    /// The calling thread's. Safe in a callback.
    FTRACE_NO_INSTRUMENTATION void expect(shadow_stack& stack) const noexcept {
        if (usable_) ::pthread_setspecific(key_, &stack);
    }
    /// For `ended`: whether this is the last round of destructors. If not, there will be another one
    /// (POSIX, pthread_key_create()).
    [[nodiscard]] FTRACE_NO_INSTRUMENTATION bool is_last_round(shadow_stack& stack) const noexcept {
        if (++stack.end_rounds >= PTHREAD_DESTRUCTOR_ITERATIONS) return true;
        expect(stack);
        return false;
    }

private:
    pthread_key_t key_ = 0;
    bool usable_ = false;
};

}  // namespace ftrace::inline v0::detail
