// boost.fiber: a scheduler in the program, a channel, an exception through a future, turns. (Debian's
// library is one of libstdc++.)
// Needs: libstdc++ <boost/fiber/fiber.hpp>
// Flags: -lboost_fiber -lboost_context -Wno-deprecated-declarations
#include <boost/fiber/buffered_channel.hpp>
#include <boost/fiber/fiber.hpp>
#include <boost/fiber/future/async.hpp>
#include <boost/fiber/operations.hpp>

#include "scenario.hpp"

namespace scenario {

namespace fibers = boost::fibers;

TRACED int leaf(int x) {
    KEEP(x);
    return x + 1;
}
TRACED int works(int x) {
    int below = leaf(x);
    KEEP(below);
    return below + 1;
}

using channel = fibers::buffered_channel<int>;

TRACED void sends(channel& to, int x) { to.push(works(x)); }
TRACED void producer(channel* to) {
    for (int i = 0; i < 20; ++i) sends(*to, i);
    to->close();
}
TRACED int receives(channel& from) {
    int x = 0;
    return from.pop(x) == fibers::channel_op_status::success ? leaf(x) : -1;
}
TRACED void consumer(channel* from, int* sum) {
    for (int x; (x = receives(*from)) >= 0;) *sum += x;
}
TRACED int talk() {
    channel between(2);
    int sum = 0;
    fibers::fiber one(producer, &between), other(consumer, &between, &sum);
    one.join();
    other.join();
    return sum;
}

TRACED int throws(int x) {
    boost::this_fiber::yield();
    throw x;
}
TRACED int passes(int x) {
    int below = throws(x);
    KEEP(below);
    return below;
}
TRACED int waits() {
    fibers::future<int> result = fibers::async(fibers::launch::post, passes, 7);
    try {
        return result.get();
    } catch (int x) {
        return -x;
    }
}

TRACED void turn(int* order, int number) {
    for (int i = 0; i < 3; ++i) {
        *order = *order * 10 + leaf(number);
        boost::this_fiber::yield();
    }
}
TRACED int take_turns() {
    int order = 0;
    fibers::fiber one(turn, &order, 0), two(turn, &order, 1), three(turn, &order, 2);
    one.join();
    two.join();
    three.join();
    return order;
}

}  // namespace scenario

int main() {
    using namespace scenario;
    using recorder::expect;
    expect(talk() == 190 + 3 * 20, "channel");
    expect(waits() == -7, "exception through a future");
    expect(take_turns() == 123123123, "turns");
    std::puts("done");
}
