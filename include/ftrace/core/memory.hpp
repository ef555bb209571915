// Memory that runs out is an error, as everything else that can go wrong.
#pragma once

#include <ftrace/core/config.hpp>
#include <ftrace/core/error.hpp>
#include <new>

namespace ftrace::inline v0::detail {

/// What `work` returns, a result; out_of_memory if it throws std::bad_alloc: then `work` has left
/// all as it was. Programs without exceptions end instead, as by any allocation of theirs.
template <class Work>
FTRACE_NOTRACE auto or_out_of_memory(Work work) -> decltype(work()) {
#if defined(__cpp_exceptions)
    try {
        return work();
    } catch (const std::bad_alloc&) {
    }
    error failure;
    failure.code = errc::out_of_memory;
    // It fits into the string itself, but for those of the library's older ABI.
    try {
        failure.message = "out of memory";
    } catch (const std::bad_alloc&) {
    }
    return failure;
#else
    return work();
#endif
}

}  // namespace ftrace::inline v0::detail
