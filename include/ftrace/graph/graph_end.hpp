// How a hooked call ended.
#pragma once

#include <cstdint>
#include <ftrace/core/config.hpp>

namespace ftrace::inline v0 {

/// Returns, exceptions and the unwinding of a thread are told at the moment they happen. That a call
/// was left by longjmp or with its stack is noticed at the next hooked entry or return that shows it,
/// and told before that.
enum class graph_end : std::uint8_t {
    returned,     ///< to its caller
    exception,    ///< an exception left it; its own destructors have run
    longjmp,      ///< the stack pointer moved past it: longjmp, setcontext, ...
    thread_exit,  ///< pthread_exit() or cancellation unwound it, or its thread ended without
    tail_call,  ///< of more than 16 calls in tails, all with one return address: gave its place on
    abandoned,  ///< its stack was used anew: a fiber that was dropped
};

}  // namespace ftrace::inline v0
