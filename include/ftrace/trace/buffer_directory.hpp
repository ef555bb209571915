// How a thread finds its buffer of each tracer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <ftrace/core/config.hpp>
#include <ftrace/core/mapped_memory.hpp>
#include <ftrace/core/os.hpp>
#include <ftrace/core/thread_state.hpp>

namespace ftrace::inline v0::detail {

struct thread_buffer;  // trace/thread_buffer.hpp

/// Which tracers a thread has buffers of: a chain of small parts, so that threads which end soon
/// cost little. Parts are never freed.
struct alignas(64) buffer_directory {
    /// Owners that are none: an entry that was never used (where a search ends), one whose tracer
    /// is gone, and one whose buffer is being made.
    enum : std::uintptr_t { unused = 0, freed = 1, taken = 2 };
    struct entry {
        std::uintptr_t owner;
        thread_buffer* buffer;
    };
    static constexpr std::size_t part = 3, most_parts = 86;
    static constexpr std::size_t capacity = part * most_parts;  ///< tracers

    entry entries[part];
    void* next;  ///< another part

    /// The part behind a pointer to one, made if it is missing. nullptr: no memory. Safe in a
    /// callback, where a signal handler may be here at the same time.
    [[nodiscard]] FTRACE_NO_INSTRUMENTATION static buffer_directory* at(void*& link) noexcept {
        void* found = __atomic_load_n(&link, __ATOMIC_ACQUIRE);
        if (found != nullptr) return static_cast<buffer_directory*>(found);
        buffer_directory* const made = make();
        if (made == nullptr) return nullptr;
        // Should a handler have been faster, what was made is left: 64 bytes.
        void* const mine = made;
        return __atomic_compare_exchange_n(&link, &found, mine, false, __ATOMIC_ACQ_REL,
                                           __ATOMIC_ACQUIRE)
                   ? made
                   : static_cast<buffer_directory*>(found);
    }
    [[nodiscard]] FTRACE_NO_INSTRUMENTATION buffer_directory* behind() const noexcept {
        return static_cast<buffer_directory*>(__atomic_load_n(&next, __ATOMIC_ACQUIRE));
    }

private:
    /// From pages that this object's threads share: the next one free lies at `unused_part`, and
    /// where a page ends, none does.
    [[nodiscard]] FTRACE_NO_INSTRUMENTATION static buffer_directory* make() noexcept;
};
static_assert(page_size % sizeof(buffer_directory) == 0);

FTRACE_LOCAL inline constinit std::uintptr_t unused_part = 0;

FTRACE_NO_INSTRUMENTATION inline buffer_directory* buffer_directory::make() noexcept {
    std::uintptr_t at = __atomic_load_n(&unused_part, __ATOMIC_RELAXED);
    while (at % page_size != 0)
        if (__atomic_compare_exchange_n(&unused_part, &at, at + sizeof(buffer_directory), true,
                                        __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
            return reinterpret_cast<buffer_directory*>(at);
    void* const page = map_memory(page_size);
    if (page == nullptr) return nullptr;
    // The first part is the caller's. If another thread has brought a page too, its rest is used.
    const auto begin = reinterpret_cast<std::uintptr_t>(page);
    __atomic_compare_exchange_n(&unused_part, &at, begin + sizeof(buffer_directory), false,
                                __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
    return static_cast<buffer_directory*>(page);
}

/// The first part of a thread's directory.
[[nodiscard]] FTRACE_NO_INSTRUMENTATION inline buffer_directory* directory_of(
    thread_state& thread) noexcept {
    return static_cast<buffer_directory*>(__atomic_load_n(&thread.trace, __ATOMIC_ACQUIRE));
}

}  // namespace ftrace::inline v0::detail
