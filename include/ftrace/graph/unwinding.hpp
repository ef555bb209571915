// What the unwinder calls on an exception's way through a return trampoline.
//
//     _Unwind_RaiseException                      phase 2 (Itanium C++ ABI: Exception Handling, 1.3)
//       personality of the hooked function         runs its destructors
//       trampoline_passed()                        the call has ended; its caller comes next
//       personality of the caller                  ...
//
// Unwinders tell frames apart by their stack pointers, and that of a trampoline is its caller's. So if
// the caller has the handler, the trampoline may be taken for the frame with it, and must not
// refuse: by LLVM's unwinder always, by libgcc's if the trampoline follows another one. It then
// catches the exception, in its landing pad, and lets it go on from there, where its stack pointer is
// another one.
#pragma once

#include <unwind.h>

#include <cstdint>
#include <cstring>
#include <ftrace/arch/return_trampoline.hpp>
#include <ftrace/core/config.hpp>
#include <ftrace/graph/deliver.hpp>
#include <typeinfo>

namespace ftrace::inline v0::detail {

/// The type of a C++ exception, from what both runtimes keep in front of the unwinder's part: 80
/// bytes before it the type, or, of a std::exception_ptr in libstdc++, the object that was thrown
/// first (libsupc++/unwind-cxx.h, libcxxabi/src/cxa_exception.h).
[[nodiscard]] FTRACE_NO_INSTRUMENTATION inline const std::type_info* type_of(
    const _Unwind_Exception& exception) noexcept {
    constexpr std::uint64_t gnu = 0x474e5543432b2b00,  // "GNUCC++\0"
        llvm = 0x434c4e47432b2b00, dependent = 1;      // "CLNGC++\0"
    constexpr std::size_t back = 80;
    const std::uint64_t kind = exception.exception_class;
    if ((kind & ~dependent) != gnu && (kind & ~dependent) != llvm) return nullptr;
    const auto* at = reinterpret_cast<const char*>(&exception) - back;
    const void* found;
    std::memcpy(&found, at, sizeof found);
    if (kind == (gnu | dependent)) {
        at = static_cast<const char*>(found) - sizeof(_Unwind_Exception) - back;
        std::memcpy(&found, at, sizeof found);
    }
    return static_cast<const std::type_info*>(found);
}

/// Looks for the function whose handler an exception goes to: phase 1 noted its frame's stack
/// pointer in private_2.
struct handler_search {
    const graph_state& state;
    const unwinder_calls& calls;
    std::uintptr_t stack_pointer;
    unsigned long function = 0;

    FTRACE_NO_INSTRUMENTATION static _Unwind_Reason_Code visit(_Unwind_Context* context,
                                                               void* data) noexcept {
        auto& self = *static_cast<handler_search*>(data);
        // libgcc's is one less where a signal frame, as a trampoline is one, comes before.
        const std::uintptr_t at = self.calls.get_cfa(context);
        if (at - self.stack_pointer > 1 || self.state.blocks.contains(self.calls.get_ip(context)))
            return _URC_NO_REASON;
        self.function = self.calls.get_region_start(context);
        return _URC_NORMAL_STOP;
    }
};

struct last_handler {
    const _Unwind_Exception* exception;
    std::uintptr_t stack_pointer;
    unsigned long function;
};
FTRACE_LOCAL inline constinit thread_local last_handler last_found_handler
    __attribute__((tls_model("initial-exec"))) = {};

/// The handler's function. The stack is searched once for each exception and handler.
[[nodiscard]] FTRACE_NO_INSTRUMENTATION inline unsigned long handler_of(
    const graph_state& state, const unwinder_calls& calls,
    const _Unwind_Exception& exception) noexcept {
    last_handler& last = last_found_handler;
    const auto wanted = static_cast<std::uintptr_t>(exception.private_2);
    if (last.exception != &exception || last.stack_pointer != wanted) {
        handler_search search{state, calls, wanted};
        calls.backtrace(&handler_search::visit, &search);
        last = {&exception, wanted, search.function};
    }
    return last.function;
}

/// The personality routine of trampolines.
struct trampoline_personality {
    FTRACE_LOCAL FTRACE_NO_INSTRUMENTATION static _Unwind_Reason_Code passed(
        int version, _Unwind_Action actions, std::uint64_t, _Unwind_Exception* exception,
        _Unwind_Context* context) noexcept {
        graph_state* const state = shared_graph();
        if (version != 1 || state == nullptr) return _URC_CONTINUE_UNWIND;
        if ((actions & _UA_SEARCH_PHASE) != 0) {
            last_found_handler.exception =
                nullptr;  // another may have been thrown from this memory
            return _URC_CONTINUE_UNWIND;
        }
        const auto caller = reinterpret_cast<std::uintptr_t>(__builtin_return_address(0));
        const unwinder_calls& calls = state->unwinders.of(caller);
        const std::uintptr_t at = calls.get_ip(context);
        constexpr std::uintptr_t landing = arch::trampoline_offset::landing;
        if (at % arch::return_block::entry_size > landing) return _URC_CONTINUE_UNWIND;
        call_end end{graph_end::thread_exit};
        if ((actions & _UA_FORCE_UNWIND) == 0)
            end = {graph_end::exception, 0, type_of(*exception),
                   handler_of(*state, calls, *exception)};
        no_registers nothing;
        end_call(*state, frame_of(at), end, nothing.regs());
        if ((actions & _UA_HANDLER_FRAME) == 0) return _URC_CONTINUE_UNWIND;
        calls.set_register(context, 0, reinterpret_cast<std::uintptr_t>(exception));  // rax
        calls.set_ip(context, (at & ~(arch::return_block::entry_size - 1)) + landing);
        return _URC_INSTALL_CONTEXT;
    }
    [[nodiscard]] FTRACE_NOTRACE static std::uintptr_t address() noexcept {
        return reinterpret_cast<std::uintptr_t>(&passed);
    }
};

}  // namespace ftrace::inline v0::detail
