// Which ops are on a site, as a number. Sites with the same ops in the same order share one set,
// and with it everything made for it: the list that stubs walk, the stub, the veneers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <ftrace/core/config.hpp>
#include <ftrace/core/hash_index.hpp>
#include <ftrace/core/plain_vector.hpp>
#include <ftrace/core/result.hpp>
#include <ftrace/ops/dispatch.hpp>
#include <ftrace/ops/ops_state.hpp>
#include <ftrace/ops/site_table.hpp>
#include <ftrace/ops/static_set.hpp>
#include <ftrace/ops/stubs.hpp>
#include <ftrace/patch/veneers.hpp>
#include <new>
#include <string>
#include <utility>

namespace ftrace::inline v0::detail {

/// One combination of ops. What stubs read of it (`entries`) stays for ever, since a thread may be
/// on its way to a list of long ago. A combination that comes back finds its list again.
struct dispatch_set {
    FTRACE_NOTRACE dispatch_set() = default;
    FTRACE_NOTRACE dispatch_set(dispatch_set&&) = default;
    FTRACE_NOTRACE dispatch_set& operator=(dispatch_set&&) = default;
    FTRACE_NOTRACE ~dispatch_set() = default;

    plain_vector<ftrace_ops*> members;     ///< in the order of their registration
    const own_stubs* own = nullptr;        ///< of the only member
    const static_set* compiled = nullptr;  ///< the compile-time registry that all members belong to
    const void* direct = nullptr;          ///< where the member that is a direct call leads
    save_policy policy = ARGS;
    const stub_table* stubs = nullptr;  ///< null: the only member is a direct call
    const void* context = nullptr;      ///< what a veneer pushes
    /// What `context` leads to: one entry for each member with a callback, or for each ops of
    /// the compile-time registry.
    ftrace_ops** entries = nullptr;
    std::size_t entry_count = 0;
    /// The stub's own context is this set's: no veneer where a call reaches.
    bool enter_directly = false;
    set_index next = 0;  ///< in the list of free sets, or of those that keep a slot
};

/// What a site shall call, or jump to.
struct site_target {
    std::uintptr_t address = 0;
    bool jump = false;
};

class dispatch_sets {
public:
    /// `lists`: of the object whose code stays loaded.
    FTRACE_NOTRACE explicit dispatch_sets(const list_stubs& lists)
        : lists_(lists),
          veneers_(arch::veneer_kind::call, lists.call_veneers),
          jump_veneers_(arch::veneer_kind::jump, lists.jump_veneers) {
        sets_.push_back(nullptr);
        sets_[0] = new dispatch_set;  // no ops
    }
    FTRACE_NOTRACE ~dispatch_sets() = default;
    dispatch_sets(const dispatch_sets&) = delete;
    dispatch_sets& operator=(const dispatch_sets&) = delete;

    [[nodiscard]] FTRACE_NOTRACE const dispatch_set& operator[](set_index set) const noexcept {
        return *at(set);
    }

    /// The set `from` with `op` in the place its registration gives it. `before(a, b)`: a was
    /// registered before b.
    template <class Before>
    FTRACE_NOTRACE result<set_index> with(set_index from, ftrace_ops& op, Before before) {
        plain_vector<ftrace_ops*> members;
        bool placed = false;
        for (ftrace_ops* member : at(from)->members) {
            if (!placed && before(op, *member)) {
                members.push_back(&op);
                placed = true;
            }
            members.push_back(member);
        }
        if (!placed) members.push_back(&op);
        return find_or_make(std::move(members));
    }

    FTRACE_NOTRACE result<set_index> without(set_index from, const ftrace_ops& op) {
        plain_vector<ftrace_ops*> members;
        for (ftrace_ops* member : at(from)->members)
            if (member != &op) members.push_back(member);
        return find_or_make(std::move(members));
    }

    /// Gives back the slots that no site's call leads to any more. `is_called(address)`: whether one
    /// does.
    template <class IsCalled>
    FTRACE_NOTRACE void release_slots(IsCalled is_called) noexcept {
        for (set_index* place = &keepers_; *place != 0;) {
            dispatch_set& keeper = *at(*place);
            bool called = false;
            for (const auto entry : keeper.own->stubs->entry)
                called = called || is_called(reinterpret_cast<std::uintptr_t>(entry));
            if (called) {
                place = &keeper.next;
                continue;
            }
            const set_index released = std::exchange(*place, keeper.next);
            keeper = dispatch_set{};
            keeper.next = std::exchange(free_, released);
        }
    }

    /// Takes an ops out of the members of its sets, whose sites go on calling what they did: such a
    /// set is not found for the ops that are left. Needs no memory.
    FTRACE_NOTRACE void forget(ftrace_ops& op) noexcept {
        for (const set_index i : state_of(op).sets) {
            plain_vector<ftrace_ops*>& members = at(i)->members;
            std::size_t kept = 0;
            for (ftrace_ops* const member : members)
                if (member != &op) members[kept++] = member;
            while (members.size() > kept) members.pop_back();
        }
    }

    /// The set of the same ops, one of which is a direct call that now leads elsewhere.
    FTRACE_NOTRACE result<set_index> again(set_index set) {
        return find_or_make(plain_vector<ftrace_ops*>(at(set)->members));
    }

    /// Clears every entry that leads to `op`: threads that are on their way with an old list skip
    /// it. No site may have a set with it any more; its text may (`text_is_right`).
    FTRACE_NOTRACE void retire(ftrace_ops& op, bool text_is_right) {
        for (const set_index i : state_of(op).sets) {
            dispatch_set& set = *at(i);
            if (ops_access::direct(op) != nullptr) {
                if (set.stubs != nullptr) publish_direct(set, nullptr);
                continue;
            }
            bool member = false;
            for (std::size_t e = 0; e < set.entry_count; ++e) {
                if (set.entries[e] != &op) continue;
                member = true;
                __atomic_store_n(&set.entries[e], static_cast<ftrace_ops*>(nullptr),
                                 __ATOMIC_RELEASE);
            }
            // The slot may be unloaded with the ops' object after this: such a set does not
            // come back.
            if (member && set.enter_directly) {
                // Nor does the slot pass to another ops while calls lead to it.
                set_index& list = text_is_right ? free_ : keepers_;
                const own_stubs* const own = set.own;
                set = dispatch_set{};
                set.own = own;
                set.next = std::exchange(list, i);
            }
        }
        state_of(op).sets.clear();
    }

    /// Where a site in [begin, end) has to lead for this set. `width`: a width_index.
    FTRACE_NOTRACE result<site_target> target(set_index index, unsigned width, std::uintptr_t begin,
                                              std::uintptr_t end) {
        const dispatch_set& set = *at(index);
        if (set.stubs == nullptr) {
            const auto direct = reinterpret_cast<std::uintptr_t>(set.direct);
            if (arch::call_reaches(begin, direct) && arch::call_reaches(end, direct))
                return site_target{direct, true};
            auto veneer = jump_veneers_.get(begin, end, nullptr, set.direct);
            if (!veneer) return std::move(veneer).error();
            return site_target{*veneer, true};
        }
        const auto stub = reinterpret_cast<std::uintptr_t>(set.stubs->entry[width]);
        if (set.enter_directly && arch::call_reaches(begin, stub) && arch::call_reaches(end, stub))
            return site_target{stub, false};
        auto veneer = veneers_.get(begin, end, set.context,
                                   reinterpret_cast<const void*>(stub + arch::own_context_size));
        if (!veneer) return std::move(veneer).error();
        return site_target{*veneer, false};
    }

private:
    [[nodiscard]] FTRACE_NOTRACE dispatch_set* at(set_index set) const noexcept {
        return sets_[set];
    }

    /// Whether all members belong to one compile-time registry, in the order it calls them; two
    /// registries of the same type share their stubs, but not their members.
    [[nodiscard]] FTRACE_NOTRACE static const static_set* common_registry(
        const plain_vector<ftrace_ops*>& members) {
        const static_set* const common = ops_access::set(*members[0]);
        if (common == nullptr) return nullptr;
        for (std::size_t i = 1; i < members.size(); ++i)
            if (ops_access::set(*members[i]) != common ||
                ops_access::set_index(*members[i]) <= ops_access::set_index(*members[i - 1]))
                return nullptr;
        return common;
    }

    FTRACE_NOTRACE result<set_index> find_or_make(plain_vector<ftrace_ops*>&& members) {
        if (members.empty()) return set_index{0};
        dispatch_set wanted;
        wanted.policy = ARGS_INTEGER;
        for (const ftrace_ops* member : members) {
            wanted.policy = stronger(wanted.policy, member->policy());
            if (const void* const direct = ops_access::direct(*member))
                wanted.direct = direct;
            else
                ++wanted.entry_count;
        }
        if (members.size() == 1)
            wanted.own = ops_access::own(*members[0]);
        else if (wanted.direct == nullptr)
            wanted.compiled = common_registry(members);
        if (wanted.compiled != nullptr) wanted.entry_count = wanted.compiled->size;

        wanted.stubs = wanted.entry_count == 0      ? nullptr
                       : wanted.own != nullptr      ? wanted.own->stubs
                       : wanted.compiled != nullptr ? wanted.compiled->stubs[wanted.policy]
                                                    : lists_.by_policy[wanted.policy];

        std::uint64_t hash = reinterpret_cast<std::uintptr_t>(wanted.direct);
        for (const ftrace_ops* member : members)
            hash = hash_with(hash, reinterpret_cast<std::uintptr_t>(member));
        const set_index known = known_.find(hash, [&](set_index i) FTRACE_NOTRACE {
            const dispatch_set& set = *at(i);
            return set.members == members && set.own == wanted.own &&
                   set.compiled == wanted.compiled && set.direct == wanted.direct &&
                   set.stubs == wanted.stubs && set.entry_count == wanted.entry_count &&
                   usable_again(set);
        });
        if (known != hash_index::none) {
            arm(known);
            return known;
        }
        wanted.members = std::move(members);
        if (free_ == 0) add_free();
        known_.insert(hash, free_);  // where it is found only if what follows succeeds
        if (auto made = make(wanted); !made) return std::move(made).error();
        const set_index index = std::exchange(free_, at(free_)->next);
        *at(index) = std::move(wanted);
        arm(index);
        return index;
    }

    FTRACE_NOTRACE void add_free() {
        sets_.push_back(nullptr);
        sets_.back() = new dispatch_set;
        free_ = static_cast<set_index>(sets_.size() - 1);
    }

    /// Whether the ops can have the slot of its type's own stubs, or has it.
    [[nodiscard]] FTRACE_NOTRACE bool slot_is_free(const own_stubs& own,
                                                   const ftrace_ops* op) const noexcept {
        for (set_index keeper = keepers_; keeper != 0; keeper = at(keeper)->next)
            if (at(keeper)->own->slot == own.slot) return false;
        return *own.slot == nullptr || *own.slot == op;
    }
    /// The slot may have passed to another ops of the type since, or from it.
    [[nodiscard]] FTRACE_NOTRACE bool usable_again(const dispatch_set& set) const noexcept {
        return set.own == nullptr || set.enter_directly == slot_is_free(*set.own, set.members[0]);
    }

    FTRACE_NOTRACE result<void> make(dispatch_set& set) const {
        if (set.stubs == nullptr) return {};
        if (set.own != nullptr) {
            set.enter_directly = slot_is_free(*set.own, set.members[0]);
            set.entries = set.enter_directly ? set.own->slot : new (std::nothrow) ftrace_ops*[1]();
            set.context = set.entries;
        } else if (set.compiled != nullptr) {
            set.entries = new (std::nothrow) ftrace_ops*[set.entry_count]();
            set.context = set.entries;
        } else {
            void* const memory = ::operator new(
                sizeof(ops_list) + set.entry_count * sizeof(ftrace_ops*), std::nothrow);
            if (memory != nullptr) {
                auto* const list = ::new (memory) ops_list{set.entry_count, nullptr};
                set.entries = list->entries();
                for (std::size_t i = 0; i < set.entry_count; ++i) set.entries[i] = nullptr;
                set.context = list;
            }
        }
        if (set.entries == nullptr)
            return error{errc::out_of_memory, "no memory for a list of ops"};
        return {};
    }

    /// release: pairs with load_entry(); who finds the ops finds it complete.
    FTRACE_NOTRACE void arm(set_index index) {
        dispatch_set& set = *at(index);
        std::size_t i = 0;
        for (ftrace_ops* const each : set.members) {
            ftrace_ops& member = *each;
            if (const void* const direct = ops_access::direct(member)) {
                note(state_of(member).sets, index);
                if (set.stubs != nullptr) publish_direct(set, direct);
                continue;
            }
            ftrace_ops*& entry =
                set.entries[set.compiled != nullptr ? ops_access::set_index(member) : i++];
            if (entry == &member) continue;
            state_of(member).sets.push_back(index);
            sanitizer_release(&member);
            __atomic_store_n(&entry, &member, __ATOMIC_RELEASE);
        }
    }

    FTRACE_NOTRACE static void note(plain_vector<set_index>& sets, set_index index) {
        for (const set_index known : sets)
            if (known == index) return;
        sets.push_back(index);
    }
    /// Of a set with a list.
    FTRACE_NOTRACE static void publish_direct(const dispatch_set& set,
                                              const void* target) noexcept {
        auto* const list = static_cast<ops_list*>(const_cast<void*>(set.context));
        __atomic_store_n(&list->direct, target, __ATOMIC_RELAXED);
    }

    const list_stubs& lists_;
    plain_vector<dispatch_set*> sets_;  // never freed, as the process state
    // Lists without allocations, since ops have to go when there is no memory.
    set_index free_ = 0;
    set_index keepers_ = 0;  // of slots that calls still lead to
    hash_index known_;       // sets by their members
    veneer_pool veneers_;
    veneer_pool jump_veneers_;
};

}  // namespace ftrace::inline v0::detail
