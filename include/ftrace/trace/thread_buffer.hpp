// What a tracer keeps for each thread it saw, and how a callback finds it.
//
//     thread_state::trace -> buffer_directory      of a thread slot, never freed
//                              [owner, buffer]     owner: the address of the tracer_buffers
//                                         |
//     tracer_buffers::first_ -> thread_buffer -> thread_buffer -> ...    until the tracer is gone
//
// A thread's first event maps its buffer with a raw system call; nothing else on the way of an
// event allocates, and nothing locks. Buffers stay when their threads end, until what they hold is
// cleared. A thread costs the tracer a page of its buffer, one or two of the kernel's that map it,
// and what it records.
#pragma once

#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <ftrace/core/config.hpp>
#include <ftrace/core/lock.hpp>
#include <ftrace/core/os.hpp>
#include <ftrace/core/process.hpp>
#include <ftrace/core/quiescence.hpp>
#include <ftrace/core/thread_state.hpp>
#include <ftrace/trace/buffer_directory.hpp>
#include <ftrace/trace/ring_buffer.hpp>
#include <new>

namespace ftrace::inline v0::detail {

/// The head of a buffer's memory. Behind it come the slots.
struct thread_buffer {
    FTRACE_NO_INSTRUMENTATION thread_buffer(const thread_state& thread, std::size_t bytes,
                                            event_slot* slots, std::size_t capacity,
                                            overflow mode) noexcept
        : ring(slots, capacity, mode),
          tid(thread.tid),
          process(::getpid()),
          generation(thread.generation),
          mapped(bytes) {
        learn_name();
    }

    /// How much memory a buffer of so many slots takes.
    [[nodiscard]] FTRACE_NO_INSTRUMENTATION static constexpr std::size_t bytes_for(
        std::size_t capacity) noexcept {
        const std::size_t bytes = sizeof(thread_buffer) + capacity * sizeof(event_slot);
        return (bytes + page_size - 1) / page_size * page_size;
    }

    /// Room for events, as ring_buffer::reserve(). A thread may name itself after its first event:
    /// its name is learnt again when it has reserved 2, 4, 8, ... of them. A signal handler that
    /// counts in between does no harm: the next power of two comes.
    [[nodiscard]] FTRACE_NO_INSTRUMENTATION std::uint64_t reserve(
        std::uint32_t slots, std::uint32_t events = 1) noexcept {
        const std::uint64_t at = ring.reserve(slots, events);
        const std::uint64_t count = ring.reserved();
        const bool passed_power = (count ^ (count - events)) > count - events;
        if (__builtin_expect(passed_power, 0)) learn_name();
        return at;
    }

    ring_buffer ring;
    const pid_t tid;
    const pid_t process;             ///< that made it: a child of fork() has other numbers
    const std::uint64_t generation;  ///< of the slot; with tid it names the thread
    const std::size_t mapped;        ///< bytes
    thread_buffer* next = nullptr;   ///< of the same tracer
    thread_buffer* next_retired = nullptr;
    bool retired = false;  ///< its thread is gone, and what it held was cleared
    char comm[16] = {};    ///< the thread's name, not always the newest

private:
    FTRACE_NO_INSTRUMENTATION __attribute__((noinline)) void learn_name() noexcept {
        ::syscall(SYS_prctl, PR_GET_NAME, comm, 0, 0, 0);
    }
};
static_assert(sizeof(thread_buffer) % alignof(event_slot) == 0);

/// The buffers of one tracer.
class tracer_buffers {
public:
    constexpr FTRACE_NOTRACE tracer_buffers() noexcept = default;
    tracer_buffers(const tracer_buffers&) = delete;
    tracer_buffers& operator=(const tracer_buffers&) = delete;
    FTRACE_NOTRACE ~tracer_buffers() { free_all(); }

    /// How large the buffers of threads not yet seen are. Rounded up to a power of two of slots.
    FTRACE_NOTRACE void configure(std::size_t bytes_per_thread, overflow mode) noexcept {
        capacity_ = 64;
        while (capacity_ * sizeof(event_slot) < bytes_per_thread) capacity_ *= 2;
        mode_ = mode;
    }

    /// The calling thread's buffer, made now if need be, for an event. nullptr: there is no memory,
    /// or the thread has the buffers of 258 tracers; the event counts as lost then.
    [[nodiscard]] FTRACE_NO_INSTRUMENTATION thread_buffer* of_this_thread() noexcept {
        thread_buffer* const mine = find_or_open();
        if (__builtin_expect(mine == nullptr, 0)) __atomic_fetch_add(&lost_, 1, __ATOMIC_RELAXED);
        return mine;
    }

    /// Makes the calling thread's buffer now, with the first of its memory, so that the first
    /// events are not slowed down by page faults.
    FTRACE_NOTRACE void prepare_this_thread() noexcept {
        constexpr int populate_write = 23;  // MADV_POPULATE_WRITE, Linux 5.14
        constexpr std::size_t most = std::size_t{4} << 20;
        if (thread_buffer* const mine = find_or_open())
            ::madvise(mine, mine->mapped < most ? mine->mapped : most, populate_write);
    }

    /// The buffer made last; the others follow by `next`. Any thread.
    [[nodiscard]] FTRACE_NOTRACE const thread_buffer* first() const noexcept {
        return __atomic_load_n(&first_, __ATOMIC_ACQUIRE);
    }
    /// Events of threads that could not have a buffer.
    [[nodiscard]] FTRACE_NOTRACE std::uint64_t lost_events() const noexcept {
        return __atomic_load_n(&lost_, __ATOMIC_RELAXED);
    }

    /// Around every use of first(): clear() frees no buffer that somebody may look at.
    class reading {
    public:
        FTRACE_NOTRACE explicit reading(const tracer_buffers& buffers) noexcept
            : readers_(buffers.readers_) {
            // seq_cst, with the load in retire(): either that sees this reader, or this reader
            // does not see the buffers that were taken off the list before.
            __atomic_fetch_add(&readers_, 1, __ATOMIC_SEQ_CST);
        }
        FTRACE_NOTRACE ~reading() { __atomic_fetch_sub(&readers_, 1, __ATOMIC_RELEASE); }
        reading(const reading&) = delete;
        reading& operator=(const reading&) = delete;

    private:
        std::size_t& readers_;
    };

    /// Forgets everything, and frees the buffers of threads that are gone; not inside a callback,
    /// which it would wait for.
    FTRACE_NOTRACE void clear() noexcept {
        __atomic_store_n(&lost_, 0, __ATOMIC_RELAXED);
        thread_buffer* const first = __atomic_load_n(&first_, __ATOMIC_ACQUIRE);
        for (thread_buffer* each = first; each != nullptr; each = each->next) each->ring.clear();
        if (first == nullptr) return;
        thread_state* const thread = this_thread();
        if (thread == nullptr || in_section(*thread)) return;
        retire(unlink_gone());
    }

    /// Only while no callback can run.
    FTRACE_NOTRACE void free_all() noexcept {
        if (first_ != nullptr) leave_directories(true);
        unmap(first_, &thread_buffer::next);
        unmap(retired_, &thread_buffer::next_retired);
    }

private:
    FTRACE_NOTRACE static void unmap(thread_buffer*& list,
                                     thread_buffer* thread_buffer::* next) noexcept {
        while (list != nullptr) {
            thread_buffer* const behind = list->*next;
            ::munmap(list, list->mapped);
            list = behind;
        }
    }

    /// Takes buffers of threads that are gone off the list, and makes one of their own of them.
    /// Those of a process that forked this one stay: its threads' numbers say nothing here.
    [[nodiscard]] FTRACE_NOTRACE thread_buffer* unlink_gone() noexcept {
        thread_buffer* found = nullptr;
        const pid_t process = ::getpid();
        thread_buffer** link = &first_;
        for (thread_buffer* each = __atomic_load_n(link, __ATOMIC_ACQUIRE); each != nullptr;) {
            thread_buffer* const next = each->next;
            thread_buffer* expected = each;
            // It fails if a new buffer came in front of the first one: that goes next time.
            if (each->process == process && !thread_pool::alive(each->tid) &&
                __atomic_compare_exchange_n(link, &expected, next, false, __ATOMIC_SEQ_CST,
                                            __ATOMIC_RELAXED)) {
                each->retired = true;
                each->next_retired = found;
                found = each;
            } else {
                link = &each->next;
            }
            each = next;
        }
        return found;
    }

    /// Unmaps buffers that are off the list, now or when nobody reads any more.
    FTRACE_NOTRACE void retire(thread_buffer* list) noexcept {
        if (list != nullptr) {
            leave_directories(false);
            // A callback on a thread that has the slot of one that is gone may look at its buffer.
            process_state& shared = *detail::process();
            const lock_guard guard(shared.lock);
            synchronize_callbacks(shared);
        }
        while (list != nullptr) {
            thread_buffer* const next = list->next_retired;
            list->next_retired = retired_;
            retired_ = list;
            list = next;
        }
        if (__atomic_load_n(&readers_, __ATOMIC_SEQ_CST) == 0)
            unmap(retired_, &thread_buffer::next_retired);
    }

    /// Takes the retired buffers, or all, out of the directories of the threads.
    FTRACE_NOTRACE void leave_directories(bool all) noexcept {
        thread_pool& threads = detail::process()->threads;
        for (std::size_t i = 0; i < threads.used(); ++i) {
            for (buffer_directory* part = directory_of(threads[i]); part != nullptr;
                 part = part->behind())
                for (auto& each : part->entries) {
                    std::uintptr_t owner = __atomic_load_n(&each.owner, __ATOMIC_ACQUIRE);
                    if (owner != self()) continue;
                    // If a new thread puts its own buffer here meanwhile, it makes another later.
                    if (all || __atomic_load_n(&each.buffer, __ATOMIC_RELAXED)->retired)
                        __atomic_compare_exchange_n(&each.owner, &owner, buffer_directory::freed,
                                                    false, __ATOMIC_RELEASE, __ATOMIC_RELAXED);
                }
        }
    }

    FTRACE_NO_INSTRUMENTATION thread_buffer* find_or_open() noexcept {
        thread_state* const thread = this_thread();
        if (thread == nullptr) return nullptr;
        // Mostly one tracer runs, and has the first entry.
        for (const buffer_directory* part = directory_of(*thread); part != nullptr;
             part = part->behind())
            for (const auto& each : part->entries) {
                const std::uintptr_t owner = __atomic_load_n(&each.owner, __ATOMIC_RELAXED);
                if (owner == buffer_directory::unused) return open(*thread);
                if (owner != self()) continue;
                thread_buffer* const mine = each.buffer;
                if (mine->generation == thread->generation && mine->tid == thread->tid) return mine;
                return open(*thread);
            }
        return open(*thread);
    }

    FTRACE_NO_INSTRUMENTATION __attribute__((noinline)) thread_buffer* open(
        thread_state& thread) noexcept {
        buffer_directory::entry* const entry = take_entry(thread);
        if (entry == nullptr) return nullptr;
        const std::size_t bytes = thread_buffer::bytes_for(capacity_);
        void* const memory = map_memory(bytes);
        if (memory == nullptr) {
            __atomic_store_n(&entry->owner, buffer_directory::freed, __ATOMIC_RELEASE);
            return nullptr;
        }
        auto* const slots =
            reinterpret_cast<event_slot*>(static_cast<std::byte*>(memory) + sizeof(thread_buffer));
        auto* const made = ::new (memory) thread_buffer(thread, bytes, slots, capacity_, mode_);
        __atomic_store_n(&entry->buffer, made, __ATOMIC_RELAXED);
        __atomic_store_n(&entry->owner, self(), __ATOMIC_RELEASE);
        made->next = __atomic_load_n(&first_, __ATOMIC_RELAXED);
        // release: pairs with the acquire in first(); who sees the buffer sees it made.
        while (!__atomic_compare_exchange_n(&first_, &made->next, made, true, __ATOMIC_RELEASE,
                                            __ATOMIC_RELAXED)) {
        }
        return made;
    }

    /// An entry of the thread's directory that nobody else will take: this tracer's own, or a free
    /// one. A signal handler on this thread may be here at the same time.
    FTRACE_NO_INSTRUMENTATION buffer_directory::entry* take_entry(thread_state& thread) noexcept {
        void** link = &thread.trace;
        for (std::size_t parts = 0; parts < buffer_directory::most_parts; ++parts) {
            buffer_directory* const part = buffer_directory::at(*link);
            if (part == nullptr) return nullptr;
            for (auto& each : part->entries) {
                std::uintptr_t owner = __atomic_load_n(&each.owner, __ATOMIC_RELAXED);
                const bool free = owner == buffer_directory::unused ||
                                  owner == buffer_directory::freed || owner == self();
                if (free &&
                    __atomic_compare_exchange_n(&each.owner, &owner, buffer_directory::taken, false,
                                                __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
                    return &each;
            }
            link = &part->next;
        }
        return nullptr;
    }

    [[nodiscard]] FTRACE_NO_INSTRUMENTATION std::uintptr_t self() const noexcept {
        return reinterpret_cast<std::uintptr_t>(this);
    }

    thread_buffer* first_ = nullptr;
    thread_buffer* retired_ = nullptr;  // off the list, but somebody may read them
    mutable std::size_t readers_ = 0;
    std::uint64_t lost_ = 0;
    std::size_t capacity_ = 64;
    overflow mode_ = overflow::overwrite;
};

}  // namespace ftrace::inline v0::detail
