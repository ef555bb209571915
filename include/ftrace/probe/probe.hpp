// Typed probes: handlers at the entry and the exit of one function whose signature is known.
#pragma once

#include <cstdint>
#include <ftrace/core/config.hpp>
#include <ftrace/core/result.hpp>
#include <ftrace/ops/registry_state.hpp>
#include <ftrace/probe/probe_chain.hpp>
#include <ftrace/probe/probe_wrapper.hpp>
#include <ftrace/probe/probed_address.hpp>
#include <ftrace/sites/pin.hpp>
#include <new>
#include <type_traits>
#include <utility>

namespace ftrace::inline v0 {

namespace detail {
struct typed_probe_access;
}

/// Keeps a probe on its function; the destructor takes it off. Moves, does not copy. Destroyed inside a
/// callback or handler, where unregister() is busy, it switches the handlers off, without waiting for
/// those that run in other threads; they are not destroyed then.
class [[nodiscard]] typed_probe {
public:
    FTRACE_NOTRACE typed_probe() noexcept = default;
    FTRACE_NOTRACE typed_probe(typed_probe&& other) noexcept
        : link_(std::exchange(other.link_, nullptr)),
          probe_(other.probe_),
          handlers_(other.handlers_),
          destroy_(other.destroy_) {}
    FTRACE_NOTRACE typed_probe& operator=(typed_probe&& other) noexcept {
        if (this != &other) {
            leave();
            link_ = std::exchange(other.link_, nullptr);
            probe_ = other.probe_;
            handlers_ = other.handlers_;
            destroy_ = other.destroy_;
        }
        return *this;
    }
    FTRACE_NOTRACE ~typed_probe() { leave(); }

    /// When it returns, neither handler runs in another thread or will run, and both are destroyed:
    /// calls that are still inside the function end untold. (What on_enter returned for them is
    /// destroyed when they end: it must not refer to the handlers.) Errors: as
    /// registration::unregister(); the handlers are gone then, too, unless it is called from inside a
    /// callback or handler (busy) and nothing was done.
    FTRACE_NOTRACE result<void> unregister() {
        if (!attached()) return detail::not_registered();
        auto detached = detail::with_registry(
            [this](detail::locked_registry& registry) FTRACE_NOTRACE {
                return detail::detach(registry, *std::exchange(link_, nullptr), probe_);
            },
            detail::locked_registry::leaving);
        if (!attached()) destroy_(handlers_);  // no longer locked: what they captured may lock, too
        return detached;
    }

    [[nodiscard]] FTRACE_NOTRACE bool attached() const noexcept { return link_ != nullptr; }
    FTRACE_NOTRACE explicit operator bool() const noexcept { return attached(); }

private:
    /// Inside a callback, where nobody can wait, the handlers are switched off and stay as they are.
    FTRACE_NOTRACE void leave() noexcept {
        if (!attached()) return;
        (void)unregister();
        if (attached()) detail::switch_off(probe_);
        link_ = nullptr;
    }
    FTRACE_NOTRACE typed_probe(detail::probe_link& link, detail::attached_probe probe,
                               void* handlers, void (*destroy)(void*)) noexcept
        : link_(&link), probe_(probe), handlers_(handlers), destroy_(destroy) {}
    friend struct detail::typed_probe_access;

    detail::probe_link* link_ = nullptr;
    detail::attached_probe probe_{};
    void* handlers_ = nullptr;
    void (*destroy_)(void*) = nullptr;
};

namespace detail {

struct typed_probe_access {
    template <class Handlers>
    FTRACE_NOTRACE static typed_probe make(probe_link& link, const attached_probe& probe,
                                           Handlers* handlers) noexcept {
        return typed_probe(link, probe, handlers, &destroy<Handlers>);
    }

private:
    template <class Handlers>
    FTRACE_NOTRACE static void destroy(void* handlers) {
        delete static_cast<Handlers*>(handlers);
    }
};

template <class Signature>
inline constexpr bool is_variadic = false;
template <class R, class... P>
inline constexpr bool is_variadic<call_signature<true, R, P...>> = true;

template <class T>
inline constexpr bool moves_by_copy_only = false;
template <class T>
    requires std::is_class_v<T>
inline constexpr bool moves_by_copy_only<T> =
    !std::is_move_constructible_v<T> && std::is_trivially_copy_constructible_v<T>;

/// Of a vector that this file passes in memory, since its flags know no register for it.
template <class T>
inline constexpr bool needs_wider_registers = false;
template <class T>
    requires(arch::is_vector<std::remove_cv_t<T>>)
inline constexpr bool needs_wider_registers<T> =
#if defined(__AVX512F__)
    false;
#elif defined(__AVX__)
    sizeof(T) > 32;
#else
    sizeof(T) > 16;
#endif

template <class Enter, class Leave, class Signature>
struct probe_check;
template <class Enter, class Leave, class R, class... P>
struct probe_check<Enter, Leave, call_signature<false, R, P...>> {
    static constexpr bool enters = enter_form_of<Enter, R, seen<P>...>() != enter_form::none;
    static_assert(enters,
                  "ftrace: on_enter takes the function's arguments by reference, of a member "
                  "function the object first; before them it may take a "
                  "ftrace::probe_call<result>&");
    template <class Data>
    FTRACE_NOTRACE static consteval bool leaves() {
        return leave_form_of<Leave, R, Data>() != leave_form::none;
    }
    static_assert(
        !((arch::is_immovable<P> || ...)) && !arch::is_immovable<R>,
        "ftrace: a class that can be neither copied nor moved is passed by value here: no "
        "function can hand it on");
    static_assert(!(moves_by_copy_only<P> || ...) && !moves_by_copy_only<R>,
                  "ftrace: a class with a deleted move constructor and a trivial copy is passed by "
                  "value here: compilers differ in how");
    static_assert(!(needs_wider_registers<P> || ...) && !needs_wider_registers<R>,
                  "ftrace: this function takes or returns vectors of 32 or 64 bytes: compile this "
                  "file with -mavx or -mavx512f, as that of the function");
};

}  // namespace detail

/// Calls `on_enter` when `F` is entered, and `on_leave` when it is left, in all threads.
///
///     auto p = ftrace::probe<&parse>([](const char*& text, int& length) { ... },
///                                    [](int& result) { ... });
///
/// F: a function, or a pointer to a member function; of an overloaded one say which:
/// `static_cast<int (*)(double)>(&f)`. Not variadic. Of a virtual member function the overrider that
/// objects of that class call: `&derived::f` and `&base::f` are probed apart.
///
/// on_enter gets the arguments by reference, which it may change, of a member function the object
/// first; or before them a probe_call<R>&, by which it may answer the call itself. What
/// it returns is kept on the stack until the call ends, and handed to on_leave.
///
/// on_leave gets the result by reference, which it may change: `(R&)`, or `(R&, Data&)` with what
/// on_enter returned; of a void function `()` or `(Data&)`. It is then not called for calls that an
/// exception ends; `(probe_exit<R>&)` and `(probe_exit<R>&, Data&)` are called for all.
/// (Where this file is compiled with -fno-exceptions, they end untold.)
///
/// Either may be nullptr. Handlers may capture; what they capture is used by all threads at once.
/// While one runs, no other callback, probe or handler is called on that thread. One that throws ends
/// the program.
///
/// Several on one function are entered in the order in which they were made, and left in the
/// opposite one; probes of one function and the same types of handlers stand together, where the
/// first of them does. Ops on the function are called before all of them; one that moves the
/// instruction pointer takes the call from them.
///
/// Calls that began before are not told of. Errors: not_a_site; invalid_argument, of a clone and of a
/// virtual function that cannot be found; and those of register_ftrace_function().
template <auto F, class Enter = std::nullptr_t, class Leave = std::nullptr_t>
FTRACE_NOTRACE result<typed_probe> probe(Enter&& on_enter = nullptr, Leave&& on_leave = nullptr) {
    using signature = typename detail::probed_signature<decltype(F)>::type;
    static_assert(!detail::is_called_otherwise<decltype(F)>,
                  "ftrace: this function has another calling convention (ms_abi, preserve_all, "
                  "regcall): no wrapper can be made for it");
    static_assert(detail::is_signature<decltype(F)> || detail::is_called_otherwise<decltype(F)>,
                  "ftrace: name the probed function: &function or &class::member");
    static_assert(!detail::is_variadic<signature>,
                  "ftrace: a variadic function cannot be probed: how many arguments to hand on is "
                  "not known. An ops with regs_get_variadic<> sees them");
    if constexpr (detail::is_signature<decltype(F)> && !detail::is_variadic<signature>) {
        using enter_type = std::decay_t<Enter>;
        using leave_type = std::decay_t<Leave>;
        using check = detail::probe_check<enter_type, leave_type, signature>;
        if constexpr (check::enters) {
            using wrapper = detail::probe_wrapper<F, enter_type, leave_type, signature>;
            using handlers = typename wrapper::handlers;
            static_assert(check::template leaves<typename wrapper::data>(),
                          "ftrace: on_leave takes the function's result by reference (of a void "
                          "function nothing), or a ftrace::probe_exit<result>&; behind it it may "
                          "take a reference to what on_enter returns");
            auto address = detail::probed_address(F);
            if (!address) return std::move(address).error();
            auto* const made = new (std::nothrow)
                handlers{std::forward<Enter>(on_enter), std::forward<Leave>(on_leave)};
            if (made == nullptr)
                return error{errc::out_of_memory, "no memory for the probe's handlers"};
            detail::pin_object(wrapper::entry());
            auto attached =
                detail::with_registry([&](detail::locked_registry& registry) FTRACE_NOTRACE {
                    return detail::attach_probe(registry, *address, wrapper::link, wrapper::entry(),
                                                made);
                });
            if (attached) return detail::typed_probe_access::make(wrapper::link, *attached, made);
            delete made;
            return std::move(attached).error();
        }
    }
    return error{errc::invalid_argument, "this cannot be probed"};  // did not compile
}

}  // namespace ftrace::inline v0
