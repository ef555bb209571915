// Where the veneers are: in the text of the object whose code the process uses, as long as it is
// within reach and has some left; else in pages within reach of the text that calls them.
//
// An object's own have their rules for unwinders in that object. Of pages LLVM's unwinder is told,
// and libgcc in static programs only (unwinders.hpp). So in other programs, what a profiler, a
// debugger or backtrace() in a signal handler sees of a thread ends where a signal found it at one
// of the one or two instructions of a veneer in a page. No exception and no return passes through
// these.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <ftrace/arch/object_veneers.hpp>
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
/// through one. The same context and target get the same veneer again, so switching the same ops on
/// and off needs no more of them.
class veneer_pool {
public:
    /// `own`: of this kind, in an object that stays loaded; null: pages only.
    FTRACE_NOTRACE explicit veneer_pool(arch::veneer_kind kind = arch::veneer_kind::call,
                                        const arch::object_veneers* own = nullptr) noexcept
        : kind_(kind), own_(own) {}
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
            const place& where = places_[veneer / most];
            const arch::veneer_data& data = where.words[veneer % most];
            return data.context == context && data.target == target && where.reaches(begin, end);
        });
        if (known != hash_index::none) return places_[known / most].entry(known % most);
        if (places_.empty() && own_ != nullptr)
            places_.push_back({own_->begin(), own_->words, own_->count, 0, own_->taken, nullptr});
        // The object's own first; of pages those made last are those with room.
        for (std::size_t n = 0; n < places_.size(); ++n) {
            const std::size_t i = n == 0 ? 0 : places_.size() - n;
            if (places_[i].has_room() && places_[i].reaches(begin, end))
                return add(i, hash, context, target);
        }
        // Its entry in the list first, as that of a full page: it may be the memory for it that
        // lacks.
        places_.push_back({0, nullptr, 0, 0, nullptr, nullptr});
        auto code = map_page(begin, end, kind_);
        if (!code) {
            places_.pop_back();
            return code;
        }
        places_.back() = {*code,
                          reinterpret_cast<arch::veneer_data*>(*code + arch::veneer_page),
                          arch::veneers_per_page,
                          0,
                          nullptr,
                          tell_unwinders(*code, kind_)};
        return add(places_.size() - 1, hash, context, target);
    }

private:
    static constexpr std::size_t most = arch::veneers_per_page;  // in one place
    static_assert(arch::call_veneers <= most && arch::jump_veneers <= most);

    /// Some veneers, and their words.
    struct place {
        std::uintptr_t code;
        arch::veneer_data* words;
        std::size_t count;
        std::size_t taken_here;
        std::size_t* taken_of_object;  // of an object's own: other pools take some, too
        const arch::veneer_unwind_section* unwind;  // what unwinders were told; kept for ever

        [[nodiscard]] FTRACE_NOTRACE bool has_room() const noexcept { return taken() < count; }
        [[nodiscard]] FTRACE_NOTRACE std::size_t taken() const noexcept {
            return taken_of_object != nullptr ? *taken_of_object : taken_here;
        }
        FTRACE_NOTRACE std::size_t take() noexcept {
            return (taken_of_object != nullptr ? *taken_of_object : taken_here)++;
        }
        [[nodiscard]] FTRACE_NOTRACE std::uintptr_t entry(std::size_t i) const noexcept {
            return code + i * sizeof(arch::veneer_code);
        }
        [[nodiscard]] FTRACE_NOTRACE bool reaches(std::uintptr_t begin,
                                                  std::uintptr_t end) const noexcept {
            return veneer_pool::reaches(code, count * sizeof(arch::veneer_code), begin, end);
        }
    };

    [[nodiscard]] FTRACE_NOTRACE static bool reaches(std::uintptr_t code, std::size_t size,
                                                     std::uintptr_t begin,
                                                     std::uintptr_t end) noexcept {
        return arch::call_reaches(begin, code) && arch::call_reaches(end, code) &&
               arch::call_reaches(begin, code + size) && arch::call_reaches(end, code + size);
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

    /// Without memory for it the veneers work all the same.
    FTRACE_NOTRACE static const arch::veneer_unwind_section* tell_unwinders(
        std::uintptr_t code, arch::veneer_kind kind) {
        if (!unwinders().any()) return nullptr;
        auto* const section = new (std::nothrow) arch::veneer_unwind_section(code, kind);
        if (section == nullptr) return nullptr;
        register_unwind_section(*section, unwinders());
        tell_debugger("ftrace_veneer", code, arch::veneer_page, *section);
        return section;
    }

    /// Nobody calls the entry before its site is written, and that is ordered by
    /// synchronize_cores().
    FTRACE_NOTRACE std::uintptr_t add(std::size_t number, std::uint64_t hash, const void* context,
                                      const void* target) {
        place& where = places_[number];
        known_.insert(hash, static_cast<std::uint32_t>(number * most + where.taken()));
        const std::size_t i = where.take();
        where.words[i] = {context, target};
        return where.entry(i);
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
                if (reaches(code, arch::veneer_page, begin, end)) return code;
                ::munmap(reinterpret_cast<void*>(code), 2 * arch::veneer_page);
                break;
            }
        for (std::uintptr_t distance = heap_room; distance < reach; distance += step)
            if (const std::uintptr_t code = map_at((end + distance) & ~(step - 1)); code != 0) {
                if (reaches(code, arch::veneer_page, begin, end)) return code;
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
    const arch::object_veneers* own_;
    plain_vector<place> places_;
    hash_index
        known_;  // veneers by context and target: their place's number times `most`, and theirs
};

}  // namespace ftrace::inline v0::detail
