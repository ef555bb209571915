// Threads: thousands that start and end, each with thread_local objects and a key whose
// destructors are traced; an exception in each; a stack of a size of its own; many at once.
#include <pthread.h>

#include <atomic>

#include "scenario.hpp"

namespace scenario {

constexpr int in_a_row = 2000, at_once = 50;

std::atomic<int> destroyed{0}, freed{0}, caught{0};

TRACED int leaf(int x) {
    KEEP(x);
    return x + 1;
}
TRACED void throws(int x) {
    KEEP(x);
    throw x;
}
TRACED void catches(int x) {
    try {
        throws(x);
    } catch (int) {
        ++caught;
    }
}

struct of_thread {
    UNTRACED of_thread() : value(0) {}
    TRACED ~of_thread();
    int value;
};
// Runs when the thread's function has returned, and itself calls and throws.
of_thread::~of_thread() {
    destroyed += leaf(value) == 3 ? 1 : 1000000;
    catches(value);
}
pthread_key_t key;
TRACED void frees(void* value) { freed += leaf(*static_cast<int*>(value)) == 8 ? 1 : 1000000; }

TRACED int works(int x) {
    thread_local of_thread object;
    object.value = x;
    static int seven = 7;
    pthread_setspecific(key, &seven);
    int below = leaf(x);
    KEEP(below);
    return below;
}
TRACED void* runs(void* result) {
    *static_cast<int*>(result) += works(2);
    return result;
}

// The same function of two threads at once, through a pointer, with different work.
TRACED int fibonacci(int n) {
    KEEP(n);
    if (n < 2) return n;
    int one = fibonacci(n - 1);
    int other = fibonacci(n - 2);
    KEEP(other);
    return one + other;
}
TRACED void* counts(void* result) {
    auto* const n = static_cast<int*>(result);
    *n = fibonacci(*n);
    return result;
}
TRACED int starts(void* (*function)(void*), int argument) {
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 128 * 1024);
    pthread_t one, other;
    int results[2] = {argument, argument + 1};
    pthread_create(&one, &attributes, function, &results[0]);
    pthread_create(&other, nullptr, function, &results[1]);
    pthread_join(one, nullptr);
    pthread_join(other, nullptr);
    pthread_attr_destroy(&attributes);
    return results[0] * 100 + results[1];
}

}  // namespace scenario

int main() {
    using namespace scenario;
    using recorder::expect;
    pthread_key_create(&key, frees);
    int sum = 0;
    for (int i = 0; i < in_a_row; ++i) {
        pthread_t thread;
        pthread_create(&thread, nullptr, runs, &sum);
        pthread_join(thread, nullptr);
    }
    expect(sum == 3 * in_a_row, "one after the other");
    int results[at_once] = {};
    for (int round = 0; round < in_a_row / at_once; ++round) {
        pthread_t threads[at_once];
        for (int i = 0; i < at_once; ++i) pthread_create(&threads[i], nullptr, runs, &results[i]);
        for (pthread_t thread : threads) pthread_join(thread, nullptr);
    }
    for (int result : results) expect(result == 3 * in_a_row / at_once, "many at once");
    expect(destroyed == 2 * in_a_row && freed == 2 * in_a_row && caught == 2 * in_a_row,
           "destructors of threads");
    expect(starts(counts, 5) == 508, "two functions at once");
    std::puts("done");
}
