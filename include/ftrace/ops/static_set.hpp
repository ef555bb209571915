// A set of ops known while compiling, as the dynamic part sees it.
#pragma once

#include <cstddef>
#include <ftrace/core/config.hpp>
#include <ftrace/ops/stubs.hpp>

namespace ftrace::inline v0::detail {

/// Stubs whose C++ side calls the members of one ftrace::registry one after the other. Their
/// context is an array with one entry for each of them, null for those that are not on the site.
struct static_set {
    std::size_t size;
    const stub_table* stubs[3];  ///< by save_policy
    process_state** home;        ///< their object looks here for the process's state
};

}  // namespace ftrace::inline v0::detail
