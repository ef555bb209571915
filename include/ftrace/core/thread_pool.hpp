// One slot for each thread that ran a callback, in memory that is never unmapped, so that an
// unregister can look at every thread without asking whether it still exists.
#pragma once

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <ftrace/core/config.hpp>
#include <ftrace/core/stack_range.hpp>

namespace ftrace::inline v0::detail {

/// What the library knows of one thread. Only that thread, and signal handlers on it, write
/// `section` and `missed`. No std::atomic: its functions cannot be inlined into code without
/// vector registers.
struct alignas(64) thread_state {
    /// Odd while the thread is inside its outermost callback, even outside: thread_state.hpp says
    /// what else it holds.
    std::uint64_t section;
    int* program_errno;        ///< the thread's errno, to be kept across callbacks
    std::uint64_t missed;      ///< callbacks not called, because one was running on this thread
    std::uint64_t generation;  ///< rises when the slot passes to another thread
    pthread_t self;            ///< tells a thread from a later one with the same tid
    void* graph;               ///< owned by graph/: of the thread that has the slot, or null
    void* trace;               ///< owned by trace/
    pid_t tid;                 ///< 0: the slot is free
    bool own_work;  ///< the section is the library's own, with the registry at hand: library_work
    alignas(16) std::byte x87_result[16];  ///< a long double on its way to st0
    std::uint64_t awaited;                 ///< a section that synchronize_callbacks() waits for
    stack_range stack;                     ///< the thread's own; empty: not known
    void* kept_graph;                      ///< owned by graph/: of all that had the slot
};
static_assert(sizeof(thread_state) == 128);

/// What a stub may run before it has saved vector registers, or without saving them.
#define FTRACE_POOL_FUNCTION FTRACE_NO_INSTRUMENTATION FTRACE_GENERAL_REGS_ONLY

/// All slots of the process. Memory is touched only as threads come.
class thread_pool {
public:
    static constexpr std::size_t capacity = 65536;
    static constexpr pid_t being_cleaned = -1;  ///< the owner of a slot in release_dead()

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
    [[nodiscard]] FTRACE_POOL_FUNCTION thread_state* claim() noexcept {
        const pid_t me = static_cast<pid_t>(::syscall(SYS_gettid));
        const pthread_t self = ::pthread_self();
        thread_state* slot = find(me);
        const bool known = slot != nullptr;
        if (slot == nullptr) slot = take_free(me, used());
        if (slot == nullptr && time_to_look_for_dead() && release_dead() > 0)
            slot = take_free(me, used());
        if (slot == nullptr) slot = take_free(me, capacity);
        if (slot == nullptr && release_dead() > 0) slot = take_free(me, capacity);
        // pthread_t alone does not tell threads apart: a new one often gets the stack, and with it
        // the pthread_t, of one that ended.
        if (slot != nullptr && (!known || slot->self != self)) {
            // Whoever had it may have ended inside a callback.
            __atomic_store_n(&slot->section, 0, __ATOMIC_RELEASE);
            slot->own_work = false;
            slot->program_errno = &errno;
            slot->stack = stacks_.of_this_thread();
            slot->graph = nullptr;
            ++slot->generation;
            // Last: until then a signal handler of this thread does all of it, too.
            __atomic_store_n(&slot->self, self, __ATOMIC_RELEASE);
        }
        return slot;
    }

    /// Gives back the slots of threads that are gone; says how many.
    FTRACE_POOL_FUNCTION std::size_t release_dead() noexcept {
        std::size_t released = 0;
        for (std::size_t i = 0; i < used(); ++i) {
            pid_t tid = owner(i);
            if (tid <= 0 || alive(tid)) continue;
            if (!__atomic_compare_exchange_n(&slots_[i].tid, &tid, being_cleaned, false,
                                             __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
                continue;
            // A new thread may have got the number meanwhile, and with it the slot.
            const bool free = !alive(tid);
            if (free) clear(slots_[i]);
            // release: pairs with the acquire in take_free; who takes the slot sees it clean.
            __atomic_store_n(&slots_[i].tid, free ? 0 : tid, __ATOMIC_RELEASE);
            released += free;
        }
        return released;
    }

    /// In a child of fork(), of whose threads `mine` alone goes on: gives back all other slots.
    FTRACE_POOL_FUNCTION void keep_only(const thread_state* mine) noexcept {
        for (std::size_t i = 0; i < used(); ++i) {
            const bool goes_on = &slots_[i] == mine;
            if (!goes_on) clear(slots_[i]);
            __atomic_store_n(&slots_[i].tid,
                             goes_on ? static_cast<pid_t>(::syscall(SYS_gettid)) : 0,
                             __ATOMIC_RELEASE);
        }
    }

    /// Slots ever used are [0, used()).
    [[nodiscard]] FTRACE_POOL_FUNCTION std::size_t used() const noexcept {
        return __atomic_load_n(&used_, __ATOMIC_ACQUIRE);
    }
    [[nodiscard]] FTRACE_POOL_FUNCTION thread_state& operator[](std::size_t i) noexcept {
        return slots_[i];
    }
    /// The thread that slot `i` belongs to; 0 if none, or being_cleaned.
    [[nodiscard]] FTRACE_POOL_FUNCTION pid_t owner(std::size_t i) const noexcept {
        return __atomic_load_n(&slots_[i].tid, __ATOMIC_ACQUIRE);
    }
    /// Where a sandbox forbids to ask, every thread lives.
    [[nodiscard]] FTRACE_POOL_FUNCTION static bool alive(pid_t tid) noexcept {
        if (::syscall(SYS_tgkill, ::getpid(), tid, 0) == 0) return true;
        return errno != ESRCH && errno != EINVAL;  // EINVAL: no thread has such a number
    }

private:
    /// What claim() would take for the new thread's own.
    FTRACE_POOL_FUNCTION static void clear(thread_state& slot) noexcept {
        slot.section = 0;
        slot.self = 0;
    }
    FTRACE_POOL_FUNCTION thread_state* find(pid_t tid) noexcept {
        for (std::size_t i = 0; i < used(); ++i)
            if (owner(i) == tid) return &slots_[i];
        return nullptr;
    }
    /// To ask of every slot whether its thread lives costs a system call each: it is worth it if
    /// half as many threads have come since the last time as there are slots.
    FTRACE_POOL_FUNCTION bool time_to_look_for_dead() noexcept {
        constexpr std::size_t few = 64;
        const std::size_t slots = used();
        if (slots < few || __atomic_load_n(&come_, __ATOMIC_RELAXED) < slots / 2) return false;
        __atomic_store_n(&come_, 0, __ATOMIC_RELAXED);
        return true;
    }
    /// A free slot among the first `end`.
    FTRACE_POOL_FUNCTION thread_state* take_free(pid_t tid, std::size_t end) noexcept {
        for (std::size_t i = 0; i < end; ++i) {
            pid_t expected = 0;
            if (owner(i) != 0 || !__atomic_compare_exchange_n(&slots_[i].tid, &expected, tid, false,
                                                              __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
                continue;
            std::size_t used = this->used();
            while (used < i + 1 &&
                   !__atomic_compare_exchange_n(&used_, &used, i + 1, true, __ATOMIC_ACQ_REL,
                                                __ATOMIC_RELAXED)) {
            }
            __atomic_fetch_add(&come_, 1, __ATOMIC_RELAXED);
            return &slots_[i];
        }
        return nullptr;
    }

    known_stacks stacks_;
    thread_state* slots_ = nullptr;
    std::size_t used_ = 0;
    std::size_t come_ = 0;  // threads that got a slot since time_to_look_for_dead()
};

}  // namespace ftrace::inline v0::detail
