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

/// What on_enter takes. Asked in this order, and no further than one that fits: to ask a generic lambda
/// is to compile it.
enum class enter_form { none, missing, arguments, call_and_arguments };
template <class Enter, class R, class... A>
FTRACE_NOTRACE consteval enter_form enter_form_of() {
    if constexpr (std::is_null_pointer_v<Enter>)
        return enter_form::missing;
    else if constexpr (takes<Enter, A...>)
        return enter_form::arguments;
    else if constexpr (takes<Enter, probe_call<R>, A...>)
        return enter_form::call_and_arguments;
    else
        return enter_form::none;
}

/// What on_leave takes, in the same way.
enum class leave_form {
    none,
    missing,
    nothing,
    data,
    result,
    result_and_data,
    exit,
    exit_and_data
};
template <class Leave, class R, class Data>
FTRACE_NOTRACE consteval leave_form leave_form_of() {
    if constexpr (std::is_null_pointer_v<Leave>) {
        return leave_form::missing;
    } else if constexpr (!std::is_void_v<R>) {
        using object = std::remove_reference_t<R>;
        if constexpr (takes<Leave, object, Data>)
            return leave_form::result_and_data;
        else if constexpr (takes<Leave, object>)
            return leave_form::result;
        else if constexpr (takes<Leave, probe_exit<R>, Data>)
            return leave_form::exit_and_data;
        else if constexpr (takes<Leave, probe_exit<R>>)
            return leave_form::exit;
        else
            return leave_form::none;
    } else if constexpr (takes<Leave>) {
        return leave_form::nothing;
    } else if constexpr (takes<Leave, probe_exit<R>, Data>) {
        return leave_form::exit_and_data;
    } else if constexpr (takes<Leave, probe_exit<R>>) {
        return leave_form::exit;
    } else if constexpr (takes<Leave, Data>) {
        return leave_form::data;
    } else {
        return leave_form::none;
    }
}

/// Runs on_enter in the form it has. What it returns is kept until the call ends. Whatever a
/// handler throws ends the program: there is nobody to catch it.
template <class Enter, class R, class... A>
FTRACE_NOTRACE auto run_enter(Enter& handler, probe_call<R>& call, A&... arguments) noexcept {
    constexpr enter_form form = enter_form_of<Enter, R, A...>();
    if constexpr (form == enter_form::arguments) {
        if constexpr (!std::is_void_v<std::invoke_result_t<Enter&, A&...>>) {
            return handler(arguments...);
        } else {
            handler(arguments...);
            return nothing{};
        }
    } else if constexpr (form == enter_form::call_and_arguments) {
        if constexpr (!std::is_void_v<std::invoke_result_t<Enter&, probe_call<R>&, A&...>>) {
            return handler(call, arguments...);
        } else {
            handler(call, arguments...);
            return nothing{};
        }
    } else {
        return nothing{};
    }
}

/// Runs on_leave in the form it has. `result`: null if an exception ended the call; of a void
/// function that returned, something else.
template <class R, class Leave, class Data>
FTRACE_NOTRACE void run_leave(Leave& handler, void* result, [[maybe_unused]] Data& data) noexcept {
    constexpr leave_form form = leave_form_of<Leave, R, Data>();
    if constexpr (form == leave_form::exit_and_data) {
        auto exit = probe_access::exit<R>(result);
        handler(exit, data);
    } else if constexpr (form == leave_form::exit) {
        auto exit = probe_access::exit<R>(result);
        handler(exit);
    } else if (result != nullptr) {
        if constexpr (form == leave_form::nothing)
            handler();
        else if constexpr (form == leave_form::data)
            handler(data);
        else if constexpr (form == leave_form::result)
            handler(*static_cast<std::remove_reference_t<R>*>(result));
        else if constexpr (form == leave_form::result_and_data)
            handler(*static_cast<std::remove_reference_t<R>*>(result), data);
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
    FTRACE_NOTRACE probe_answer() noexcept = default;
    [[nodiscard]] FTRACE_NOTRACE void* place() noexcept { return &object_; }
    [[nodiscard]] FTRACE_NOTRACE R take() noexcept { return static_cast<R>(*object_); }

private:
    std::remove_reference_t<R>* object_ = nullptr;
};
template <>
class probe_answer<void> {
public:
    FTRACE_NOTRACE probe_answer() noexcept = default;
    [[nodiscard]] FTRACE_NOTRACE void* place() noexcept { return nullptr; }
    FTRACE_NOTRACE void take() noexcept {}
};

}  // namespace ftrace::inline v0::detail
