// What the library keeps for one ops.
#pragma once

#include <cstdint>
#include <ftrace/core/config.hpp>
#include <ftrace/core/plain_vector.hpp>
#include <ftrace/ops/dispatch.hpp>
#include <ftrace/ops/ftrace_ops.hpp>
#include <ftrace/ops/site_table.hpp>

namespace ftrace::inline v0::detail {

/// Sites, sorted by index.
using site_list = plain_vector<site_index>;

struct ops_state {
    FTRACE_NOTRACE ops_state() = default;
    FTRACE_NOTRACE ~ops_state() = default;
    ops_state(const ops_state&) = delete;
    ops_state& operator=(const ops_state&) = delete;

    std::uint64_t registration = 0;  ///< the number of its registration; 0: not registered
    bool filtered = false;           ///< `filter` counts; else all functions
    site_list filter;
    site_list notrace;
    site_list attached;            ///< where it is now
    plain_vector<set_index> sets;  ///< whose entries lead to it
};

/// The state of an ops, made at first use.
[[nodiscard]] FTRACE_NOTRACE inline ops_state& state_of(ftrace_ops& op) {
    ops_state*& state = ops_access::state(op);
    if (state == nullptr) state = new ops_state;
    return *state;
}

}  // namespace ftrace::inline v0::detail
