// Sorting by a 64-bit key, without <algorithm>: that header costs more to compile than all others
// of sites/ together.
#pragma once

#include <cstddef>
#include <cstdint>
#include <ftrace/core/config.hpp>
#include <ftrace/core/plain_vector.hpp>
#include <utility>

namespace ftrace::inline v0::detail {

/// Sorts by `key(element)`, an unsigned number, keeping the order of equals. Linear: one pass for
/// each byte in which keys differ, none if the elements are sorted already.
template <typename T, typename Key>
FTRACE_NOTRACE void sort_by_key(plain_vector<T>& elements, Key key) {
    std::uint64_t differing = 0;
    bool sorted = true;
    for (std::size_t i = 1; i < elements.size(); ++i) {
        const std::uint64_t previous = key(elements[i - 1]), current = key(elements[i]);
        differing |= previous ^ current;
        sorted = sorted && previous <= current;
    }
    if (sorted) return;
    plain_vector<T> other(elements.size());
    for (unsigned shift = 0; shift < 64; shift += 8) {
        if (((differing >> shift) & 0xff) == 0) continue;
        std::size_t position[256] = {};
        for (const T& element : elements) ++position[(key(element) >> shift) & 0xff];
        std::size_t next = 0;
        for (std::size_t& at : position) next += std::exchange(at, next);
        for (T& element : elements)
            other[position[(key(element) >> shift) & 0xff]++] = std::move(element);
        elements.swap(other);
    }
}

/// Removes neighbours that are equal.
template <typename T>
FTRACE_NOTRACE void drop_repeated(plain_vector<T>& elements) {
    std::size_t kept = 0;
    for (std::size_t i = 0; i < elements.size(); ++i)
        if (i == 0 || !(elements[i] == elements[kept - 1])) elements[kept++] = elements[i];
    elements.resize(kept);
}

}  // namespace ftrace::inline v0::detail
