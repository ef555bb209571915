// Direct calls: a function of the same signature in the place of a traced one, with nothing saved.
#pragma once

#include <cstdint>
#include <ftrace/core/config.hpp>
#include <ftrace/core/plain_vector.hpp>
#include <ftrace/core/result.hpp>
#include <ftrace/ops/attach.hpp>
#include <ftrace/ops/dispatch.hpp>
#include <ftrace/ops/ftrace_ops.hpp>
#include <ftrace/ops/ops_state.hpp>
#include <ftrace/ops/registry_state.hpp>
#include <utility>

namespace ftrace::inline v0::detail {

/// Alone on a function, its site is a jump to `target`: that finds registers and stack as the
/// function would have, and reaches the function's body behind the site (site + arch::site_size).
/// With other ops there, calls go on to `target` when their callbacks are done, unless one moved
/// the instruction pointer. (Kernel: register_ftrace_direct.)
///
/// A call may be on its way to `target` for any time after it was unregistered: it must stay.
class direct_ops : public ftrace_ops {
public:
    constexpr FTRACE_NOTRACE explicit direct_ops(const void* target) noexcept
        : ftrace_ops(target) {}
    FTRACE_NOTRACE ~direct_ops() = default;
    direct_ops(const direct_ops&) = delete;
    direct_ops& operator=(const direct_ops&) = delete;
};

/// Sends calls to another target: one transaction, and there is no moment at which they go to
/// neither. Errors: as of any change of text; then nothing was changed. Call with the registry
/// locked. (Kernel: modify_ftrace_direct.)
FTRACE_NOTRACE inline result<void> modify_direct(locked_registry& registry, direct_ops& op,
                                                 const void* target) {
    const void* const before = std::exchange(ops_access::direct(op), target);
    auto changed = or_out_of_memory([&]() FTRACE_NOTRACE -> result<void> {
        plain_vector<site_change> changes;
        changes.reserve(state_of(op).attached.size());
        for (const site_index i : state_of(op).attached) {
            auto set = registry->sets.again(registry->sites[i].set);
            if (!set) return std::move(set).error();
            changes.push_back({i, *set});
        }
        return make_changes(registry.shared(), *registry, changes);
    });
    if (!changed) ops_access::direct(op) = before;
    return changed;
}

}  // namespace ftrace::inline v0::detail
