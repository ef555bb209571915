// A library that knows nothing of its tracing: only compiled with the flag.
#include "program.hpp"

extern "C" {
PROGRAM __attribute__((visibility("default"))) int library_add(int x, int y) {
    TOUCH_MEMORY;
    return x + y;
}
PROGRAM __attribute__((visibility("default"))) double library_half(double x) {
    TOUCH_MEMORY;
    return x / 2;
}
}
