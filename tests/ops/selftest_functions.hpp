// The two functions of the kernel's boot selftests (kernel/trace/trace_selftest.c describes them;
// each returns 0).
#pragma once

namespace selftest {

__attribute__((noinline)) inline int dynamic_test_func() {
    int result = 0;
    __asm__ volatile("" : "+r"(result));
    return result;
}
__attribute__((noinline)) inline int dynamic_test_func2() {
    int result = 0;
    __asm__ volatile("" : "+r"(result));
    return result;
}

inline constexpr const char* func1_name = "*dynamic_test_func";
inline constexpr const char* func2_name = "*dynamic_test_func2";

}  // namespace selftest
