// boost.context: fibers that take turns, carry exceptions to whoever resumed them, are unwound when
// they are destroyed in the middle of a call, and hand the thread to each other.
// Needs: <boost/context/fiber.hpp>
// Flags: -lboost_context -D_LIBCPP_ENABLE_CXX20_REMOVED_TYPE_TRAITS
#include <boost/context/fiber.hpp>
#include <exception>
#include <utility>

#include "scenario.hpp"

namespace scenario {

namespace ctx = boost::context;

TRACED int leaf(int x) {
    KEEP(x);
    return x + 1;
}
TRACED int works(int x) {
    int below = leaf(x);
    KEEP(below);
    return below + 1;
}

struct local {
    TRACED ~local();
};
local::~local() { std::puts("local goes"); }

// The fiber that resumed this one, and a value for it.
ctx::fiber outside;
int value;

TRACED void yields(int x) {
    value = x;
    outside = std::move(outside).resume();
    leaf(x);
}
TRACED int yields_twice(int x) {
    const local on_stack;
    yields(x);
    int below = works(x);
    yields(below);
    return below;
}
TRACED void body() { value = yields_twice(10); }

UNTRACED ctx::fiber make(void (*function)()) {
    return ctx::fiber([function](ctx::fiber&& from) UNTRACED {
        outside = std::move(from);
        function();
        return std::move(outside);
    });
}
TRACED void resumes(ctx::fiber& fiber) {
    fiber = std::move(fiber).resume();
    leaf(0);
}

TRACED void runs_to_its_end() {
    ctx::fiber fiber = make(body);
    resumes(fiber);
    recorder::expect(value == 10, "first value");
    resumes(fiber);
    recorder::expect(value == 12, "second value");
    resumes(fiber);
    recorder::expect(value == 12 && !fiber, "the end");
}

// Destroyed while it waits: boost unwinds its stack by an exception of its own.
TRACED void is_unwound() {
    ctx::fiber fiber = make(body);
    resumes(fiber);
    std::puts("destroys");
}

// An exception on the fiber's stack, handed to whoever resumed it.
std::exception_ptr thrown;
TRACED int throws(int x) {
    const local on_stack;
    if (x > 0) throw x;
    return x;
}
TRACED void throwing_body() {
    try {
        yields(throws(0));
        throws(5);
    } catch (int) {
        thrown = std::current_exception();
    }
}
TRACED void throws_again() { std::rethrow_exception(std::exchange(thrown, nullptr)); }
TRACED int carries_an_exception() {
    ctx::fiber fiber = make(throwing_body);
    resumes(fiber);
    resumes(fiber);
    try {
        throws_again();
    } catch (int x) {
        return x;
    }
    return 0;
}

// A fiber that starts another one, which runs to its end in the middle of it.
TRACED void inner() { works(1); }
TRACED void outer() {
    ctx::fiber kept = std::move(outside);
    ctx::fiber fiber = make(inner);
    resumes(fiber);
    outside = std::move(kept);
    yields(3);
}
TRACED void starts_another() {
    ctx::fiber fiber = make(outer);
    resumes(fiber);
    resumes(fiber);
    recorder::expect(!fiber, "both ended");
}

// Hundreds, one after the other.
TRACED void many() {
    for (int i = 0; i < 500; ++i) {
        ctx::fiber fiber = make(inner);
        resumes(fiber);
    }
}

}  // namespace scenario

int main() {
    using namespace scenario;
    runs_to_its_end();
    is_unwound();
    recorder::expect(carries_an_exception() == 5, "exception");
    starts_another();
    many();
    std::puts("done");
}
