// fgraph_ops: a callback at a function's entry and one at its return.
#pragma once

#include <cstdint>
#include <ftrace/arch/registers.hpp>
#include <ftrace/core/config.hpp>
#include <ftrace/ops/ops.hpp>

namespace ftrace::inline v0 {

/// A call that begins (include/linux/ftrace.h, struct ftrace_graph_ent).
struct ftrace_graph_ent {
    unsigned long func;       ///< the site, as `ip` of an ordinary callback
    unsigned long parent_ip;  ///< where the function will return to, whatever is hooked
    int depth;                ///< hooked calls around this one on this thread's stack
};

/// A call that ends (struct ftrace_graph_ret).
struct ftrace_graph_ret {
    unsigned long func;
    unsigned long retval;   ///< the result, if it is an integer or a pointer; regs have the others
    int depth;              ///< as at the call's entry
    unsigned long overrun;  ///< calls of this thread that were not hooked for want of room
};

namespace detail {
FTRACE_NO_INSTRUMENTATION void graph_entered(unsigned long ip, unsigned long parent_ip,
                                             ftrace_ops& op, ftrace_regs& regs) noexcept;
using graph_entry_ops = ops<&graph_entered>;
struct graph_access;
}  // namespace detail

/// A callback at the entry of functions, and one when they return to their caller. Which functions:
/// `ops` has the filters, and nothing else of it is to be touched.
///
/// The entry callback says whether it wants the return of this call. The return callback gets
/// registers of which the results mean something (regs_get_return_value()); it may change them.
/// Both follow the rules of every callback: noexcept, leaving only by return.
///
/// A function that is left by an exception or longjmp does not return: exceptions are thrown,
/// caught and backtraces are made as without hooks, but no return callback comes. The depth of
/// later calls is right. The same holds for calls of functions in a tail: those with one return
/// address have one return each, innermost first, except that of more than 16 only the first 15
/// and the last do.
///
/// Not copied, not moved. One fgraph_ops is used from one thread at a time.
class fgraph_ops {
public:
    using entry_func = bool (*)(const ftrace_graph_ent&, fgraph_ops&, ftrace_regs&) noexcept;
    using return_func = void (*)(const ftrace_graph_ret&, fgraph_ops&, ftrace_regs&) noexcept;

    /// Either may be null: every return is wanted, or none.
    constexpr FTRACE_NOTRACE explicit fgraph_ops(entry_func entry, return_func ret,
                                                 void* user_data = nullptr) noexcept
        : private_data(user_data), entry_(entry), return_(ret) {
        ops.private_data = this;
    }
    /// Unregisters.
    FTRACE_NOTRACE ~fgraph_ops();
    fgraph_ops(const fgraph_ops&) = delete;
    fgraph_ops& operator=(const fgraph_ops&) = delete;

    detail::graph_entry_ops ops;
    /// The user's own: the library never looks at it.
    void* private_data;

private:
    entry_func entry_;
    return_func return_;
    std::uint32_t ticket_ = 0;
    friend struct detail::graph_access;
};

}  // namespace ftrace::inline v0
