// The two functions of the kernel's boot selftests (kernel/trace/trace_selftest.c describes them;
// each returns 0).
#pragma once

#include "../patch/program.hpp"

namespace selftest {

PROGRAM inline int dynamic_test_func() {
    TOUCH_MEMORY;
    return 0;
}
PROGRAM inline int dynamic_test_func2() {
    TOUCH_MEMORY;
    return 0;
}

inline constexpr const char* func1_name = "*dynamic_test_func";
inline constexpr const char* func2_name = "*dynamic_test_func2";

}  // namespace selftest
