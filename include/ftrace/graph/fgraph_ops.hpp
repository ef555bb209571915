// fgraph_ops: a callback at a function's entry and one at its end.
#pragma once

#include <cstddef>
#include <cstdint>
#include <ftrace/arch/registers.hpp>
#include <ftrace/args/args.hpp>  // handlers read registers by it
#include <ftrace/core/config.hpp>
#include <ftrace/graph/graph_end.hpp>
#include <ftrace/ops/ops.hpp>
#include <typeinfo>

namespace ftrace::inline v0 {

namespace detail {
struct shadow_frame;
}

/// A call that begins (include/linux/ftrace.h, struct ftrace_graph_ent).
struct ftrace_graph_ent {
    unsigned long func;       ///< the site, as `ip` of an ordinary callback
    unsigned long parent_ip;  ///< where the function will return to, whatever is hooked
    /// Hooked calls around this one: on the thread's own stack those on it; on a fiber's stack those
    /// on that one, as far as this thread hooked them; on an alternate signal stack those on it and
    /// on the thread's own.
    int depth;
    void* data;         ///< fgraph_options::call_data bytes, zero; null where those are 0, or
                        ///< no ends are wanted
    void* thread_data;  ///< fgraph_options::thread_data bytes, zero in the thread's first call
    const detail::shadow_frame* around;  ///< the library's: for ftrace_graph_parent_data()
};

/// A call that ends (struct ftrace_graph_ret).
struct ftrace_graph_ret {
    unsigned long func;
    unsigned long parent_ip;  ///< as in ftrace_graph_ent: of a call in a tail too
    /// The result as the function left it, if it is an integer or a pointer; regs have all, and what
    /// the callback of another ops has made of it.
    unsigned long retval;
    int depth;              ///< as at the call's entry
    unsigned long overrun;  ///< calls of this thread that were not hooked for want of room
    graph_end end;
    /// Of graph_end::exception, where it is one of C++: its type. Else null.
    const std::type_info* exception;
    /// Of graph_end::exception: where the function begins whose handler will run; of a function that
    /// the compiler split, perhaps its other part. 0: not known.
    unsigned long handler;
    void* data;         ///< what the entry callback left there; valid in this callback
    void* thread_data;  ///< as in ftrace_graph_ent
};

/// What an fgraph_ops keeps, and how deep it looks.
struct fgraph_options {
    std::size_t call_data = 0;    ///< bytes of each call, at a multiple of 16; at most 65,536
    std::size_t thread_data = 0;  ///< bytes of each thread, until the thread or the ops is gone
    int max_depth = 0;  ///< calls that have so many hooked ones around them are left out; 0: none
    /// The return callback promises to use no long double and no MMX, of results neither: then none
    /// is looked for on the x87 stack, to be moved out of its way.
    bool no_x87 = false;
};

namespace detail {
FTRACE_NO_INSTRUMENTATION void graph_entered(unsigned long ip, unsigned long parent_ip,
                                             ftrace_ops& op, ftrace_regs& regs) noexcept;
using graph_entry_ops = ops<&graph_entered>;
struct graph_access;
}  // namespace detail

/// A callback at the entry of functions, and one when their calls end. Which functions: `ops` has
/// the filters, and nothing else of it is to be touched.
///
/// The entry callback says whether it wants the end of this call. If so, the return callback comes
/// once, however the call ends (graph_end). Of a call that returns it gets registers of which the
/// results mean something (regs_get_return_value()), and may change them; else they mean nothing.
/// Both follow the rules of every callback: noexcept, leaving only by return. At an exception the
/// return callback runs inside the unwinder, between the function's destructors and its caller's.
///
/// Calls of functions in a tail have one return address: each has an end of its own when the last
/// of them returns, innermost first; but of more than 16 in a row, those from the 16th on end when
/// the next one begins.
///
/// An ops without a return callback hooks nothing: it costs what an ordinary callback does.
///
/// Not copied, not moved. One fgraph_ops is used from one thread at a time.
class fgraph_ops {
public:
    using entry_func = bool (*)(const ftrace_graph_ent&, fgraph_ops&, ftrace_regs&) noexcept;
    using return_func = void (*)(const ftrace_graph_ret&, fgraph_ops&, ftrace_regs&) noexcept;

    /// Either may be null: every end is wanted, or none.
    constexpr FTRACE_NOTRACE explicit fgraph_ops(entry_func entry, return_func ret,
                                                 void* user_data = nullptr,
                                                 fgraph_options wanted = {}) noexcept
        : private_data(user_data),
          options_(wanted),
          entry_(entry),
          return_(ret),
          plain_(wanted.thread_data == 0 && wanted.max_depth == 0) {
        ops.private_data = this;
    }
    /// Unregisters.
    FTRACE_NOTRACE ~fgraph_ops();
    fgraph_ops(const fgraph_ops&) = delete;
    fgraph_ops& operator=(const fgraph_ops&) = delete;

    detail::graph_entry_ops ops;
    /// The user's own: the library never looks at it.
    void* private_data;

    [[nodiscard]] constexpr FTRACE_NOTRACE const fgraph_options& options() const noexcept {
        return options_;
    }
    /// Calls that were left out: beyond max_depth, for want of memory, or because a callback ran on
    /// their thread when they ended.
    [[nodiscard]] FTRACE_NOTRACE std::uint64_t missed() const noexcept {
        return __atomic_load_n(&missed_, __ATOMIC_RELAXED);
    }

private:
    fgraph_options options_;
    entry_func entry_;
    return_func return_;
    bool plain_;  // keeps nothing of threads, and looks at any depth
    std::uint32_t ticket_ = 0;
    std::uint64_t missed_ = 0;
    friend struct detail::graph_access;
};

}  // namespace ftrace::inline v0
