// Every site whose text was ever changed: tells our int3 from one of the program's, also when its
// SIGTRAP arrives after the transaction ended.
#pragma once

#include <cstddef>
#include <cstdint>
#include <ftrace/arch/text_poke.hpp>
#include <ftrace/core/config.hpp>
#include <ftrace/core/plain_vector.hpp>
#include <new>
#include <utility>

namespace ftrace::inline v0::detail {

/// Sorted addresses that do not change while a signal handler may look at them.
struct sorted_sites {
    const std::uintptr_t* sites = nullptr;
    std::size_t count = 0;

    FTRACE_NO_INSTRUMENTATION sorted_sites() noexcept = default;
    FTRACE_NOTRACE explicit sorted_sites(const plain_vector<std::uintptr_t>& of) noexcept
        : sites(of.data()), count(of.size()) {}

    /// The first place from `begin` on whose address is not below `site`. Quick if that is
    /// near `begin`.
    [[nodiscard]] FTRACE_NO_INSTRUMENTATION std::size_t find(std::uintptr_t site,
                                                             std::size_t begin = 0) const noexcept {
        std::size_t step = 1;
        while (begin + step <= count && sites[begin + step - 1] < site) {
            begin += step;
            step *= 2;
        }
        std::size_t end = begin + step <= count ? begin + step - 1 : count;
        while (begin < end) {
            const std::size_t middle = begin + (end - begin) / 2;
            if (sites[middle] < site)
                begin = middle + 1;
            else
                end = middle;
        }
        return begin;
    }
    [[nodiscard]] FTRACE_NO_INSTRUMENTATION bool holds(std::size_t at,
                                                       std::uintptr_t site) const noexcept {
        return at < count && sites[at] == site;
    }
};

/// The sites of all transactions so far. Never changes once published; the next transaction with
/// sites of its own publishes another. Most are in a large list that is copied seldom, so that
/// sites which come one by one cost little each.
class edited_sites {
public:
    FTRACE_NOTRACE edited_sites() = default;
    FTRACE_NOTRACE ~edited_sites() = default;
    edited_sites(const edited_sites&) = delete;
    edited_sites& operator=(const edited_sites&) = delete;

    /// Runs in a signal handler.
    [[nodiscard]] FTRACE_NO_INSTRUMENTATION bool contains(std::uintptr_t site) const noexcept {
        return large_.holds(large_.find(site), site) || recent_.holds(recent_.find(site), site);
    }

    /// `known` and the sites of `edits`, which are sorted; `known` itself if it has them all;
    /// nullptr: no memory.
    [[nodiscard]] FTRACE_NOTRACE static const edited_sites* with(
        const edited_sites* known, const plain_vector<arch::text_edit>& edits) {
        const edited_sites none;
        const edited_sites& before = known != nullptr ? *known : none;
        plain_vector<std::uintptr_t> added;
        std::size_t in_large = 0, in_recent = 0;
        for (const arch::text_edit& edit : edits) {
            // Mostly the same sites again, one after the other.
            if (before.large_.holds(in_large, edit.site)) {
                ++in_large;
                continue;
            }
            in_large = before.large_.find(edit.site, in_large);
            in_recent = before.recent_.find(edit.site, in_recent);
            if (!before.large_.holds(in_large, edit.site) &&
                !before.recent_.holds(in_recent, edit.site))
                added.push_back(edit.site);
        }
        if (added.empty()) return known;
        constexpr std::size_t seldom = 16;
        plain_vector<std::uintptr_t> recent = merged(before.recent_, sorted_sites(added));
        const plain_vector<std::uintptr_t>* large = before.large_owned_;
        if (recent.size() * seldom > before.large_.count) {
            large = new plain_vector<std::uintptr_t>(merged(before.large_, sorted_sites(recent)));
            recent.clear();
        }
        auto* const next = new (std::nothrow) edited_sites;
        if (next == nullptr) {
            if (large != before.large_owned_) delete large;
            return nullptr;
        }
        next->recent_owned_ = std::move(recent);
        next->large_owned_ = large;
        next->large_ = sorted_sites(*next->large_owned_);
        next->recent_ = sorted_sites(next->recent_owned_);
        return next;
    }

    /// Frees a list that `next` replaced, or nothing, when no handler can hold it any more.
    FTRACE_NOTRACE static void retire(const edited_sites* old, const edited_sites* next) {
        if (old == nullptr || old == next) return;
        if (next == nullptr || old->large_owned_ != next->large_owned_) delete old->large_owned_;
        delete old;
    }

private:
    [[nodiscard]] FTRACE_NOTRACE static plain_vector<std::uintptr_t> merged(sorted_sites a,
                                                                            sorted_sites b) {
        plain_vector<std::uintptr_t> all;
        all.reserve(a.count + b.count);
        std::size_t i = 0, j = 0;
        while (i < a.count || j < b.count)
            all.push_back(j == b.count || (i < a.count && a.sites[i] < b.sites[j]) ? a.sites[i++]
                                                                                   : b.sites[j++]);
        return all;
    }

    // What handlers read: plain pointers, since a sanitizer may check functions of plain_vector.
    sorted_sites large_, recent_;
    const plain_vector<std::uintptr_t>* large_owned_ = nullptr;
    plain_vector<std::uintptr_t> recent_owned_;
};

}  // namespace ftrace::inline v0::detail
