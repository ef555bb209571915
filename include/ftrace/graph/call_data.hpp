// Memory for what callbacks keep of a call or a thread: from 64 bytes to 64 KiB, without malloc.
#pragma once

#include <cstddef>
#include <cstdint>
#include <ftrace/core/config.hpp>
#include <ftrace/core/mapped_memory.hpp>

namespace ftrace::inline v0::detail {

/// Pieces in sizes of powers of two, one list of free ones for each size. Used by one thread at a
/// time; a piece may go back to another pool than it came from. The memory stays mapped.
class data_pool {
public:
    static constexpr std::size_t largest = std::size_t{64} << 10;

    /// `size` bytes of zeros, at a multiple of 16. nullptr: no memory.
    [[nodiscard]] FTRACE_NO_INSTRUMENTATION void* take(std::size_t size) noexcept {
        unsigned order = 0;
        while ((smallest << order) < size + sizeof(piece)) ++order;
        piece* const found = free_[order] != nullptr ? free_[order] : refill(order);
        if (found == nullptr) return nullptr;
        free_[order] = found->next;
        found->order = order;
        __builtin_memset(found + 1, 0, size);
        return found + 1;
    }
    FTRACE_NO_INSTRUMENTATION void give(void* data) noexcept {
        if (data == nullptr) return;
        piece* const back = static_cast<piece*>(data) - 1;
        back->next = free_[back->order];
        free_[back->order] = back;
    }

private:
    struct alignas(16) piece {
        piece* next;
        std::uint64_t order;
    };
    static constexpr std::size_t smallest = 64, chunk = std::size_t{64} << 10;
    static constexpr unsigned orders = 12;  // up to 128 KiB, since a piece's head is in it
    static_assert(smallest << (orders - 1) >= largest + sizeof(piece));

    FTRACE_NO_INSTRUMENTATION __attribute__((noinline)) piece* refill(unsigned order) noexcept {
        const std::size_t size = smallest << order;
        const std::size_t bytes = size < chunk ? chunk : size;
        auto* const memory = static_cast<std::byte*>(map_memory(bytes));
        if (memory == nullptr) return nullptr;
        for (std::size_t at = 0; at < bytes; at += size) {
            auto* const made = reinterpret_cast<piece*>(memory + at);
            made->next = free_[order];
            free_[order] = made;
        }
        return free_[order];
    }

    piece* free_[orders];
};

/// What fgraph_ops keep of one thread. Made in zeroed memory.
class thread_data {
public:
    /// What the ops with this ticket keeps; nullptr: nothing yet.
    [[nodiscard]] FTRACE_NO_INSTRUMENTATION void* find(std::uint32_t ticket) const noexcept {
        for (kept* each = first_; each != nullptr; each = each->next)
            if (each->ticket == ticket) return each + 1;
        return nullptr;
    }
    /// `size` bytes of it, zero. nullptr: no memory.
    [[nodiscard]] FTRACE_NO_INSTRUMENTATION void* make(data_pool& pool, std::uint32_t ticket,
                                                       std::size_t size) noexcept {
        auto* const made = static_cast<kept*>(pool.take(sizeof(kept) + size));
        if (made == nullptr) return nullptr;
        made->next = first_;
        made->ticket = ticket;
        first_ = made;
        return made + 1;
    }
    /// Gives back what ops kept that are gone.
    template <class IsGone>
    FTRACE_NO_INSTRUMENTATION void forget(data_pool& pool, IsGone is_gone) noexcept {
        for (kept** link = &first_; *link != nullptr;) {
            kept* const each = *link;
            if (!is_gone(each->ticket)) {
                link = &each->next;
                continue;
            }
            *link = each->next;
            pool.give(each);
        }
    }

private:
    struct alignas(16) kept {
        kept* next;
        std::uint32_t ticket;
    };
    kept* first_;
};

}  // namespace ftrace::inline v0::detail
