// Says whether an fgraph_ops that hooked a call is still there when the call ends.
#pragma once

#include <cstdint>
#include <ftrace/core/config.hpp>
#include <ftrace/core/mapped_memory.hpp>

namespace ftrace::inline v0 {

class fgraph_ops;

namespace detail {

/// Registered fgraph_ops. A hooked call remembers index and generation, so that the end of a call
/// never meets a new ops at the index of a removed one.
class graph_table {
public:
    static constexpr std::uint32_t capacity = 65536;  // memory is touched as it is used

    FTRACE_NOTRACE graph_table() noexcept
        : entries_(static_cast<entry*>(map_memory(capacity * sizeof(entry)))) {}
    graph_table(const graph_table&) = delete;
    graph_table& operator=(const graph_table&) = delete;
    FTRACE_NOTRACE ~graph_table() {
        if (entries_ != nullptr) ::munmap(entries_, capacity * sizeof(entry));
    }
    [[nodiscard]] FTRACE_NOTRACE bool usable() const noexcept { return entries_ != nullptr; }

    /// A ticket for calls to be hooked, or 0: the table is full. Under the process's lock.
    [[nodiscard]] FTRACE_NOTRACE std::uint32_t add(fgraph_ops& ops) noexcept {
        for (std::uint32_t tried = 0; tried < capacity; ++tried) {
            const std::uint32_t i = next_++ % capacity;  // not the one that was given back last
            entry& at = entries_[i];
            if (__atomic_load_n(&at.ops, __ATOMIC_RELAXED) != nullptr) continue;
            const std::uint32_t before = __atomic_load_n(&at.ticket, __ATOMIC_RELAXED);
            // The next generation of this index; generation 0 is left out, since no ticket is 0.
            std::uint32_t ticket = (before / capacity + 1) * capacity + i;
            if (ticket < capacity) ticket += capacity;
            __atomic_store_n(&at.ticket, ticket, __ATOMIC_RELAXED);
            // release: who sees the ops sees its ticket.
            __atomic_store_n(&at.ops, &ops, __ATOMIC_RELEASE);
            return ticket;
        }
        return 0;
    }
    /// False: the ticket is no longer valid. Under the process's lock.
    FTRACE_NOTRACE bool remove(std::uint32_t ticket) noexcept {
        entry& at = entries_[ticket % capacity];
        if (at.ops == nullptr || at.ticket != ticket) return false;
        __atomic_store_n(&at.ops, nullptr, __ATOMIC_RELEASE);
        return true;
    }
    /// Inside a section only: remove() is followed by a grace period.
    [[nodiscard]] FTRACE_STUB_INLINE fgraph_ops* find(std::uint32_t ticket) const noexcept {
        const entry& at = entries_[ticket % capacity];
        fgraph_ops* const ops = __atomic_load_n(&at.ops, __ATOMIC_ACQUIRE);
        return __atomic_load_n(&at.ticket, __ATOMIC_RELAXED) == ticket ? ops : nullptr;
    }

private:
    struct entry {
        fgraph_ops* ops;
        std::uint32_t ticket;
    };
    entry* entries_;
    std::uint32_t next_ = 0;
};

}  // namespace detail
}  // namespace ftrace::inline v0
