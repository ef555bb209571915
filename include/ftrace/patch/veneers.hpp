// Where the veneers are: pages within reach of the text that calls them.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <ftrace/arch/veneer.hpp>
#include <ftrace/arch/veneer_unwind.hpp>
#include <ftrace/core/config.hpp>
#include <ftrace/core/hash_index.hpp>
#include <ftrace/core/os.hpp>
#include <ftrace/core/plain_vector.hpp>
#include <ftrace/core/result.hpp>
#include <ftrace/patch/debugger.hpp>
#include <ftrace/patch/unwinders.hpp>
#include <new>
#include <string>
#include <utility>

namespace ftrace::inline v0::detail {

/// All veneers of one kind in the process. They are never taken away: a thread may be on its way
/// through one. The same context and target get the same veneer again, so switching the same ops on and off
/// needs no more of them.
class veneer_pool {
public:
    FTRACE_NOTRACE explicit veneer_pool(arch::veneer_kind kind = arch::veneer_kind::call) noexcept
        : kind_(kind) {}
    FTRACE_NOTRACE ~veneer_pool() = default;
    veneer_pool(const veneer_pool&) = delete;
    veneer_pool& operator=(const veneer_pool&) = delete;

    /// A veneer that every address in [begin, end) can call, and that enters `target` with
    /// `context` on the stack (jumps: without). Errors: out_of_reach; permission_denied, if the
    /// system lets no memory become executable; out_of_memory.
    FTRACE_NOTRACE result<std::uintptr_t> get(std::uintptr_t begin, std::uintptr_t end,
                                              const void* context, const void* target) {
        const std::uint64_t hash = hash_with(reinterpret_cast<std::uintptr_t>(context),
                                             reinterpret_cast<std::uintptr_t>(target));
        const std::uint32_t known = known_.find(hash, [&](std::uint32_t veneer) FTRACE_NOTRACE {
            const page& where = pages_[veneer / arch::veneers_per_page];
            const arch::veneer_data& data = where.data()[veneer % arch::veneers_per_page];
            return data.context == context && data.target == target &&
                   reaches(where.code, begin, end);
        });
        if (known != hash_index::none)
            return pages_[known / arch::veneers_per_page].entry(known % arch::veneers_per_page);
        // The pages made last are those with room.
        for (std::size_t i = pages_.size(); i > 0; --i)
            if (pages_[i - 1].used < arch::veneers_per_page &&
                reaches(pages_[i - 1].code, begin, end))
                return add(i - 1, hash, context, target);
        // Its entry in the list first, as that of a full page: it may be the memory for it that
        // lacks.
        pages_.push_back({0, arch::veneers_per_page, nullptr});
        auto code = map_page(begin, end, kind_);
        if (!code) {
            pages_.pop_back();
            return code;
        }
        pages_.back() = {*code, 0, tell_unwinders(*code, kind_)};
        return add(pages_.size() - 1, hash, context, target);
    }

private:
    struct page {
        std::uintptr_t code;
        std::size_t used;
        const arch::veneer_unwind_section* unwind;  // what the unwinders were given; kept for ever

        [[nodiscard]] FTRACE_NOTRACE arch::veneer_data* data() const noexcept {
            return reinterpret_cast<arch::veneer_data*>(code + arch::veneer_page);
        }
        [[nodiscard]] FTRACE_NOTRACE std::uintptr_t entry(std::size_t i) const noexcept {
            return code + i * sizeof(arch::veneer_code);
        }
    };

    [[nodiscard]] FTRACE_NOTRACE static bool reaches(std::uintptr_t code, std::uintptr_t begin,
                                                     std::uintptr_t end) noexcept {
        return arch::call_reaches(begin, code) && arch::call_reaches(end, code) &&
               arch::call_reaches(begin, code + arch::veneer_page) &&
               arch::call_reaches(end, code + arch::veneer_page);
    }

    /// A page of veneers without targets, which calls from [begin, end) reach.
    [[nodiscard]] FTRACE_NOTRACE static result<std::uintptr_t> map_page(std::uintptr_t begin,
                                                                        std::uintptr_t end,
                                                                        arch::veneer_kind kind) {
        const std::uintptr_t code = map_near(begin, end);
        if (code == 0)
            return error{
                errc::out_of_reach,
                "no free address space within 2 GiB of the text at " + hex(begin) +
                    " for a veneer: the functions there cannot be traced from a stub farther away",
                {},
                begin};
        arch::write_veneer_page(reinterpret_cast<void*>(code), kind);
        auto executable = change_protection(code, code + arch::veneer_page, PROT_READ | PROT_EXEC);
        if (executable) return code;
        ::munmap(reinterpret_cast<void*>(code), 2 * arch::veneer_page);
        return std::move(executable).error();
    }

    /// Without memory for it the veneers work all the same, and backtraces end in them.
    FTRACE_NOTRACE static const arch::veneer_unwind_section* tell_unwinders(
        std::uintptr_t code, arch::veneer_kind kind) {
        auto* const section = new (std::nothrow) arch::veneer_unwind_section(code, kind);
        if (section == nullptr) return nullptr;
        register_unwind_section(*section);
        tell_debugger("ftrace_veneer", code, arch::veneer_page, *section);
        return section;
    }

    /// Nobody calls the entry before its site is written, and that is ordered by
    /// synchronize_cores().
    FTRACE_NOTRACE std::uintptr_t add(std::size_t page_number, std::uint64_t hash,
                                      const void* context, const void* target) {
        page& where = pages_[page_number];
        known_.insert(
            hash, static_cast<std::uint32_t>(page_number * arch::veneers_per_page + where.used));
        where.data()[where.used] = {context, target};
        return where.entry(where.used++);
    }

    /// A code page and its data page, both writable and empty; 0 if there is no room.
    FTRACE_NOTRACE static std::uintptr_t map_near(std::uintptr_t begin,
                                                  std::uintptr_t end) noexcept {
        // Below the text first: above an executable that is not position-independent the heap
        // grows. Upwards the first steps are left out for the same reason. Address 0 stays free,
        // also where the system would give it.
        constexpr std::uintptr_t step = 1 << 20, reach = std::uintptr_t{2047} << 20,
                                 heap_room = std::uintptr_t{256} << 20;
        for (std::uintptr_t distance = step; distance < reach && distance + step <= begin;
             distance += step)
            if (const std::uintptr_t code = map_at((begin - distance) & ~(step - 1)); code != 0) {
                if (reaches(code, begin, end)) return code;
                ::munmap(reinterpret_cast<void*>(code), 2 * arch::veneer_page);
                break;
            }
        for (std::uintptr_t distance = heap_room; distance < reach; distance += step)
            if (const std::uintptr_t code = map_at((end + distance) & ~(step - 1)); code != 0) {
                if (reaches(code, begin, end)) return code;
                ::munmap(reinterpret_cast<void*>(code), 2 * arch::veneer_page);
                break;
            }
        return 0;
    }

    FTRACE_NOTRACE static std::uintptr_t map_at(std::uintptr_t address) noexcept {
        void* const wanted = reinterpret_cast<void*>(address);
        void* const memory = ::mmap(wanted, 2 * arch::veneer_page, PROT_READ | PROT_WRITE,
                                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
        if (memory == MAP_FAILED) return 0;
        if (memory == wanted) return address;
        ::munmap(memory, 2 * arch::veneer_page);
        return 0;
    }

    arch::veneer_kind kind_;
    plain_vector<page> pages_;
    hash_index known_;  // veneers by context and target, counted through all pages
};

}  // namespace ftrace::inline v0::detail
