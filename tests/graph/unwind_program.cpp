// Exceptions and backtraces through hooked functions, in a program that needs nothing else: built
// with other C++ libraries and other ways of linking. Exits 0, or says what went wrong.
#include <execinfo.h>
#include <unwind.h>

#include <cstdio>
#include <stdexcept>

#include "hand_hooked.hpp"

using namespace hand_hooked;

namespace {

int failures;
void expect(bool right, const char* what) {
    if (right) return;
    std::fprintf(stderr, "%s\n", what);
    ++failures;
}

HOOKED int throws(int frames) {
    HOOK_RETURN(gops(), 1);
    if (frames == 1) throw std::runtime_error("from below");
    int below = throws(frames - 1);
    __asm__ volatile("" : "+r"(below));
    return below + 1;
}
HOOKED int catches(int frames) {
    HOOK_RETURN(gops(), 2);
    try {
        return throws(frames);
    } catch (const std::runtime_error&) {
        return -frames;
    }
}

int frames_of_glibc, frames_of_unwinder;
HOOKED int measures(int frames, bool hooked) {
    if (hooked) HOOK_RETURN(gops(), 3);
    if (frames == 0) {
        void* addresses[100];
        frames_of_glibc = ::backtrace(addresses, 100);
        frames_of_unwinder = 0;
        ::_Unwind_Backtrace(
            [](_Unwind_Context*, void*) {
                ++frames_of_unwinder;
                return _URC_NO_REASON;
            },
            nullptr);
        return 0;
    }
    int below = measures(frames - 1, hooked);
    __asm__ volatile("" : "+r"(below));
    return below + 1;
}

}  // namespace

int main() {
    for (const int frames : {1, 3, 1000})
        expect(catches(frames) == -frames, "an exception was caught elsewhere");
    measures(10, false);
    const int glibc = frames_of_glibc, unwinder = frames_of_unwinder;
    measures(10, true);
    // Each hooked call adds its trampoline.
    expect(frames_of_glibc == glibc + 11, "backtrace() does not see all callers");
    expect(frames_of_unwinder == unwinder + 11, "_Unwind_Backtrace() does not see all callers");
    return failures;
}
