// C++20 coroutines: a generator, tasks that await each other by symmetric transfer, an exception
// through three of them, one that is resumed on another thread, one that is destroyed while it
// waits. The parts of a coroutine are functions of their own; how it is split depends on the
// compiler. (gcc would inline some of them at -O2, and others at -O3.)
// Flags of gcc: -fno-inline
#include <pthread.h>

#include <coroutine>
#include <exception>
#include <utility>

#include "scenario.hpp"

// Not listed: promises, awaiters, handles.
namespace plumbing {

struct generator {
    struct promise_type {
        int value = 0;
        generator get_return_object() {
            return {std::coroutine_handle<promise_type>::from_promise(*this)};
        }
        std::suspend_always initial_suspend() noexcept { return {}; }
        std::suspend_always final_suspend() noexcept { return {}; }
        std::suspend_always yield_value(int x) noexcept {
            value = x;
            return {};
        }
        void return_void() noexcept {}
        void unhandled_exception() { throw; }
    };
    std::coroutine_handle<promise_type> handle;
};

struct task {
    struct promise_type {
        int value = 0;
        std::exception_ptr thrown;
        std::coroutine_handle<> waiting = std::noop_coroutine();
        task get_return_object() {
            return {std::coroutine_handle<promise_type>::from_promise(*this)};
        }
        std::suspend_always initial_suspend() noexcept { return {}; }
        struct hand_back {
            bool await_ready() noexcept { return false; }
            std::coroutine_handle<> await_suspend(
                std::coroutine_handle<promise_type> ended) noexcept {
                return ended.promise().waiting;
            }
            void await_resume() noexcept {}
        };
        hand_back final_suspend() noexcept { return {}; }
        void return_value(int x) noexcept { value = x; }
        void unhandled_exception() noexcept { thrown = std::current_exception(); }
    };
    bool await_ready() noexcept { return false; }
    std::coroutine_handle<> await_suspend(std::coroutine_handle<> by) noexcept {
        handle.promise().waiting = by;
        return handle;
    }
    int await_resume() {
        if (auto thrown = std::exchange(handle.promise().thrown, nullptr))
            std::rethrow_exception(thrown);
        return handle.promise().value;
    }
    std::coroutine_handle<promise_type> handle;
};

struct local {
    ~local() { std::puts("local goes"); }
};

}  // namespace plumbing

namespace scenario {

TRACED int leaf(int x) {
    KEEP(x);
    return x + 1;
}

TRACED plumbing::generator numbers(int from) {
    const plumbing::local on_frame;
    for (int i = from;; ++i) co_yield leaf(i);
}
TRACED int sums(int from, int count) {
    plumbing::generator g = numbers(from);
    int sum = 0;
    for (int i = 0; i < count; ++i) {
        g.handle.resume();
        sum += g.handle.promise().value;
    }
    g.handle.destroy();  // while it waits
    return sum;
}

// Thrown out of a coroutine, through whoever resumed it.
TRACED plumbing::generator throws_second(int x) {
    co_yield leaf(x);
    throw x;
}
TRACED void resumes(std::coroutine_handle<> handle) { handle.resume(); }
TRACED int catches_from_generator(int x) {
    plumbing::generator g = throws_second(x);
    int caught = 0;
    try {
        resumes(g.handle);
        resumes(g.handle);
    } catch (int thrown) {
        caught = thrown;
    }
    g.handle.destroy();
    return caught;
}

// Each awaits the next: resumed and continued by symmetric transfer, that is by calls in tails.
TRACED int throws(int x) {
    KEEP(x);
    if (x < 0) throw x;
    return x;
}
TRACED plumbing::task third(int x) { co_return throws(x) + 1; }
TRACED plumbing::task second(int x) {
    plumbing::task below = third(x);
    const int result = co_await below;
    below.handle.destroy();
    co_return result + 1;
}
TRACED plumbing::task first(int x) {
    plumbing::task below = second(x);
    int result = 0;
    try {
        result = co_await below;
    } catch (int caught) {
        result = -caught * 100;
    }
    below.handle.destroy();
    co_return result;
}
TRACED int runs(int x) {
    plumbing::task outermost = first(x);
    resumes(outermost.handle);
    const int result = outermost.handle.promise().value;
    outermost.handle.destroy();
    return result;
}

// Begun on one thread, continued and ended on another.
TRACED void* resumes_there(void* handle) {
    resumes(std::coroutine_handle<>::from_address(handle));
    return nullptr;
}
TRACED int changes_threads() {
    plumbing::generator g = numbers(5);
    resumes(g.handle);
    pthread_t thread;
    pthread_create(&thread, nullptr, resumes_there, g.handle.address());
    pthread_join(thread, nullptr);
    const int value = g.handle.promise().value;
    g.handle.destroy();
    return value;
}

}  // namespace scenario

int main() {
    using namespace scenario;
    using recorder::expect;
    expect(sums(1, 3) == 9, "generator");
    expect(catches_from_generator(4) == 4, "exception out of a generator");
    expect(runs(1) == 3, "tasks");
    expect(runs(-1) == 100, "exception through tasks");
    expect(changes_threads() == 7, "two threads");
    std::puts("done");
}
