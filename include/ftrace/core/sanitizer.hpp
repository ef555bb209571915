// ThreadSanitizer knows the order of two threads by what instrumented code does. Stubs are not
// instrumented, so it is told what they order: an ops is complete before its callback runs, and a
// callback's end comes before unregister() returns.
#pragma once

#include <ftrace/core/config.hpp>

#if defined(__SANITIZE_THREAD__)
#define FTRACE_THREAD_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define FTRACE_THREAD_SANITIZER 1
#endif
#endif

#if defined(FTRACE_THREAD_SANITIZER)
// sanitizer/tsan_interface.h
extern "C" void __tsan_acquire(void* address);
extern "C" void __tsan_release(void* address);
#endif

namespace ftrace::inline v0::detail {

#if defined(FTRACE_THREAD_SANITIZER)
inline constexpr bool thread_sanitizer = true;
#else
inline constexpr bool thread_sanitizer = false;
#endif

/// What happened before sanitizer_release(address) happened before this. May change
/// vector registers.
FTRACE_STUB_INLINE void sanitizer_acquire([[maybe_unused]] void* address) noexcept {
#if defined(FTRACE_THREAD_SANITIZER)
    __tsan_acquire(address);
#endif
}
FTRACE_STUB_INLINE void sanitizer_release([[maybe_unused]] void* address) noexcept {
#if defined(FTRACE_THREAD_SANITIZER)
    __tsan_release(address);
#endif
}

}  // namespace ftrace::inline v0::detail
