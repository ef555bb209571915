// How a hooked call ended.
#pragma once

#include <cstdint>
#include <ftrace/core/config.hpp>

namespace ftrace::inline v0 {

/// How a hooked call ended.
enum class graph_end : std::uint8_t {
    returned,     ///< to its caller
    exception,    ///< an exception left it
    longjmp,      ///< the stack pointer moved past it: longjmp, setcontext, ...; told late
    thread_exit,  ///< pthread_exit or cancellation unwound it, or its thread ended without
    tail_call,    ///< it gave its place to the next of a long row of tail calls
    abandoned,    ///< its stack was used anew: a fiber that was dropped
};

}  // namespace ftrace::inline v0
