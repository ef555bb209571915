// Functions whose text no test has changed yet.
#pragma once

#include <utility>
#include <vector>

#include "program.hpp"

namespace program {

/// Each is for one first change: then it is one nop for ever.
template <int N>
PROGRAM int fresh(int x) {
    TOUCH_MEMORY;
    return x + N;
}
using function = int (*)(int);
template <int... N>
std::vector<function> functions(std::integer_sequence<int, N...>) {
    return {fresh<N>...};
}

}  // namespace program
