// ftrace_ops: a callback, the functions it is for, and the registers it wants.
#pragma once

#include <cstddef>
#include <cstdint>
#include <ftrace/arch/registers.hpp>
#include <ftrace/core/config.hpp>
#include <ftrace/core/result.hpp>
#include <ftrace/ops/flags.hpp>
#include <span>
#include <string_view>
#include <type_traits>

namespace ftrace::inline v0 {

class ftrace_ops;

/// Called at the entry of a traced function. `ip`: the site; `parent_ip`: where the function will
/// return to; `regs`: valid during the call. Must be noexcept: there is nobody to catch between a
/// function and its caller.
using ftrace_func_t = void (*)(unsigned long ip, unsigned long parent_ip, ftrace_ops& op,
                               ftrace_regs& regs) noexcept;

namespace detail {

struct ops_state;   // ops/registry_state.hpp
struct own_stubs;   // ops/stubs.hpp
struct static_set;  // ops/static_registry.hpp
struct ops_access;

}  // namespace detail

/// The base of every ops, and by itself the dynamic one: callback and user pointer are chosen at
/// run time, and the callback is reached by one indirect call. `ops<callback, policy>` is the form
/// with a stub of its own.
///
/// Constant-initialised: may be a global that other constructors use. Not copied, not moved: stubs
/// point to it. The destructor unregisters it. One ops is used from one thread at a time; different
/// ops from any threads.
class ftrace_ops {
public:
    /// `flags`: ops_flags. With ARGS_INTEGER the callback must be FTRACE_GENERAL_REGS_ONLY: nothing
    /// checks it here, as ops<> does.
    constexpr FTRACE_NOTRACE explicit ftrace_ops(ftrace_func_t callback, save_policy policy = ARGS,
                                                 void* user_data = nullptr,
                                                 unsigned flags = FTRACE_OPS_FL_RECURSION) noexcept
        : private_data(user_data),
          func_(callback),
          policy_(detail::policy_with(policy, flags)),
          flags_(flags) {}

    template <class Callback>
        requires(!std::is_nothrow_invocable_v<Callback, unsigned long, unsigned long, ftrace_ops&,
                                              ftrace_regs&>)
    explicit ftrace_ops(Callback, save_policy = ARGS, void* = nullptr, unsigned = 0) {
        static_assert(
            std::is_nothrow_invocable_v<Callback, unsigned long, unsigned long, ftrace_ops&,
                                        ftrace_regs&>,
            "an ftrace callback is `void f(unsigned long ip, unsigned long parent_ip, "
            "ftrace::ftrace_ops&, "
            "ftrace::ftrace_regs&) noexcept`: this one has another signature, or may throw");
    }

    ftrace_ops(const ftrace_ops&) = delete;
    ftrace_ops& operator=(const ftrace_ops&) = delete;
    FTRACE_NOTRACE ~ftrace_ops();

    /// Adds the functions that match `pattern` (sites/filter.hpp has the syntax; `!pattern`
    /// removes) to those the callback is called for. The first filter replaces "all functions".
    /// `reset` forgets earlier ones. Returns how many functions matched. On a registered ops this
    /// is one transaction: all sites switch, or none; a thread that has just entered the stub of a
    /// function that leaves the filter may still call the callback for it, as in the kernel.
    /// Errors: no_match, with the nearest names; invalid_argument: the syntax, or a removal that
    /// would leave nothing, which would mean "all functions" again.
    FTRACE_NOTRACE result<std::size_t> set_filter(std::string_view pattern, bool reset = false);
    /// Adds functions the callback is never called for, whatever the filter says.
    FTRACE_NOTRACE result<std::size_t> set_notrace(std::string_view pattern, bool reset = false);
    /// Adds (or removes) one function by the address of its site or its first instruction.
    /// Errors: not_a_site.
    FTRACE_NOTRACE result<std::size_t> set_filter_ip(std::uintptr_t address, bool remove = false,
                                                     bool reset = false);
    /// The same with several at once: all of them, or none. Returns how many functions these are.
    /// Errors: invalid_argument, if there is none. (Kernel: ftrace_set_filter_ips.)
    FTRACE_NOTRACE result<std::size_t> set_filter_ips(std::span<const std::uintptr_t> addresses,
                                                      bool remove = false, bool reset = false);
    /// Adds functions by their exact names, in any form that set_filter() takes but without
    /// wildcards: all of them, or none. Returns how many functions these are: overloads share a
    /// name. Errors: no_match, with the nearest names; invalid_argument, if there is no name.
    FTRACE_NOTRACE result<std::size_t> set_filter_names(std::span<const std::string_view> names,
                                                        bool reset = false);
    /// Forgets all filters: the ops is for all functions again, but those of set_notrace().
    FTRACE_NOTRACE result<void> reset_filter();
    /// Forgets what set_notrace() left out.
    FTRACE_NOTRACE result<void> reset_notrace();

    [[nodiscard]] FTRACE_NOTRACE bool registered() const noexcept;
    [[nodiscard]] constexpr FTRACE_NOTRACE save_policy policy() const noexcept { return policy_; }
    [[nodiscard]] constexpr FTRACE_NOTRACE unsigned flags() const noexcept { return flags_; }

    /// The user's own: the library never looks at it.
    void* private_data;

protected:
    constexpr FTRACE_NOTRACE ftrace_ops(ftrace_func_t callback, save_policy policy, unsigned flags,
                                        const detail::own_stubs& own) noexcept
        : private_data(nullptr), func_(callback), policy_(policy), flags_(flags), own_(&own) {}

    /// A direct call (direct.hpp): no callback.
    constexpr FTRACE_NOTRACE explicit ftrace_ops(const void* target) noexcept
        : private_data(nullptr),
          func_(nullptr),
          policy_(ARGS_INTEGER),
          flags_(0),
          direct_(target) {}

private:
    ftrace_func_t func_;
    save_policy policy_;
    unsigned flags_;
    const detail::own_stubs* own_ = nullptr;   ///< stubs that call this ops' callback directly
    const detail::static_set* set_ = nullptr;  ///< the compile-time registry it is part of
    unsigned set_index_ = 0;
    const void* direct_ = nullptr;  ///< what its functions' calls go to, instead of a callback
    detail::ops_state* state_ = nullptr;  ///< made by the first filter or registration
    friend struct detail::ops_access;
};

}  // namespace ftrace::inline v0
