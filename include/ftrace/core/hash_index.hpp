// Finds elements of a sequence by their hash: <unordered_map> costs more to include than all it
// would replace here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <ftrace/core/config.hpp>
#include <ftrace/core/plain_vector.hpp>

namespace ftrace::inline v0::detail {

/// Adds a word to a hash (the finaliser of MurmurHash3, of the sum).
[[nodiscard]] FTRACE_NOTRACE constexpr std::uint64_t hash_with(std::uint64_t hash,
                                                               std::uint64_t word) noexcept {
    hash += word + 0x9e3779b97f4a7c15;
    hash = (hash ^ (hash >> 33)) * 0xff51afd7ed558ccd;
    hash = (hash ^ (hash >> 33)) * 0xc4ceb9fe1a85ec53;
    return hash ^ (hash >> 33);
}

/// Holds numbers of elements, not the elements. Nothing is removed: an element that changed is
/// found no more, since `is_wanted` says no.
class hash_index {
public:
    static constexpr std::uint32_t none = ~std::uint32_t{0};

    FTRACE_NOTRACE hash_index() = default;
    FTRACE_NOTRACE ~hash_index() = default;
    hash_index(const hash_index&) = delete;
    hash_index& operator=(const hash_index&) = delete;

    /// The first element with this hash of which is_wanted(element) is true, or `none`.
    template <class IsWanted>
    [[nodiscard]] FTRACE_NOTRACE std::uint32_t find(std::uint64_t hash, IsWanted is_wanted) const {
        for (std::size_t i = hash & mask(); !places_.empty(); i = (i + 1) & mask()) {
            if (places_[i].element == none) break;
            if (places_[i].hash == hash && is_wanted(places_[i].element)) return places_[i].element;
        }
        return none;
    }

    /// Once for an element and a hash, however often it comes.
    FTRACE_NOTRACE void insert(std::uint64_t hash, std::uint32_t element) {
        const auto is_element = [element](std::uint32_t known)
                                    FTRACE_NOTRACE { return known == element; };
        if (find(hash, is_element) != none) return;
        if (2 * (used_ + 1) > places_.size()) grow();
        put({hash, element});
        ++used_;
    }

private:
    struct place {
        std::uint64_t hash;
        std::uint32_t element;
    };

    [[nodiscard]] FTRACE_NOTRACE std::size_t mask() const noexcept { return places_.size() - 1; }

    FTRACE_NOTRACE void put(place filled) noexcept {
        std::size_t i = filled.hash & mask();
        while (places_[i].element != none) i = (i + 1) & mask();
        places_[i] = filled;
    }
    FTRACE_NOTRACE void grow() {
        constexpr std::size_t fewest = 16;
        plain_vector<place> before(places_.empty() ? fewest : 2 * places_.size(), place{0, none});
        before.swap(places_);
        for (const place& filled : before)
            if (filled.element != none) put(filled);
    }

    plain_vector<place> places_;  // a power of two of them, half of them free
    std::size_t used_ = 0;
};

}  // namespace ftrace::inline v0::detail
