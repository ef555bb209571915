// The end of the process, from deep inside and by functions that never return: exit and its
// handlers, _exit, quick_exit, abort, the end of a thread or of the first thread; and functions
// that leave by an exception or a jump only.
// Runs: exit _exit quick_exit abort thread first_thread throws loops
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

#include "scenario.hpp"

#pragma GCC diagnostic ignored "-Winfinite-recursion"

namespace scenario {

TRACED int leaf(int x) {
    KEEP(x);
    return x + 1;
}

struct global {
    TRACED ~global();
};
global::~global() {
    leaf(0);
    std::puts("global goes");
}
global only;

struct local {
    TRACED ~local();
};
local::~local() { std::puts("local goes"); }

TRACED void throws_in_handler() { throw 1; }
TRACED void handler() {
    try {
        throws_in_handler();
    } catch (int) {
        std::puts("handler");
    }
}
TRACED void quick_handler() { std::puts("quick handler"); }

// None of these destroys `local`.
[[noreturn]] TRACED void ends(int how) {
    const local never_destroyed;
    leaf(how);
    switch (how) {
    case 1: std::exit(3);
    case 2:
        std::fflush(stdout);
        recorder::finish();
        _exit(4);
    case 3: std::quick_exit(5);
    default: std::abort();
    }
}
TRACED void down(int depth, int how) {
    KEEP(depth);
    if (depth == 1) ends(how);
    down(depth - 1, how);
    leaf(how);
}
TRACED void* exits_process(void*) {
    down(2, 1);
    return nullptr;
}
pthread_t first_thread;
TRACED void* goes_on(void*) {
    pthread_join(first_thread, nullptr);
    leaf(0);
    std::puts("the last thread");
    return nullptr;
}
TRACED void first_thread_ends() {
    leaf(0);
    pthread_exit(nullptr);
}

[[noreturn]] TRACED void only_throws(int x) {
    leaf(x);
    throw x;
}
jmp_buf back;
[[noreturn]] TRACED void only_jumps(int x) {
    leaf(x);
    longjmp(back, x);
}
TRACED int catches(int x) {
    if (setjmp(back) == 0) only_jumps(x);
    try {
        only_throws(x);
    } catch (int caught) {
        return leaf(caught);
    }
}

[[noreturn]] TRACED void loops() {
    for (int i = 0;; ++i) {
        int result = i;
        KEEP(result);
    }
}
TRACED void interrupts(int) {
    recorder::finish();
    _exit(leaf(5));
}

}  // namespace scenario

int main(int count, char** arguments) {
    using namespace scenario;
    std::setvbuf(stdout, nullptr, _IONBF, 0);
    const char* const how = count > 1 ? arguments[1] : "";
    std::atexit(handler);
    std::at_quick_exit(quick_handler);
    if (std::strcmp(how, "exit") == 0) down(3, 1);
    if (std::strcmp(how, "_exit") == 0) down(3, 2);
    if (std::strcmp(how, "quick_exit") == 0) down(3, 3);
    if (std::strcmp(how, "abort") == 0) down(3, 4);
    if (std::strcmp(how, "thread") == 0) {
        pthread_t id;
        pthread_create(&id, nullptr, exits_process, nullptr);
        pthread_join(id, nullptr);
    }
    if (std::strcmp(how, "first_thread") == 0) {
        first_thread = pthread_self();
        pthread_t id;
        pthread_create(&id, nullptr, goes_on, nullptr);
        first_thread_ends();
    }
    if (std::strcmp(how, "throws") == 0) recorder::expect(catches(1) == 2, "catches");
    if (std::strcmp(how, "loops") == 0) {
        signal(SIGALRM, interrupts);
        ualarm(20000, 0);
        loops();
    }
    std::puts("end of main");
}
