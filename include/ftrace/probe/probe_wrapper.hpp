// The function that stands between the callers of a probed function and its body: what the compiler
// makes of the signature. The site jumps here; registers and stack are as the function would have
// found them, so parameters arrive, and are handed on, by the compiler's own rules.
//
//     R wrapper(P... p) {
//         on_enter(p...);          // inside a section: no recursion, and the handlers stay
//         R r = body(p...);        // outside: the program's own code
//         on_leave(r);             // inside a section
//         return r;
//     }
//
// What no C++ function can hand on unharmed is handed on as its address: a class that is passed so
// (a by-value parameter would be moved once more), and a result that is made in the caller's memory.
// An exception passes through a destructor, which calls on_leave: a handler that threw it again
// would be where a search for one ends.
#pragma once

#include <errno.h>

#include <cstdint>
#include <ftrace/arch/abi_classify.hpp>
#include <ftrace/args/signature.hpp>
#include <ftrace/core/config.hpp>
#include <ftrace/core/thread_state.hpp>
#include <ftrace/probe/probe_call.hpp>
#include <ftrace/probe/probe_chain.hpp>
#include <ftrace/probe/thrown_type.hpp>
#include <type_traits>
#include <utility>

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

/// Stands for the object of a member function in the list of its parameters.
template <class C>
struct object_of {};

/// How a parameter or result declared as T is handed on, and what on_enter sees of it: the object of
/// the caller, or the wrapper's own, which is handed on.
template <class T>
struct passing {
    using type = T;
    using seen = std::remove_reference_t<T>&;
    FTRACE_NOTRACE static seen see(std::remove_reference_t<T>& passed) noexcept { return passed; }
};
template <class T>
    requires(arch::passed_by_address<T>())
struct passing<T> {
    using type = T*;
    using seen = T&;
    FTRACE_NOTRACE static seen see(T* passed) noexcept { return *passed; }
};
template <class C>
struct passing<object_of<C>> {
    using type = C*;
    using seen = C&;
    FTRACE_NOTRACE static seen see(C* passed) noexcept { return *passed; }
};
template <class T>
using handed_on = typename passing<T>::type;
template <class T>
using seen = typename passing<T>::seen;

/// The call_signature of a function, with its object as such.
template <class F, class Signature = signature_t<F>>
struct probed_signature {
    using type = Signature;
};
template <class F, class R, class C, class... P>
    requires std::is_member_function_pointer_v<F>
struct probed_signature<F, call_signature<false, R, C*, P...>> {
    using type = call_signature<false, R, object_of<C>, P...>;
};

/// A result that is made in the caller's memory, since no register can hold such a class. (Of other
/// classes the compiler knows what to do.)
template <class R>
inline constexpr bool in_memory = arch::passed_by_address<R>();

/// on_enter and on_leave of one probe. nullptr_t: none.
template <class Enter, class Leave>
struct probe_handlers {
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

/// One probe in one call, from its on_enter to its on_leave.
template <class R, class Handlers, class Data>
class probed_call {
public:
    FTRACE_NOTRACE ~probed_call() {
        if (open_) end(nullptr);
    }
    probed_call(const probed_call&) = delete;
    probed_call& operator=(const probed_call&) = delete;

    template <class... A>
    FTRACE_NOTRACE probed_call(const probe_cell& cell, Handlers& handlers, probe_call<R>& call,
                               A&... arguments) noexcept
        : cell_(cell),
          generation_(__atomic_load_n(&cell.generation, __ATOMIC_RELAXED)),
          data_(run_enter(handlers.enter, call, arguments...)) {}

    /// The body did not run.
    FTRACE_NOTRACE void cancel() noexcept { open_ = false; }

    /// The thread may be another one than at the beginning: fibers move. Nothing happens if the
    /// probe has gone meanwhile.
    FTRACE_NOTRACE void end(void* result) noexcept {
        open_ = false;
        if constexpr (std::is_null_pointer_v<decltype(Handlers::leave)>) return;
        thread_state* const thread = this_thread();
        if (thread == nullptr) return;
        const std::uint64_t outside = section_of(*thread);
        if (is_inside(outside)) return;
        enter_section(*thread, outside);
        auto* const handlers =
            static_cast<Handlers*>(__atomic_load_n(&cell_.handlers, __ATOMIC_ACQUIRE));
        if (handlers != nullptr &&
            __atomic_load_n(&cell_.generation, __ATOMIC_RELAXED) == generation_) {
            const int saved = *thread->program_errno;
            run_leave<R>(handlers->leave, result, data_);
            *thread->program_errno = saved;
        }
        leave_section(*thread, outside);
    }

private:
    const probe_cell& cell_;
    std::uint64_t generation_;
    [[no_unique_address]] Data data_;
    bool open_ = true;
};

/// The section that all on_enter of a call run in.
struct entering {
    thread_state& thread;
    std::uint64_t outside;
    int program_errno;

    FTRACE_NOTRACE void leave() const noexcept {
        *thread.program_errno = program_errno;
        leave_section(thread, outside);
    }
};

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

#if defined(__clang__)
// The type by which a body is called is not the one it was declared with.
#define FTRACE_WRAPPER FTRACE_NOTRACE __attribute__((no_sanitize("function")))
#else
#define FTRACE_WRAPPER FTRACE_NOTRACE
#endif

/// `F`: the function. `Signature`: its call_signature.
template <auto F, class Enter, class Leave, class Signature>
struct probe_wrapper;

template <auto F, class Enter, class Leave, class R, class... P>
struct FTRACE_LOCAL probe_wrapper<F, Enter, Leave, call_signature<false, R, P...>> {
    using handlers = probe_handlers<Enter, Leave>;
    using data = decltype(run_enter(std::declval<Enter&>(), std::declval<probe_call<R>&>(),
                                    std::declval<seen<P>>()...));
    using probed = probed_call<R, handlers, data>;

    static inline constinit probe_link link{};

    /// The wrapper's code.
    FTRACE_NOTRACE static const void* entry() noexcept {
        if constexpr (in_memory<R>)
            return reinterpret_cast<const void*>(&enter_with_place);
        else
            return reinterpret_cast<const void*>(&enter);
    }

private:
    using returned = std::conditional_t<in_memory<R>, void*, R>;
    template <class T>
    using passed = std::remove_reference_t<handed_on<T>>&;

    FTRACE_WRAPPER __attribute__((noinline)) static R enter(handed_on<P>... p) {
        return begin(nullptr, p...);
    }
    /// The caller gives the place of the result as a first argument, and gets it back.
    FTRACE_WRAPPER __attribute__((noinline)) static void* enter_with_place(void* result,
                                                                           handed_on<P>... p) {
        return begin(result, p...);
    }

    FTRACE_WRAPPER __attribute__((always_inline)) static returned begin(void* result,
                                                                        passed<P>... p) {
        if (thread_state* const thread = this_thread()) {
            const std::uint64_t outside = section_of(*thread);
            if (!is_inside(outside)) {
                enter_section(*thread, outside);
                if (const probe_cell* const first = __atomic_load_n(&link.cells, __ATOMIC_ACQUIRE))
                    return pass({*thread, outside, *thread->program_errno}, *first, result, p...);
                leave_section(*thread, outside);
            } else {
                ++thread->missed;
            }
        }
        return call(__atomic_load_n(&link.next, __ATOMIC_ACQUIRE), result, p...);
    }

    /// The next wrapper, or the body.
    FTRACE_WRAPPER __attribute__((always_inline)) static returned call(
        const void* next, [[maybe_unused]] void* result, passed<P>... p) {
        FTRACE_NOTE_THROWN_BEGIN
        if constexpr (in_memory<R>)
            return reinterpret_cast<void* (*)(void*, handed_on<P>...)>(const_cast<void*>(next))(
                result, static_cast<handed_on<P>&&>(p)...);
        else
            return reinterpret_cast<R (*)(handed_on<P>...)>(const_cast<void*>(next))(
                static_cast<handed_on<P>&&>(p)...);
        FTRACE_NOTE_THROWN_END
    }

    FTRACE_WRAPPER __attribute__((always_inline)) static returned go_on(const entering& section,
                                                                        const probe_cell& cell,
                                                                        void* result,
                                                                        passed<P>... p) {
        if (const probe_cell* const behind = __atomic_load_n(&cell.next, __ATOMIC_ACQUIRE))
            return pass_again(section, *behind, result, p...);
        const void* const next = __atomic_load_n(&link.next, __ATOMIC_ACQUIRE);
        section.leave();
        return call(next, result, p...);
    }
    FTRACE_WRAPPER __attribute__((noinline)) static returned pass_again(const entering& section,
                                                                        const probe_cell& cell,
                                                                        void* result,
                                                                        passed<P>... p) {
        return pass(section, cell, result, p...);
    }

    /// Through one probe, those behind it, and the body.
    FTRACE_WRAPPER __attribute__((always_inline)) static returned pass(const entering& section,
                                                                       const probe_cell& cell,
                                                                       void* result,
                                                                       passed<P>... p) {
        auto* const mine =
            static_cast<handlers*>(__atomic_load_n(&cell.handlers, __ATOMIC_ACQUIRE));
        if (mine == nullptr) return go_on(section, cell, result, p...);
        if constexpr (in_memory<R>) {
            auto answer = probe_access::call<R>(result);
            probed now(cell, *mine, answer, passing<P>::see(p)...);
            if (probe_access::skipped(answer)) {
                now.cancel();
                section.leave();
                return result;
            }
            void* const made = go_on(section, cell, result, p...);
            now.end(made);
            return made;
        } else {
            probe_answer<R> place;
            auto answer = probe_access::call<R>(place.place());
            probed now(cell, *mine, answer, passing<P>::see(p)...);
            if (probe_access::skipped(answer)) {
                now.cancel();
                section.leave();
                return place.take();
            }
            if constexpr (std::is_void_v<R>) {
                go_on(section, cell, result, p...);
                now.end(&now);
            } else {
                R value = go_on(section, cell, result, p...);
                now.end(const_cast<void*>(
                    static_cast<const volatile void*>(__builtin_addressof(value))));
                if constexpr (std::is_reference_v<R>)
                    return static_cast<R>(value);
                else
                    return value;
            }
        }
    }
};
#undef FTRACE_WRAPPER

}  // namespace ftrace::inline v0::detail
