// All that is known of ops and sites, once for the process.
#pragma once

#include <cstddef>
#include <cstdint>
#include <ftrace/core/config.hpp>
#include <ftrace/core/fork.hpp>
#include <ftrace/core/memory.hpp>
#include <ftrace/core/plain_vector.hpp>
#include <ftrace/core/process.hpp>
#include <ftrace/core/result.hpp>
#include <ftrace/core/thread_state.hpp>
#include <ftrace/ops/dispatch_sets.hpp>
#include <ftrace/ops/ftrace_ops.hpp>
#include <ftrace/ops/ops_state.hpp>
#include <ftrace/ops/site_table.hpp>
#include <ftrace/ops/static_set.hpp>
#include <ftrace/ops/stubs.hpp>
#include <ftrace/patch/text_state.hpp>
#include <ftrace/patch/unwinders.hpp>
#include <ftrace/sites/pin.hpp>
#include <new>
#include <utility>

namespace ftrace::inline v0::detail {

/// One registered ops, known by number even after its memory went.
struct registered_ops {
    ftrace_ops* op;
    std::uint64_t registration;
};

struct registry_state {
    /// Its lists are walked by stubs of the object that makes it.
    FTRACE_NOTRACE explicit registry_state(process_state& process) : sets(own_list_stubs) {
        __atomic_store_n(own_list_stubs.home, &process, __ATOMIC_RELEASE);
    }
    FTRACE_NOTRACE ~registry_state() = default;
    registry_state(const registry_state&) = delete;
    registry_state& operator=(const registry_state&) = delete;

    site_table sites;
    dispatch_sets sets;
    plain_vector<registered_ops> ops;  ///< in the order of their registration
    std::uint64_t registrations = 0;
    /// false: all sites are nops, whatever is registered (the kernel's ftrace_enabled).
    bool enabled = true;
};

/// Everything that goes through the dynamic linker, whose lock a plugin's constructor holds when it
/// waits for ours: it has to be done before ours is taken. `op`: what is going to be registered, or
/// null. The object of its stubs stays loaded for good: a thread may be in a stub's first or last
/// instructions, where nobody sees it, for as long as it likes.
FTRACE_NOTRACE inline void use_dynamic_linker(process_state& process, ftrace_ops* op) {
    unwinders();
    const own_stubs* const own = op == nullptr ? nullptr : ops_access::own(*op);
    const static_set* const set = op == nullptr ? nullptr : ops_access::set(*op);
    if (own != nullptr) pin_object(own->stubs);
    if (set != nullptr) pin_object(set);
    // Whoever makes the registry or installs the SIGTRAP handler gives the process its code.
    const text_state* const text = __atomic_load_n(&process.text, __ATOMIC_ACQUIRE);
    if (__atomic_load_n(&process.registry, __ATOMIC_ACQUIRE) == nullptr || text == nullptr ||
        !__atomic_load_n(&text->installed, __ATOMIC_ACQUIRE))
        pin_object(reinterpret_cast<const void*>(&list_stub::callee));
}

/// The lock of the process and an internal section of the calling thread, given back also when what
/// follows throws: std::bad_alloc is the only exception.
class library_section {
public:
    FTRACE_NOTRACE library_section() noexcept = default;
    FTRACE_NOTRACE ~library_section() {
        if (lent_ != nullptr) lent_->own_work = true;
        if (thread_ == nullptr) return;
        leave_section(*thread_, outside_);
        process_->lock.unlock();
    }
    library_section(const library_section&) = delete;
    library_section& operator=(const library_section&) = delete;

    /// The lock first: a thread that waits for it must not look as if it were inside a callback,
    /// which grace periods wait for.
    FTRACE_NOTRACE void enter(process_state& process, thread_state& thread) noexcept {
        process.lock.lock();
        process_ = &process;
        thread_ = &thread;
        outside_ = section_of(thread);
        enter_section(thread, outside_, in_no_frame);
    }
    /// As part of the library_work of the thread. While the registry is in use, not even for the
    /// library's own work: a signal handler may have come between.
    FTRACE_NOTRACE void take_over(thread_state& thread) noexcept {
        lent_ = &thread;
        thread.own_work = false;
    }

private:
    process_state* process_ = nullptr;
    thread_state* thread_ = nullptr;
    thread_state* lent_ = nullptr;
    std::uint64_t outside_ = 0;
};

/// An internal section around calls of the registry: for parts of the library that do more than
/// one of them, or make lists and texts beside. Inside a callback it does nothing, and the
/// registry refuses.
///
/// No template of std is used outside the section, since it may be traced.
class library_work {
public:
    /// What may be registered meanwhile.
    FTRACE_NOTRACE explicit library_work(ftrace_ops* op = nullptr, ftrace_ops* another = nullptr) {
        process_state* const shared = process();
        thread_state* const thread = shared == nullptr ? nullptr : this_thread();
        if (thread == nullptr || in_section(*thread)) return;
        use_dynamic_linker(*shared, op);
        if (another != nullptr) use_dynamic_linker(*shared, another);
        section_.enter(*shared, *thread);
        thread_ = thread;
        thread->own_work = true;
    }
    FTRACE_NOTRACE ~library_work() {
        if (thread_ != nullptr) thread_->own_work = false;
    }
    library_work(const library_work&) = delete;
    library_work& operator=(const library_work&) = delete;

private:
    library_section section_;
    thread_state* thread_ = nullptr;
};

/// The registry, locked, for the length of one call of the public interface; or why it cannot
/// be had.
class locked_registry {
public:
    enum intent : std::uint8_t { changing, leaving };

    /// `leaving`: to take an ops off, which must go on when nothing else may. `op`: what is going to
    /// be registered. `now`: see section_at().
    FTRACE_NOTRACE locked_registry(intent why, ftrace_ops* op, std::uintptr_t now) {
        // No template of std is used outside the section: it may be traced, and its callback wait
        // for a thread that waits for this lock.
        process_ = process();
        if (process_ == nullptr) {
            if (other_version_is_loaded())
                fail({errc::version_mismatch,
                      "another object of this process uses another version of ftrace++: build all "
                      "objects with one version"});
            else
                fail({errc::out_of_memory, "no memory for the state of the process"});
            return;
        }
        thread_state* const thread = this_thread();
        if (thread == nullptr) {
            fail({errc::out_of_memory, "65,536 threads live, and there is room for no more"});
            return;
        }
        if (thread->own_work) {
            section_.take_over(*thread);
        } else if (in_section(*thread, now)) {
            fail({errc::busy,
                  "called from inside an ftrace callback, where it could wait for itself: do it "
                  "from another thread, or after the callback"});
            return;
        } else {
            use_dynamic_linker(*process_, op);
            section_.enter(*process_, *thread);
        }
        if (process_->registry == nullptr) {
            auto* const made = new (std::nothrow) registry_state(*process_);
            if (made != nullptr && follow_forks())
                __atomic_store_n(&process_->registry, made, __ATOMIC_RELEASE);
            else
                delete made;
        }
        state_ = process_->registry;
        if (state_ == nullptr)
            fail({errc::out_of_memory, "no memory for the registry of sites"});
        else
            refresh(why);
    }
    FTRACE_NOTRACE ~locked_registry() {
        if (failed_) failure_.~error();
    }
    locked_registry(const locked_registry&) = delete;
    locked_registry& operator=(const locked_registry&) = delete;

    [[nodiscard]] FTRACE_NOTRACE explicit operator bool() const noexcept { return !failed_; }
    [[nodiscard]] FTRACE_NOTRACE error&& failure() noexcept {
        return static_cast<error&&>(failure_);
    }
    [[nodiscard]] FTRACE_NOTRACE registry_state& operator*() const noexcept { return *state_; }
    [[nodiscard]] FTRACE_NOTRACE registry_state* operator->() const noexcept { return state_; }
    [[nodiscard]] FTRACE_NOTRACE process_state& shared() const noexcept { return *process_; }
    /// Where memory ran out, who leaves gets a registry that may know of objects that are gone: no
    /// text may be changed.
    [[nodiscard]] FTRACE_NOTRACE bool up_to_date() const noexcept { return up_to_date_; }

private:
    FTRACE_NOTRACE void refresh(intent why) {
        auto refreshed = or_out_of_memory([this]() FTRACE_NOTRACE -> result<void> {
            state_->sites.refresh();
            return {};
        });
        up_to_date_ = refreshed.has_value();
        if (!refreshed && why != leaving) fail(std::move(refreshed).error());
    }
    FTRACE_NOTRACE void fail(error&& why) noexcept {
        ::new (static_cast<void*>(&failure_)) error(static_cast<error&&>(why));
        failed_ = true;
    }

    library_section section_;
    process_state* process_ = nullptr;
    registry_state* state_ = nullptr;
    bool up_to_date_ = false;
    bool failed_ = false;
    union {
        error failure_;
    };
};

/// What `work(registry)` says of the locked registry, or why it cannot be had. Of work that runs out
/// of memory nothing may stay.
///
/// Not inlined, so that its frame is below that of a callback which calls it, but as close as can be
/// to a caller that came out of one by siglongjmp().
template <class Work>
FTRACE_NOTRACE __attribute__((noinline)) auto with_registry(
    Work work, locked_registry::intent why = locked_registry::changing, ftrace_ops* op = nullptr)
    -> decltype(work(std::declval<locked_registry&>())) {
    using outcome = decltype(work(std::declval<locked_registry&>()));
    const std::uintptr_t now = this_frame();
    return or_out_of_memory([&]() FTRACE_NOTRACE -> outcome {
        locked_registry registry(why, op, now);
        if (!registry) return registry.failure();
        return work(registry);
    });
}

/// "the ops of on_parse(...)", by its callback; "the direct call to fake_parse(...)".
[[nodiscard]] FTRACE_NOTRACE inline std::string name_of(const ftrace_ops& op) {
    if (const void* const direct = ops_access::direct(op))
        return "the direct call to " +
               site_table::name_at(reinterpret_cast<std::uintptr_t>(direct));
    const own_stubs* const own = ops_access::own(op);
    const std::uintptr_t callback =
        own != nullptr ? own->callback() : reinterpret_cast<std::uintptr_t>(ops_access::func(op));
    return callback == 0 ? "an ops with a lambda" : "the ops of " + site_table::name_at(callback);
}

}  // namespace ftrace::inline v0::detail
