// on_enter and on_leave, in each form they may have.
#pragma once

#include <ftrace/core/config.hpp>
#include <ftrace/probe/probe_call.hpp>
#include <ftrace/probe/thrown_type.hpp>
#include <type_traits>

namespace ftrace::inline v0::detail {

struct probe_access {
    template <class R>
    FTRACE_NOTRACE static probe_call<R> call(void* result) noexcept {
        return probe_call<R>(result);
    }
    template <class R>
    FTRACE_NOTRACE static bool skipped(const probe_call<R>& call) noexcept {
        return call.skipped_;
    }
    template <class R>
    FTRACE_NOTRACE static probe_exit<R> exit(void* result) noexcept {
        return probe_exit<R>(result, result == nullptr ? thrown_type() : nullptr);
    }
};

/// on_enter and on_leave of one probe. nullptr_t: none.
template <class Enter, class Leave>
struct probe_handlers {
    FTRACE_NOTRACE ~probe_handlers() = default;

    Enter enter;
    Leave leave;
};

struct nothing {};

template <class Handler, class... Argument>
inline constexpr bool takes = std::is_invocable_v<Handler&, Argument&...>;

/// Runs on_enter in the form it has. What it returns is kept until the call ends. Whatever a
/// handler throws ends the program: there is nobody to catch it.
template <class Enter, class R, class... A>
FTRACE_NOTRACE auto run_enter(Enter& handler, probe_call<R>& call, A&... arguments) noexcept {
    if constexpr (std::is_null_pointer_v<Enter>) {
        return nothing{};
    } else if constexpr (takes<Enter, A...>) {
        if constexpr (!std::is_void_v<std::invoke_result_t<Enter&, A&...>>) {
            return handler(arguments...);
        } else {
            handler(arguments...);
            return nothing{};
        }
    } else {
        if constexpr (!std::is_void_v<std::invoke_result_t<Enter&, probe_call<R>&, A&...>>) {
            return handler(call, arguments...);
        } else {
            handler(call, arguments...);
            return nothing{};
        }
    }
}

/// Runs on_leave in the form it has. `result`: null if an exception ended the call; of a void
/// function that returned, something else.
template <class R, class Leave, class Data>
FTRACE_NOTRACE void run_leave(Leave& handler, void* result, Data& data) noexcept {
    using object = std::conditional_t<std::is_void_v<R>, nothing, std::remove_reference_t<R>>;
    if constexpr (std::is_null_pointer_v<Leave>) {
        (void)data;
    } else if constexpr (takes<Leave, probe_exit<R>, Data> && !takes<Leave, object, Data>) {
        auto exit = probe_access::exit<R>(result);
        handler(exit, data);
    } else if constexpr (takes<Leave, probe_exit<R>> && !takes<Leave, object>) {
        auto exit = probe_access::exit<R>(result);
        handler(exit);
    } else if (result != nullptr) {
        if constexpr (std::is_void_v<R> && takes<Leave, Data> && !takes<Leave>)
            handler(data);
        else if constexpr (std::is_void_v<R>)
            handler();
        else if constexpr (takes<Leave, object, Data>)
            handler(*static_cast<object*>(result), data);
        else
            handler(*static_cast<object*>(result));
    }
}

/// What on_enter answers in the body's place.
template <class R>
class probe_answer {
public:
    FTRACE_NOTRACE probe_answer() noexcept {}
    FTRACE_NOTRACE ~probe_answer() {}
    probe_answer(const probe_answer&) = delete;
    probe_answer& operator=(const probe_answer&) = delete;
    [[nodiscard]] FTRACE_NOTRACE void* place() noexcept { return &value_; }
    // gcc does not see that it is taken only where it was made.
#pragma GCC diagnostic push
#if !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
    [[nodiscard]] FTRACE_NOTRACE R take() noexcept {
        R value(static_cast<std::remove_cv_t<R>&&>(value_));
        value_.~R();
        return value;
    }
#pragma GCC diagnostic pop

private:
    union {
        std::remove_cv_t<R> value_;
    };
};
template <class R>
    requires std::is_reference_v<R>
class probe_answer<R> {
public:
    [[nodiscard]] FTRACE_NOTRACE void* place() noexcept { return &object_; }
    [[nodiscard]] FTRACE_NOTRACE R take() noexcept { return static_cast<R>(*object_); }

private:
    std::remove_reference_t<R>* object_ = nullptr;
};
template <>
class probe_answer<void> {
public:
    [[nodiscard]] FTRACE_NOTRACE void* place() noexcept { return nullptr; }
    FTRACE_NOTRACE void take() noexcept {}
};

}  // namespace ftrace::inline v0::detail
