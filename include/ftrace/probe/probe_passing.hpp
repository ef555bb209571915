// How a typed wrapper takes a parameter, and hands it on.
#pragma once

#include <ftrace/arch/abi_classify.hpp>
#include <ftrace/args/signature.hpp>
#include <ftrace/core/config.hpp>
#include <type_traits>

namespace ftrace::inline v0::detail {

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

}  // namespace ftrace::inline v0::detail
