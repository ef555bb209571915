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

#include <cstdint>
#include <ftrace/args/signature.hpp>
#include <ftrace/core/config.hpp>
#include <ftrace/core/process.hpp>
#include <ftrace/core/sanitizer.hpp>
#include <ftrace/core/thread_state.hpp>
#include <ftrace/probe/probe_call.hpp>
#include <ftrace/probe/probe_chain.hpp>
#include <ftrace/probe/probe_handlers.hpp>
#include <ftrace/probe/probe_passing.hpp>
#include <ftrace/probe/thrown_type.hpp>
#include <type_traits>
#include <utility>

namespace ftrace::inline v0::detail {

/// The program's errno around handlers. Written only if one changed it: stores cost more.
class kept_errno {
public:
    FTRACE_NOTRACE explicit kept_errno(const thread_state& thread) noexcept
        : place_(thread.program_errno), value_(*place_) {}
    FTRACE_NOTRACE ~kept_errno() = default;

    FTRACE_NOTRACE __attribute__((always_inline)) void restore() const noexcept {
        if (*place_ != value_) [[unlikely]]
            *place_ = value_;
    }

private:
    int* place_;
    int value_;
};

/// One probe in one call, from its on_enter to its on_leave.
template <class R, class Handlers, class Data>
class probed_call {
public:
    FTRACE_NOTRACE __attribute__((always_inline)) ~probed_call() {
        if (open_) thrown(cell_, generation_, data_);
    }
    probed_call(const probed_call&) = delete;
    probed_call& operator=(const probed_call&) = delete;

    template <class... A>
    FTRACE_NOTRACE __attribute__((always_inline)) probed_call(const probe_cell& cell,
                                                              Handlers& handlers,
                                                              probe_call<R>& call,
                                                              A&... arguments) noexcept
        : cell_(cell),
          generation_(__atomic_load_n(&cell.generation, __ATOMIC_RELAXED)),
          data_(run_enter(handlers.enter, call, arguments...)) {}

    /// The body did not run.
    FTRACE_NOTRACE __attribute__((always_inline)) void cancel() noexcept { open_ = false; }
    FTRACE_NOTRACE __attribute__((always_inline)) void end(void* result) noexcept {
        open_ = false;
        leave(cell_, generation_, result, data_);
    }

private:
    /// Not by `this`, so that the compiler can keep the members in registers.
    FTRACE_NOTRACE __attribute__((noinline, cold)) static void thrown(const probe_cell& cell,
                                                                      std::uint64_t generation,
                                                                      Data& data) noexcept {
        leave(cell, generation, nullptr, data);
    }
    /// The thread may be another one than at the beginning: fibers move. Nothing happens if the
    /// probe has gone meanwhile.
    FTRACE_NOTRACE __attribute__((always_inline)) static void leave(const probe_cell& cell,
                                                                    std::uint64_t generation,
                                                                    void* result,
                                                                    Data& data) noexcept {
        if constexpr (std::is_null_pointer_v<decltype(Handlers::leave)>) return;
        const auto [thread, outside] = start_of_section(this_frame(), 0);
        if (thread == nullptr) [[unlikely]]
            return;
        enter_section(*thread, outside, this_frame());
        auto* const handlers =
            static_cast<Handlers*>(__atomic_load_n(&cell.handlers, __ATOMIC_ACQUIRE));
        if (__builtin_expect(handlers != nullptr, 1) &&
            __builtin_expect(__atomic_load_n(&cell.generation, __ATOMIC_RELAXED) == generation,
                             1)) {
            const kept_errno kept(*thread);
            run_leave<R>(handlers->leave, result, data);
            kept.restore();
        }
        leave_section(*thread, outside);
    }

    const probe_cell& cell_;
    std::uint64_t generation_;
    bool open_ = true;
    Data data_;  // not in a place with others: a handler may write all of it, its padding too
};

/// The section that all on_enter of a call run in.
struct entering {
    thread_state& thread;
    std::uint64_t outside;
    kept_errno kept;

    FTRACE_NOTRACE __attribute__((always_inline)) void leave() const noexcept {
        kept.restore();
        leave_section(thread, outside);
    }
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

    /// Whatever the flags: without one who walks frame pointers (perf) misses the caller.
    FTRACE_WRAPPER __attribute__((always_inline)) static void keep_frame_pointer() {
        __asm__ volatile("" ::"r"(__builtin_frame_address(0)));
    }

    FTRACE_WRAPPER __attribute__((always_inline)) static returned begin(void* result,
                                                                        passed<P>... p) {
        keep_frame_pointer();
        // What stubs know without instrumentation, this has to see: that the state is made.
        if constexpr (thread_sanitizer) (void)shared_state();
        const auto [thread, outside] = start_of_section(this_frame(), 1);
        if (thread != nullptr) [[likely]] {
            enter_section(*thread, outside, this_frame());
            if (const probe_cell* const first = __atomic_load_n(&link.cells, __ATOMIC_ACQUIRE))
                [[likely]]
                return pass({*thread, outside, kept_errno(*thread)}, *first, result, p...);
            leave_section(*thread, outside);
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

    FTRACE_WRAPPER __attribute__((always_inline)) static returned go_on(entering section,
                                                                        const probe_cell& cell,
                                                                        void* result,
                                                                        passed<P>... p) {
        if (const probe_cell* const behind = __atomic_load_n(&cell.next, __ATOMIC_ACQUIRE))
            [[unlikely]]
            return pass_again(section, *behind, result, static_cast<handed_on<P>&&>(p)...);
        const void* const next = __atomic_load_n(&link.next, __ATOMIC_ACQUIRE);
        section.leave();
        return call(next, result, p...);
    }
    /// By value, so that the parameters of a call with one probe can stay in registers.
    FTRACE_WRAPPER __attribute__((noinline)) static returned pass_again(entering section,
                                                                        const probe_cell& cell,
                                                                        void* result,
                                                                        handed_on<P>... p) {
        keep_frame_pointer();
        return pass(section, cell, result, p...);
    }

    /// Through one probe, those behind it, and the body.
    FTRACE_WRAPPER __attribute__((always_inline)) static returned pass(entering section,
                                                                       const probe_cell& cell,
                                                                       void* result,
                                                                       passed<P>... p) {
        auto* const mine =
            static_cast<handlers*>(__atomic_load_n(&cell.handlers, __ATOMIC_ACQUIRE));
        if (mine == nullptr) [[unlikely]]
            return go_on(section, cell, result, p...);
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
