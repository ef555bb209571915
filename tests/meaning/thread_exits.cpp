// pthread_exit from deep inside, in a thread and in a destructor of its key; and cancellation, at
// once and at a call that waits, of functions that have nothing to destroy. (With something to
// destroy: cancellation.cpp.)
#include <pthread.h>
#include <unistd.h>

#include <cstdint>

#include "scenario.hpp"

#pragma GCC diagnostic ignored "-Winfinite-recursion"

namespace scenario {

TRACED int leaf(int x) {
    KEEP(x);
    return x + 1;
}

TRACED void down(int depth, void* result) {
    KEEP(depth);
    leaf(depth);
    if (depth == 1) pthread_exit(result);
    down(depth - 1, result);
    leaf(depth);
}
TRACED void* exits(void* argument) {
    down(3, argument);
    return nullptr;
}

int pipe_ends[2];
TRACED void waits() {
    char byte;
    leaf(0);
    recorder::expect(read(pipe_ends[0], &byte, 1) == 77, "cancelled here");
    leaf(1);
}
TRACED void* waits_in_vain(void*) {
    waits();
    return nullptr;
}

// Cancelled between any two instructions.
volatile bool runs = false;
TRACED void loops() {
    for (int i = 0;; ++i) {
        KEEP(i);
        runs = true;
    }
}
TRACED void* loops_in_vain(void*) {
    pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, nullptr);
    loops();
    return nullptr;
}

// Not while it is disabled.
TRACED void* refuses(void* argument) {
    int before;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
    runs = true;
    usleep(20000);
    leaf(0);
    return argument;
}

UNTRACED void* result_of(void* (*function)(void*), bool cancel) {
    pthread_t thread;
    runs = false;
    pthread_create(&thread, nullptr, function, pipe_ends);
    if (cancel) {
        while (function != waits_in_vain && !runs) usleep(1000);
        usleep(5000);
        pthread_cancel(thread);
    }
    void* result;
    pthread_join(thread, &result);
    return result;
}

}  // namespace scenario

int main() {
    using namespace scenario;
    using recorder::expect;
    if (pipe(pipe_ends) != 0) return 1;
    expect(result_of(exits, false) == pipe_ends, "pthread_exit");
    expect(result_of(waits_in_vain, true) == PTHREAD_CANCELED, "waiting");
    expect(result_of(loops_in_vain, true) == PTHREAD_CANCELED, "at once");
    expect(result_of(refuses, true) == pipe_ends, "refused");
    std::puts("done");
}
