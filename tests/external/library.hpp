#pragma once

namespace library {

int twice(int x);

/// Each file that includes this has a copy; of a program's copies, the linker keeps one.
__attribute__((noinline)) inline int half(int x) {
    asm volatile("");
    return x / 2;
}

}  // namespace library
