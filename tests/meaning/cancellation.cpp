// Cancellation and pthread_exit unwind: destructors, cleanup handlers, catch (...) that throws on,
// and abi::__forced_unwind, which has a type there. (Not with libc++: glibc unwinds with libgcc,
// whose frames the C++ runtime of LLVM cannot read; such a program crashes untraced as well.)
// Needs: libstdc++
#include <cxxabi.h>
#include <pthread.h>
#include <unistd.h>

#include "scenario.hpp"

namespace scenario {

TRACED int leaf(int x) {
    KEEP(x);
    return x + 1;
}
TRACED void throws() { throw 1; }

struct local {
    TRACED ~local();
};
// An exception of its own while the thread is unwound.
local::~local() {
    try {
        throws();
    } catch (int) {
        std::puts("local goes");
    }
}
TRACED void cleans_up(void* what) {
    leaf(0);
    std::printf("cleans up %s\n", static_cast<const char*>(what));
}

TRACED void waits(void (*how)()) {
    const local on_stack;
    pthread_cleanup_push(cleans_up, const_cast<char*>("inside"));
    how();
    pthread_cleanup_pop(0);
    std::puts("never");
}
TRACED void catches(void (*how)()) {
    try {
        waits(how);
    } catch (abi::__forced_unwind&) {
        leaf(1);
        std::puts("forced unwinding");
        throw;
    } catch (...) {
        std::puts("never");
    }
}
TRACED void catches_all(void (*how)()) {
    pthread_cleanup_push(cleans_up, const_cast<char*>("outside"));
    try {
        catches(how);
    } catch (...) {
        std::puts("anything");
        throw;
    }
    pthread_cleanup_pop(0);
}
TRACED void pauses() {
    leaf(2);
    for (;;) pause();
}
TRACED void exits() { pthread_exit(nullptr); }
TRACED void* is_cancelled(void*) {
    catches_all(pauses);
    return nullptr;
}
TRACED void* ends_itself(void*) {
    catches_all(exits);
    return nullptr;
}

}  // namespace scenario

int main() {
    using namespace scenario;
    std::setvbuf(stdout, nullptr, _IONBF, 0);
    pthread_t thread;
    void* result = nullptr;
    pthread_create(&thread, nullptr, ends_itself, nullptr);
    pthread_join(thread, &result);
    recorder::expect(result == nullptr, "pthread_exit");
    pthread_create(&thread, nullptr, is_cancelled, nullptr);
    usleep(20000);
    pthread_cancel(thread);
    pthread_join(thread, &result);
    recorder::expect(result == PTHREAD_CANCELED, "cancelled");
    std::puts("done");
}
