// Where the function is that `&f` or `&class::member` names.
#pragma once

#include <cstdint>
#include <ftrace/arch/member_pointer.hpp>
#include <ftrace/core/config.hpp>
#include <ftrace/core/error.hpp>
#include <ftrace/core/result.hpp>
#include <ftrace/sites/vtable.hpp>
#include <string>
#include <type_traits>
#include <typeinfo>

namespace ftrace::inline v0::detail {

template <class F>
struct class_of;
template <class M, class C>
struct class_of<M C::*> {
    using type = C;
};

/// The overrider that objects of class C itself call.
template <class C>
[[nodiscard]] FTRACE_NOTRACE result<std::uintptr_t> final_overrider(
    [[maybe_unused]] arch::member_function_pointer member) {
#if defined(__cpp_rtti)
    const std::type_info& type = typeid(C);
    if (const std::uintptr_t function =
            vtable_search(type.name(), &type, member.vtable_offset()).run())
        return function;
    return error{
        errc::invalid_argument,
        std::string("the virtual table of this class is not found, _ZTV") + type.name() +
            (std::is_abstract_v<C> ? ": it is abstract. Name an overrider of the function"
                                   : ": no symbol names it. It is local to an object that "
                                     "was stripped, or no object of the class is ever made")};
#else
    return error{errc::invalid_argument,
                 "which overrider a virtual member function means is known with RTTI only: compile "
                 "this file without -fno-rtti"};
#endif
}

/// Errors: invalid_argument, of a virtual member function whose class's table is not found, and of
/// one that is named as a member of a derived class in which its object lies elsewhere.
template <class F>
[[nodiscard]] FTRACE_NOTRACE result<std::uintptr_t> probed_address(F function) {
    if constexpr (std::is_member_function_pointer_v<F>) {
        const auto member = arch::member_function_pointer::of(function);
        if (member.adjustment != 0)
            return error{errc::invalid_argument,
                         "this member function is one of a base class: name it as &base::function"};
        if (member.is_virtual()) return final_overrider<typename class_of<F>::type>(member);
        return member.function;
    } else {
        return reinterpret_cast<std::uintptr_t>(function);
    }
}

}  // namespace ftrace::inline v0::detail
