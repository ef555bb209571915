// Which sanitizer a test is built with, where what it looks at is different under one.
#pragma once

namespace built_with {

#if defined(__has_feature)
constexpr bool address_sanitizer = __has_feature(address_sanitizer);
constexpr bool thread_sanitizer = __has_feature(thread_sanitizer);
#else
#if defined(__SANITIZE_ADDRESS__)
constexpr bool address_sanitizer = true;
#else
constexpr bool address_sanitizer = false;
#endif
#if defined(__SANITIZE_THREAD__)
constexpr bool thread_sanitizer = true;
#else
constexpr bool thread_sanitizer = false;
#endif
#endif

}  // namespace built_with
