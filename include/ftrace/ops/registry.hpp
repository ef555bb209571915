// Registering and unregistering ops.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ftrace/core/config.hpp>
#include <ftrace/core/memory.hpp>
#include <ftrace/core/quiescence.hpp>
#include <ftrace/core/result.hpp>
#include <ftrace/ops/attach.hpp>
#include <ftrace/ops/filters.hpp>
#include <ftrace/ops/ftrace_ops.hpp>
#include <ftrace/ops/registry_state.hpp>
#include <ftrace/patch/transaction.hpp>
#include <string>
#include <utility>

namespace ftrace::inline v0 {
namespace detail {

/// After text that could not be changed: the sites of `op` go on calling their stubs, which skip
/// it. What is noted of them is without it, so that other ops come and go there as ever; the next
/// change of such a site makes its text right. Needs no memory.
FTRACE_NOTRACE inline void leave_calls(registry_state& registry, ftrace_ops& op,
                                       site_list& attached) noexcept {
    registry.sets.forget(op);
    for (const site_index i : attached)
        if (registry.sets[registry.sites[i].set].members.empty()) registry.sites[i].set = 0;
    attached.clear();
}

/// Takes an ops off all its sites and waits until nobody is in its callback. The latter also if the
/// text cannot be restored, or memory runs out. Throws nothing.
FTRACE_NOTRACE inline result<void> unregister(locked_registry& registry, ftrace_ops& op) {
    ops_state& state = state_of(op);
    auto detached = or_out_of_memory([&]() FTRACE_NOTRACE -> result<void> {
        if (!registry.up_to_date())
            return error{errc::out_of_memory, "no memory for a look at what is loaded"};
        return attach(registry.shared(), *registry, op, {});
    });
    if (!detached) leave_calls(*registry, op, state.attached);
    registry->sets.retire(op, detached.has_value());
    std::size_t others = 0;
    for (const registered_ops& each : registry->ops)
        if (each.registration != state.registration) registry->ops[others++] = each;
    while (registry->ops.size() > others) registry->ops.pop_back();
    state.registration = 0;
    synchronize_callbacks(registry.shared());
    if (!detached) return detached;
    return or_out_of_memory([&]() FTRACE_NOTRACE { return restore_protection(registry.shared()); });
}

/// Tells the object whose stubs will call the ops where the process's state is: it may be another
/// one than that which registers it.
FTRACE_NOTRACE inline void introduce(ftrace_ops& op, process_state& process) noexcept {
    if (const own_stubs* const own = ops_access::own(op))
        __atomic_store_n(own->home, &process, __ATOMIC_RELEASE);
    if (const static_set* const set = ops_access::set(op))
        __atomic_store_n(set->home, &process, __ATOMIC_RELEASE);
}

FTRACE_NOTRACE inline error not_registered() {
    return {errc::not_registered, "this ops is not registered (any more): nothing to unregister"};
}

struct registration_access;

}  // namespace detail

/// Keeps an ops registered; the destructor unregisters it. Moves, does not copy. May outlive
/// its ops.
class [[nodiscard]] registration {
public:
    FTRACE_NOTRACE registration() noexcept = default;
    FTRACE_NOTRACE registration(registration&& other) noexcept
        : op_(std::exchange(other.op_, nullptr)), number_(other.number_) {}
    FTRACE_NOTRACE registration& operator=(registration&& other) noexcept {
        if (this != &other) {
            if (op_ != nullptr) (void)unregister();
            op_ = std::exchange(other.op_, nullptr);
            number_ = other.number_;
        }
        return *this;
    }
    FTRACE_NOTRACE ~registration() {
        if (op_ != nullptr) (void)unregister();
    }

    /// Takes the ops off all its functions. When it returns, no callback of the ops runs in another
    /// thread or will run, and its memory may go: also where the text cannot be restored, since a
    /// thread blocks SIGTRAP (busy), memory runs out (out_of_memory), somebody else changed it
    /// (unexpected_bytes) or the system forbids it (permission_denied); the functions go on paying
    /// for a call until the next change of theirs. Other errors: not_registered, if that was done
    /// before; busy, from inside a callback, and then nothing was done.
    ///
    /// A callback that a signal handler left by siglongjmp() counts as running until its thread is
    /// seen above it on its stack: in a traced call from the place of that call, or above; in this
    /// function; or, by another thread that calls this, waiting in the kernel. A thread that goes on
    /// below is waited for, and gets busy itself. So does an ops' destructor, which then ends the
    /// program: at exit, too.
    FTRACE_NOTRACE result<void> unregister() {
        return detail::with_registry([this](detail::locked_registry& registry)
                                         FTRACE_NOTRACE { return unregister(registry); },
                                     detail::locked_registry::leaving);
    }

    /// Whether this is to be unregistered. Still true after unregister_ftrace_function(op), which
    /// knows of no handles.
    [[nodiscard]] FTRACE_NOTRACE bool registered() const noexcept { return op_ != nullptr; }
    FTRACE_NOTRACE explicit operator bool() const noexcept { return registered(); }

private:
    FTRACE_NOTRACE registration(ftrace_ops& op, std::uint64_t number) noexcept
        : op_(&op), number_(number) {}
    FTRACE_NOTRACE result<void> unregister(detail::locked_registry& registry) {
        ftrace_ops* const op = std::exchange(op_, nullptr);
        for (const detail::registered_ops& known : registry->ops)
            if (op != nullptr && known.registration == number_)
                return detail::unregister(registry, *op);
        return detail::not_registered();
    }
    friend struct detail::registration_access;

    ftrace_ops* op_ = nullptr;
    std::uint64_t number_ = 0;
};

namespace detail {

/// What a caller that has locked the registry may do with registrations.
struct registration_access {
    FTRACE_NOTRACE static registration make(ftrace_ops& op, std::uint64_t number) noexcept {
        return registration(op, number);
    }
    FTRACE_NOTRACE static result<void> unregister(locked_registry& registry, registration& handle) {
        return handle.unregister(registry);
    }
};

/// Notes an ops as registered, and takes that back unless it is kept: also if memory runs out.
class tentative_registration {
public:
    FTRACE_NOTRACE tentative_registration(locked_registry& registry, ftrace_ops& op)
        : registry_(registry), op_(op) {
        const std::uint64_t number = ++registry->registrations;
        registry->ops.push_back({&op, number});
        state_of(op).registration = number;
    }
    FTRACE_NOTRACE ~tentative_registration() {
        if (kept_) return;
        registry_->ops.pop_back();
        state_of(op_).registration = 0;
        registry_->sets.retire(op_, true);
        // A thread may have met a site that was changed and changed back.
        synchronize_callbacks(registry_.shared());
    }
    tentative_registration(const tentative_registration&) = delete;
    tentative_registration& operator=(const tentative_registration&) = delete;

    /// The number of the registration.
    [[nodiscard]] FTRACE_NOTRACE std::uint64_t keep() noexcept {
        kept_ = true;
        return state_of(op_).registration;
    }

private:
    locked_registry& registry_;
    ftrace_ops& op_;
    bool kept_ = false;
};

/// register_ftrace_function(), under the lock.
FTRACE_NOTRACE inline result<registration> register_locked(locked_registry& registry,
                                                           ftrace_ops& op) {
    if (ops_access::func(op) == nullptr && ops_access::direct(op) == nullptr)
        return error{errc::invalid_argument, "this ops has no callback: its pointer is null"};
    ops_state& state = state_of(op);
    if (state.registration != 0)
        return error{errc::already_registered,
                     name_of(op) + " is registered already: unregister it first"};
    if ((op.flags() & FTRACE_OPS_FL_IPMODIFY) != 0 && !state.filtered)
        return error{errc::invalid_argument,
                     "an IPMODIFY ops needs a filter: it cannot be on all functions"};
    if ((op.flags() & FTRACE_OPS_FL_PERMANENT) != 0 && !registry->enabled)
        return error{
            errc::busy,
            "tracing is switched off, and a PERMANENT ops cannot be: call set_enabled(true) first"};
    site_list wanted =
        wanted_sites(*registry, {state.filtered, site_list(state.filter)}, state.notrace);
    if (registry->sites.size() == 0) return no_site_at_all(*registry);
    if (wanted.empty())
        return error{errc::no_match,
                     "the filters of " + name_of(op) + " leave no function to trace"};

    introduce(op, registry.shared());
    registration handle;
    {
        tentative_registration tentative(registry, op);
        if (auto attached = attach(registry.shared(), *registry, op, std::move(wanted)); !attached)
            return std::move(attached).error();
        handle = registration_access::make(op, tentative.keep());
    }
    if (auto restored = or_out_of_memory(
            [&]() FTRACE_NOTRACE { return restore_protection(registry.shared()); });
        !restored) {
        (void)registration_access::unregister(registry, handle);
        return std::move(restored).error();
    }
    return handle;
}

}  // namespace detail

/// Starts calling the ops' callback for the functions of its filter, or for all. Callbacks may
/// start before this returns; when it returns, every thread runs the new text. Several ops on a
/// function are called in the order of their registration. Functions of objects that are loaded
/// later are not joined.
///
/// Errors: already_registered; invalid_argument (flags, or no callback); ip_modify_conflict, naming
/// the other ops; no_match, if there is nothing to trace; permission_denied, with its cause;
/// unexpected_bytes; busy, if a thread blocks SIGTRAP or the call comes from a callback;
/// system_failure; out_of_memory. With an error nothing was changed, or changed back: only pages
/// of text that the system does not let be protected again stay writable (permission_denied).
/// (Kernel: register_ftrace_function.)
FTRACE_NOTRACE inline result<registration> register_ftrace_function(ftrace_ops& op) {
    return detail::with_registry(
        [&](detail::locked_registry& registry)
            FTRACE_NOTRACE { return detail::register_locked(registry, op); },
        detail::locked_registry::changing, &op);
}

/// Stops calling the ops' callback: as registration::unregister(). (Kernel:
/// unregister_ftrace_function.)
FTRACE_NOTRACE inline result<void> unregister_ftrace_function(ftrace_ops& op) {
    return detail::with_registry(
        [&](detail::locked_registry& registry) FTRACE_NOTRACE -> result<void> {
            if (detail::state_of(op).registration == 0) return detail::not_registered();
            return detail::unregister(registry, op);
        },
        detail::locked_registry::leaving);
}

/// false: all functions run untraced, and all ops stay registered; true: as before. One
/// transaction. Errors: busy, while a PERMANENT ops is registered. (Kernel: the sysctl
/// ftrace_enabled.)
FTRACE_NOTRACE inline result<void> set_enabled(bool enabled) {
    return detail::with_registry(
        [enabled](detail::locked_registry& registry) FTRACE_NOTRACE -> result<void> {
            if (registry->enabled == enabled) return {};
            for (const detail::registered_ops& known : registry->ops)
                if (!enabled && (known.op->flags() & FTRACE_OPS_FL_PERMANENT) != 0)
                    return error{errc::busy,
                                 detail::name_of(*known.op) + " is PERMANENT: unregister it first"};
            registry->enabled = enabled;
            auto outcome = detail::or_out_of_memory([&]() FTRACE_NOTRACE -> result<void> {
                detail::plain_vector<detail::site_change> all;
                for (detail::site_index i = 0; i < registry->sites.size(); ++i)
                    if (registry->sites[i].set != 0) all.push_back({i, registry->sites[i].set});
                return detail::write_changes(registry.shared(), *registry, all);
            });
            if (!outcome) registry->enabled = !enabled;
            return outcome;
        });
}

FTRACE_NOTRACE inline bool ftrace_ops::registered() const noexcept {
    const detail::ops_state* const state = detail::ops_access::state(*this);
    return state != nullptr && state->registration != 0;
}

FTRACE_NOTRACE inline ftrace_ops::~ftrace_ops() {
    if (registered()) {
        auto done = unregister_ftrace_function(*this);
        if (registered()) {
            std::fprintf(stderr, "ftrace: an ops was destroyed while registered: %s\n",
                         done.error().message.c_str());
            std::abort();
        }
    }
    delete state_;
}

}  // namespace ftrace::inline v0
