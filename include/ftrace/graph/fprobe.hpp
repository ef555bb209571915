// fprobe: handlers at entry and exit of a list of functions. A user of fgraph_ops like any other.
#pragma once

#include <cstddef>
#include <cstdint>
#include <ftrace/arch/registers.hpp>
#include <ftrace/core/config.hpp>
#include <ftrace/core/result.hpp>
#include <ftrace/graph/fgraph.hpp>
#include <ftrace/graph/fgraph_ops.hpp>
#include <ftrace/graph/graph_end.hpp>
#include <ftrace/ops/filters.hpp>
#include <initializer_list>
#include <span>
#include <string_view>
#include <typeinfo>
#include <utility>

namespace ftrace::inline v0 {

class fprobe;

namespace detail {
struct fprobe_access;
}  // namespace detail

/// How a call ended: the fields are those of ftrace_graph_ret.
struct fprobe_exit {
    unsigned long entry_ip;           ///< the site
    unsigned long ret_ip;             ///< where the function returns to, whatever is hooked
    graph_end end;                    ///< the registers mean something if it is `returned`
    const std::type_info* exception;  ///< of graph_end::exception, where it is one of C++
    unsigned long handler;  ///< of graph_end::exception: the function that catches it, or 0
};

/// A handler at the entry of functions, and one when their calls end (include/linux/fprobe.h).
///
///     int on_open(ftrace::fprobe&, unsigned long entry_ip, unsigned long ret_ip,
///                 ftrace::ftrace_regs& regs, void* entry_data) noexcept;
///     void on_opened(ftrace::fprobe&, const ftrace::fprobe_exit&, ftrace::ftrace_regs& regs,
///                    void* entry_data) noexcept;
///     constinit ftrace::fprobe opens(on_open, on_opened, sizeof(opening));
///     auto registered = ftrace::register_fprobe(opens, "*open*", "*reopen*");
///
/// The entry handler answers 0: go on; anything else cancels the exit handler of this call, which
/// is not counted as missed. The exit handler comes once for each other call, however it ends.
/// `entry_data`: this call's own `entry_data_size` bytes, at a multiple of 16, zero at entry; null
/// where the size is 0 or there is no exit handler. Handlers follow the rules of all callbacks:
/// those of fgraph_ops.
///
/// Without an exit handler no return is hooked: a call costs what an ordinary callback does.
///
/// Constant-initialised: may be a global that other constructors use. Not copied, not moved. The
/// destructor unregisters it. One fprobe is used from one thread at a time; but disable_fprobe(),
/// enable_fprobe() and nmissed() from any.
class fprobe {
public:
    using entry_handler = int (*)(fprobe&, unsigned long entry_ip, unsigned long ret_ip,
                                  ftrace_regs&, void* entry_data) noexcept;
    using exit_handler = void (*)(fprobe&, const fprobe_exit&, ftrace_regs&,
                                  void* entry_data) noexcept;

    /// Either handler may be null. `entry_data_size`: at most 65,536 bytes (kernel: 15 words).
    constexpr FTRACE_NOTRACE fprobe(entry_handler entry, exit_handler exit,
                                    std::size_t entry_data_size = 0,
                                    void* user_data = nullptr) noexcept;
    FTRACE_NOTRACE ~fprobe() = default;
    fprobe(const fprobe&) = delete;
    fprobe& operator=(const fprobe&) = delete;

    /// The user's own: the library never looks at it.
    void* private_data;

    /// Calls since the registration, the last one if there were several, whose exit handler was not
    /// called: for want of memory, or because a callback ran on their thread when they ended.
    [[nodiscard]] FTRACE_NOTRACE std::uint64_t nmissed() const noexcept {
        return graph_.missed() - __atomic_load_n(&missed_before_, __ATOMIC_RELAXED);
    }
    [[nodiscard]] FTRACE_NOTRACE bool registered() const noexcept {
        return graph_.ops.registered();
    }

private:
    entry_handler entry_;
    exit_handler exit_;
    std::size_t entry_data_size_;
    bool disabled_ = false;
    std::uint64_t missed_before_ = 0;
    fgraph_ops graph_;  // the last one: destroyed before what its callbacks read
    friend struct detail::fprobe_access;
};

namespace detail {

struct fprobe_access {
    FTRACE_NO_INSTRUMENTATION static bool entered(const ftrace_graph_ent& call, fgraph_ops& ops,
                                                  ftrace_regs& regs) noexcept {
        auto& probe = *static_cast<fprobe*>(ops.private_data);
        if (is_disabled(probe)) return false;
        return probe.entry_ == nullptr ||
               probe.entry_(probe, call.func, call.parent_ip, regs, call.data) == 0;
    }
    FTRACE_NO_INSTRUMENTATION static void ended(const ftrace_graph_ret& call, fgraph_ops& ops,
                                                ftrace_regs& regs) noexcept {
        auto& probe = *static_cast<fprobe*>(ops.private_data);
        if (is_disabled(probe)) return;
        const fprobe_exit exit{call.func, call.parent_ip, call.end, call.exception, call.handler};
        probe.exit_(probe, exit, regs, call.data);
    }

    FTRACE_NO_INSTRUMENTATION static bool is_disabled(const fprobe& probe) noexcept {
        return __atomic_load_n(&probe.disabled_, __ATOMIC_RELAXED);
    }
    FTRACE_NOTRACE static void disable(fprobe& probe, bool disabled) noexcept {
        __atomic_store_n(&probe.disabled_, disabled, __ATOMIC_RELAXED);
    }

    /// Registers a probe for the functions that `choose(ops)` makes its only filter.
    template <class Choose>
    FTRACE_NOTRACE static result<graph_registration> enlist(fprobe& probe, Choose choose) {
        if (probe.entry_ == nullptr && probe.exit_ == nullptr)
            return error{errc::invalid_argument, "this fprobe has no handler: both are null"};
        if (probe.entry_data_size_ > data_pool::largest)
            return error{errc::invalid_argument, "an fprobe's entry_data_size is at most 65536"};
        if (probe.registered())
            return error{errc::already_registered,
                         "this fprobe is registered already: unregister it first"};
        graph_entry_ops& ops = probe.graph_.ops;
        if (auto forgotten = ops.reset_notrace(); !forgotten) return std::move(forgotten).error();
        if (auto chosen = choose(ops); !chosen) return std::move(chosen).error();
        __atomic_store_n(&probe.missed_before_, probe.graph_.missed(), __ATOMIC_RELAXED);
        return register_ftrace_graph(probe.graph_);
    }
};

}  // namespace detail

constexpr FTRACE_NOTRACE inline fprobe::fprobe(entry_handler entry, exit_handler exit,
                                               std::size_t entry_data_size,
                                               void* user_data) noexcept
    : private_data(user_data),
      entry_(entry),
      exit_(exit),
      entry_data_size_(entry_data_size),
      graph_(&detail::fprobe_access::entered,
             exit == nullptr ? nullptr : &detail::fprobe_access::ended, this,
             {.call_data = exit == nullptr ? 0 : entry_data_size}) {}

/// Keeps an fprobe registered; the destructor unregisters it, and so does unregister(). Moves, does
/// not copy. When it is unregistered, no handler runs in another thread or will run, and the fprobe
/// may go; calls of its functions that are still open end untold.
using fprobe_registration = graph_registration;

/// Starts calling the handlers of `probe` for the functions that match `filter` (as
/// ftrace_ops::set_filter(): patterns, parted by `;`) and do not match `notfilter`. What it was
/// registered for before is forgotten. Calls that began before are not told of.
///
/// Errors: invalid_argument: no handler, entry data beyond 65,536 bytes, or the patterns' syntax;
/// already_registered; no_match, with the nearest names: a pattern of either that matches nothing
/// (kernel: of `notfilter` that is none), or nothing left; and those of register_ftrace_graph().
/// With an error nothing is registered. (Kernel: register_fprobe.)
FTRACE_NOTRACE inline result<fprobe_registration> register_fprobe(fprobe& probe,
                                                                  std::string_view filter,
                                                                  std::string_view notfilter = {}) {
    return detail::fprobe_access::enlist(
        probe, [=](ftrace_ops& ops) FTRACE_NOTRACE -> result<std::size_t> {
            auto chosen = ops.set_filter(filter, true);
            if (!chosen || notfilter.empty()) return chosen;
            return ops.set_notrace(notfilter);
        });
}

/// The same, for the functions at `addresses`: of their sites, or their first instructions. Errors:
/// not_a_site, naming the address; invalid_argument, if there is none. (Kernel:
/// register_fprobe_ips.)
FTRACE_NOTRACE inline result<fprobe_registration> register_fprobe_ips(
    fprobe& probe, std::span<const unsigned long> addresses) {
    return detail::fprobe_access::enlist(probe, [=](ftrace_ops& ops) FTRACE_NOTRACE {
        return ops.set_filter_ips(addresses, false, true);
    });
}
FTRACE_NOTRACE inline result<fprobe_registration> register_fprobe_ips(
    fprobe& probe, const unsigned long* addresses, std::size_t count) {
    return register_fprobe_ips(probe, std::span(addresses, count));
}

/// The same, for the functions with exactly these names (as ftrace_ops::set_filter_names()). Errors:
/// no_match: a name that no traceable function has, with the nearest ones; invalid_argument, if
/// there is none. (Kernel: register_fprobe_syms.)
FTRACE_NOTRACE inline result<fprobe_registration> register_fprobe_syms(
    fprobe& probe, std::span<const std::string_view> names) {
    return detail::fprobe_access::enlist(
        probe, [=](ftrace_ops& ops) FTRACE_NOTRACE { return ops.set_filter_names(names, true); });
}
FTRACE_NOTRACE inline result<fprobe_registration> register_fprobe_syms(
    fprobe& probe, std::initializer_list<std::string_view> names) {
    return register_fprobe_syms(probe, std::span(names.begin(), names.size()));
}

/// No handler of `probe` is called any more; its functions stay hooked, and pay for it. A handler
/// that runs on another thread now goes on. A call that was entered before, and ends while the
/// probe is disabled, is not told of. May be called before registration, and in handlers. (Kernel:
/// disable_fprobe.)
FTRACE_NOTRACE inline void disable_fprobe(fprobe& probe) noexcept {
    detail::fprobe_access::disable(probe, true);
}
/// Undoes disable_fprobe(). (Kernel: enable_fprobe.)
FTRACE_NOTRACE inline void enable_fprobe(fprobe& probe) noexcept {
    detail::fprobe_access::disable(probe, false);
}

}  // namespace ftrace::inline v0
