// One slot for each thread that ran a callback, in memory that is never unmapped, so that an
// unregister can look at every thread without asking whether it still exists.
#pragma once

#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <ftrace/core/config.hpp>

namespace ftrace::inline v0::detail {

/// What the library knows of one thread. Only that thread (and signal handlers on it) writes
/// `section`, `nesting`, `missed` and `saved_errno`.
struct alignas(64) thread_state {
    /// 0: the thread is in no callback. Else the grace period in which its outermost callback
    /// began.
    std::uint64_t section;
    std::uint32_t nesting;  ///< callbacks on this thread's stack
    int saved_errno;        ///< the program's, while the outermost callback runs
    std::uint64_t missed;   ///< callbacks not called, because one was running already
    std::atomic<pid_t> tid;
    std::uint32_t generation;  ///< rises when the slot passes to another thread
    pthread_t self;            ///< tells a thread from a later one with the same tid
    std::atomic<void*> graph;  ///< owned by graph/
    std::atomic<void*> trace;  ///< owned by trace/
    std::byte x87_result[16];  ///< a long double on its way to st0 (override_function_with_return)
};
static_assert(sizeof(thread_state) == 128);

/// All slots of the process. A zero page each until used.
class thread_pool {
public:
    static constexpr std::size_t capacity = 65536;

    FTRACE_NOTRACE thread_pool() noexcept {
        void* memory = ::mmap(nullptr, capacity * sizeof(thread_state), PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory != MAP_FAILED) slots_ = static_cast<thread_state*>(memory);
    }
    FTRACE_NOTRACE ~thread_pool() {
        if (slots_ != nullptr) ::munmap(slots_, capacity * sizeof(thread_state));
    }
    thread_pool(const thread_pool&) = delete;
    thread_pool& operator=(const thread_pool&) = delete;

    [[nodiscard]] FTRACE_NOTRACE bool usable() const noexcept { return slots_ != nullptr; }

    /// The slot of the calling thread: the one another object of this process already claimed for
    /// it, or a free one. nullptr: 65,536 threads live. Neither locks nor allocates; safe in a
    /// signal handler.
    [[nodiscard]] FTRACE_NO_INSTRUMENTATION thread_state* claim() noexcept {
        const pid_t me = static_cast<pid_t>(::syscall(SYS_gettid));
        const pthread_t self = ::pthread_self();
        thread_state* slot = find(me);
        if (slot == nullptr) slot = take_free(me);
        if (slot == nullptr && release_dead() > 0) slot = take_free(me);
        if (slot != nullptr && !::pthread_equal(slot->self, self)) {
            slot->self = self;
            ++slot->generation;
        }
        return slot;
    }

    /// Gives back the slots of threads that are gone; says how many.
    FTRACE_NO_INSTRUMENTATION std::size_t release_dead() noexcept {
        std::size_t released = 0;
        for (std::size_t i = 0; i < used(); ++i) {
            pid_t tid = slots_[i].tid.load(std::memory_order_relaxed);
            if (tid == 0 || alive(tid)) continue;
            slots_[i].section = 0;
            slots_[i].nesting = 0;
            // release: a thread that takes the slot sees it clean.
            if (slots_[i].tid.compare_exchange_strong(tid, 0, std::memory_order_release))
                ++released;
        }
        return released;
    }

    /// Slots ever used: [0, used()).
    [[nodiscard]] FTRACE_NO_INSTRUMENTATION std::size_t used() const noexcept {
        return used_.load(std::memory_order_acquire);
    }
    [[nodiscard]] FTRACE_NO_INSTRUMENTATION thread_state& operator[](std::size_t i) noexcept {
        return slots_[i];
    }

    [[nodiscard]] FTRACE_NO_INSTRUMENTATION static bool alive(pid_t tid) noexcept {
        return ::syscall(SYS_tgkill, ::getpid(), tid, 0) == 0;
    }

private:
    FTRACE_NO_INSTRUMENTATION thread_state* find(pid_t tid) noexcept {
        for (std::size_t i = 0; i < used(); ++i)
            if (slots_[i].tid.load(std::memory_order_acquire) == tid) return &slots_[i];
        return nullptr;
    }
    FTRACE_NO_INSTRUMENTATION thread_state* take_free(pid_t tid) noexcept {
        for (std::size_t i = 0; i < capacity; ++i) {
            pid_t expected = 0;
            if (slots_[i].tid.load(std::memory_order_relaxed) != 0) continue;
            if (!slots_[i].tid.compare_exchange_strong(expected, tid, std::memory_order_acq_rel))
                continue;
            std::size_t used = used_.load(std::memory_order_relaxed);
            while (used < i + 1 &&
                   !used_.compare_exchange_weak(used, i + 1, std::memory_order_acq_rel)) {
            }
            return &slots_[i];
        }
        return nullptr;
    }

    thread_state* slots_ = nullptr;
    std::atomic<std::size_t> used_{0};
};

}  // namespace ftrace::inline v0::detail
