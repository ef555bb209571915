// What the handlers of a typed probe are told of a call besides its arguments and its result.
#pragma once

#include <ftrace/core/config.hpp>
#include <new>
#include <type_traits>
#include <typeinfo>

namespace ftrace::inline v0 {

namespace detail {
struct probe_access;
}

/// A call that on_enter may answer itself. `R`: what the function returns. Valid in the handler.
template <class R>
class probe_call {
public:
    probe_call(const probe_call&) = delete;
    probe_call& operator=(const probe_call&) = delete;
    FTRACE_NOTRACE ~probe_call() = default;

    /// The body does not run, nor do the probes behind this one and this one's on_leave: the caller
    /// gets a result made of `arguments`. The last answer counts.
    template <class... Argument>
        requires(!std::is_reference_v<R> && std::is_constructible_v<R, Argument...>)
    FTRACE_NOTRACE void skip(Argument&&... arguments) {
        if (skipped_) static_cast<R*>(result_)->~R();
        ::new (result_) R(static_cast<Argument&&>(arguments)...);
        skipped_ = true;
    }
    FTRACE_NOTRACE void skip(R result)
        requires std::is_reference_v<R>
    {
        *static_cast<std::remove_reference_t<R>**>(result_) = __builtin_addressof(result);
        skipped_ = true;
    }

private:
    FTRACE_NOTRACE explicit probe_call(void* result) noexcept : result_(result) {}
    friend struct detail::probe_access;

    void* result_;
    bool skipped_ = false;
};
template <>
class probe_call<void> {
public:
    probe_call(const probe_call&) = delete;
    probe_call& operator=(const probe_call&) = delete;
    FTRACE_NOTRACE ~probe_call() = default;

    FTRACE_NOTRACE void skip() noexcept { skipped_ = true; }

private:
    FTRACE_NOTRACE explicit probe_call(void*) noexcept {}
    friend struct detail::probe_access;

    bool skipped_ = false;
};

/// How a call ended, for on_leave. Valid in the handler.
template <class R>
class probe_exit {
public:
    probe_exit(const probe_exit&) = delete;
    probe_exit& operator=(const probe_exit&) = delete;
    FTRACE_NOTRACE ~probe_exit() = default;

    /// false: an exception left the function, and there is no result.
    [[nodiscard]] FTRACE_NOTRACE bool returned() const noexcept { return result_ != nullptr; }
    /// The type of what left it; null: of a call that returned, of what is no C++ exception, or
    /// where this file is compiled without exceptions or RTTI.
    [[nodiscard]] FTRACE_NOTRACE const std::type_info* exception() const noexcept {
        return thrown_;
    }
    /// The result, which may be changed. Only if the call returned.
    [[nodiscard]] FTRACE_NOTRACE std::add_lvalue_reference_t<R> result() const noexcept
        requires(!std::is_void_v<R>)
    {
        return *static_cast<std::remove_reference_t<R>*>(result_);
    }

private:
    FTRACE_NOTRACE probe_exit(void* result, const std::type_info* thrown) noexcept
        : result_(result), thrown_(thrown) {}
    friend struct detail::probe_access;

    void* result_;  ///< of a void function that returned: something else than null
    const std::type_info* thrown_;
};

}  // namespace ftrace::inline v0
