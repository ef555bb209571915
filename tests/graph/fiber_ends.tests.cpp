// How hooked calls end on fibers' stacks: the exact events.
#include <setjmp.h>
#include <ucontext.h>

#include <catch2/catch_test_macros.hpp>
#include <thread>

#include "event_log.hpp"
#include "fiber.hpp"
#include "sanitizers.hpp"

using event_log::note;

namespace plain {

struct error {};

ucontext_t place;
volatile int times;

}  // namespace plain

namespace hooked {

using namespace plain;

HOOKED_FUNCTION int leaf(int x) {
    KEEP(x);
    return x * 2;
}
HOOKED_FUNCTION int deep(fiber& self) {
    self.yield();
    int result = leaf(10);
    KEEP(result);
    self.yield();
    return result + 1;
}
HOOKED_FUNCTION int body(fiber& self) {
    int result = deep(self);
    KEEP(result);
    return result + 1;
}
HOOKED_FUNCTION int throws_deep(int more) {
    if (more == 0) throw error{};
    int result = throws_deep(more - 1);
    KEEP(result);
    return result;
}
__attribute__((noinline)) int throws_in_turn(fiber& self) {
    for (;;) {
        try {
            throws_deep(10);
        } catch (const error&) {
        }
        self.yield();
    }
}
HOOKED_FUNCTION int other_deep(fiber& self) {
    self.yield();
    int result = leaf(30);
    KEEP(result);
    self.yield();
    return result + 1;
}
HOOKED_FUNCTION int other_body(fiber& self) {
    int result = other_deep(self);
    KEEP(result);
    return result + 1;
}

HOOKED_FUNCTION int resumes(fiber& one) {
    one.resume();
    int result = leaf(1);
    KEEP(result);
    one.resume();
    one.resume();
    return 4;
}
HOOKED_FUNCTION int resumes_in_turn(fiber& one, fiber& other) {
    for (int i = 0; i < 3; ++i) {
        one.resume();
        other.resume();
    }
    return 5;
}
HOOKED_FUNCTION int resumes_once(fiber& one) {
    one.resume();
    return 6;
}

HOOKED_FUNCTION int jumps(fiber& self, int x) {
    KEEP(x);
    longjmp(self.target, x);
}
HOOKED_FUNCTION int to_jump(fiber& self) {
    int result = jumps(self, 1);
    KEEP(result);
    return result;
}
HOOKED_FUNCTION int jumping_body(fiber& self) {
    if (setjmp(self.target) == 0) {
        int result = to_jump(self);
        KEEP(result);
        return result;
    }
    self.yield();
    int result = leaf(2);
    KEEP(result);
    if (setjmp(self.target) == 0) {
        result = to_jump(self);
        KEEP(result);
    }
    self.yield();
    return 7;
}

HOOKED_FUNCTION int throws(int x) {
    KEEP(x);
    throw error{};
}
HOOKED_FUNCTION int passes(int x) {
    int result = throws(x);
    KEEP(result);
    return result;
}
HOOKED_FUNCTION int throwing_body(fiber& self) {
    int result = 0;
    try {
        result = passes(1);
    } catch (const error&) {
        result = 8;
    }
    KEEP(result);
    self.yield();
    return result;
}

HOOKED_FUNCTION int sets_context(int x) {
    KEEP(x);
    ::setcontext(&place);
    return 0;
}
HOOKED_FUNCTION int to_set_context(int x) {
    int result = sets_context(x);
    KEEP(result);
    return result;
}
HOOKED_FUNCTION int gets_context() {
    times = 0;
    ::getcontext(&place);
    times = times + 1;
    if (times < 3) {
        int result = to_set_context(1);
        KEEP(result);
    }
    return times;
}

}  // namespace hooked

namespace {

using plain::fiber;

// They keep no account of stacks that are left in the middle: what they know of the next calls there
// is wrong.
bool sanitizer_loses_its_way() {
    if (!built_with::address_sanitizer && !built_with::thread_sanitizer) return false;
    WARN("sanitizers do not follow fibers with longjmp or exceptions, or dropped ones");
    return true;
}

// It keeps a stack of calls of each thread, of its own, and returns below its beginning are wild.
bool sanitizer_knows_no_fibers() {
    if (!built_with::thread_sanitizer) return false;
    WARN("ThreadSanitizer does not follow fibers from thread to thread");
    return true;
}

}  // namespace

TEST_CASE("fiber ends: calls on a fiber have depths of their own", "[graph]") {
    fiber one(hooked::body);
    event_log::watch on;
    CHECK(hooked::resumes(one) == 4);
    CHECK(one.result == 22);
    CHECK(on.end() ==
          "+resumes.0 +body.0 +deep.1 +leaf.1 -leaf.1=2 +leaf.2 -leaf.2=20 -deep.1=21 -body.0=22 "
          "-resumes.0=4");
}

TEST_CASE("fiber ends: fibers in turn", "[graph]") {
    fiber one(hooked::body), other(hooked::other_body);
    event_log::watch on;
    CHECK(hooked::resumes_in_turn(one, other) == 5);
    CHECK(one.result == 22);
    CHECK(other.result == 62);
    CHECK(on.end() ==
          "+resumes_in_turn.0 +body.0 +deep.1 +other_body.0 +other_deep.1 "
          "+leaf.2 -leaf.2=20 +leaf.2 -leaf.2=60 "
          "-deep.1=21 -body.0=22 -other_deep.1=61 -other_body.0=62 -resumes_in_turn.0=5");
}

TEST_CASE("fiber ends: longjmp inside a fiber", "[graph]") {
    if (sanitizer_loses_its_way()) return;
    fiber one(hooked::jumping_body);
    event_log::watch on;
    CHECK(hooked::resumes(one) == 4);
    CHECK(one.result == 7);
    // The first jump is told when the fiber goes on, for `leaf` in between runs on the thread's own
    // stack; the second one at the end of the call it went to.
    CHECK(on.end() ==
          "+resumes.0 +jumping_body.0 +to_jump.1 +jumps.2 +leaf.1 -leaf.1=2 -jumps.2~ -to_jump.1~ "
          "+leaf.1 -leaf.1=4 +to_jump.1 +jumps.2 -jumps.2~ -to_jump.1~ -jumping_body.0=7 "
          "-resumes.0=4");
}

TEST_CASE("fiber ends: an exception inside a fiber", "[graph]") {
    if (sanitizer_loses_its_way()) return;
    event_log::types[0] = {&typeid(plain::error), "error"};
    fiber one(hooked::throwing_body);
    event_log::watch on;
    CHECK(hooked::resumes_once(one) == 6);
    CHECK(hooked::resumes_once(one) == 6);
    CHECK(one.result == 8);
    CHECK(on.end() ==
          "+resumes_once.0 +throwing_body.0 +passes.1 +throws.2 -throws.2!error@throwing_body "
          "-passes.1!error@throwing_body -resumes_once.0=6 "
          "+resumes_once.0 -throwing_body.0=8 -resumes_once.0=6");
}

TEST_CASE("fiber ends: exceptions of fibers in turn take no more memory than those of one",
          "[graph]") {
    if (sanitizer_knows_no_fibers() || sanitizer_loses_its_way()) return;
    ftrace::fgraph_ops ends(nullptr, [](const ftrace::ftrace_graph_ret&, ftrace::fgraph_ops&,
                                        ftrace::ftrace_regs&) noexcept {});
    REQUIRE(ends.ops.set_filter("hooked::throws_deep"));
    const auto on = ftrace::register_ftrace_graph(ends);
    REQUIRE(on);
    const auto blocks_used = [] { return ftrace::detail::shared_graph()->blocks.opened(); };
    const std::size_t before = blocks_used();
    fiber one(hooked::throws_in_turn), other(hooked::throws_in_turn);
    for (int i = 0; i < 3000; ++i) {
        one.resume();
        other.resume();
    }
    CHECK(blocks_used() - before <= 2);
}

TEST_CASE("fiber ends: a fiber is dropped, and another one gets its stack", "[graph]") {
    if (sanitizer_loses_its_way()) return;
    fiber one(hooked::body);
    event_log::watch on;
    hooked::resumes_once(one);
    fiber next(hooked::body, one);
    hooked::resumes_once(next);
    // With another fiber in between.
    fiber other(hooked::other_body);
    hooked::resumes_once(other);
    fiber last(hooked::other_body, one);
    hooked::resumes(last);
    CHECK(last.result == 62);
    CHECK(on.end() ==
          "+resumes_once.0 +body.0 +deep.1 -resumes_once.0=6 "
          "+resumes_once.0 -deep.1? -body.0? +body.0 +deep.1 -resumes_once.0=6 "
          "+resumes_once.0 +other_body.0 +other_deep.1 -resumes_once.0=6 "
          "+resumes.0 -deep.1? -body.0? +other_body.0 +other_deep.1 +leaf.1 -leaf.1=2 "
          "+leaf.2 -leaf.2=60 -other_deep.1=61 -other_body.0=62 -resumes.0=4");
}

TEST_CASE("fiber ends: a fiber moves to another thread, and its calls return there", "[graph]") {
    if (sanitizer_knows_no_fibers()) return;
    fiber one(hooked::body);
    event_log::watch on;
    hooked::resumes_once(one);
    std::thread([&] {
        hooked::resumes_once(one);
        note("second-thread");
        hooked::resumes_once(one);
    }).join();
    hooked::leaf(1);
    CHECK(one.result == 22);
    // Depths are those on the thread that hooked the calls: the second one knows nothing of `deep`.
    CHECK(on.end() ==
          "+resumes_once.0 +body.0 +deep.1 -resumes_once.0=6 "
          "+resumes_once.0 +leaf.0 -leaf.0=20 -resumes_once.0=6 second-thread "
          "+resumes_once.0 -deep.1=21 -body.0=22 -resumes_once.0=6 "
          "+leaf.0 -leaf.0=2");
}

TEST_CASE("fiber ends: a fiber that moved gets a new life on the first thread", "[graph]") {
    if (sanitizer_knows_no_fibers()) return;
    fiber one(hooked::body);
    event_log::watch on;
    hooked::resumes_once(one);
    std::thread([&] {
        one.resume();
        one.resume();
    }).join();
    fiber next(hooked::other_body, one);
    hooked::resumes(next);
    CHECK(next.result == 62);
    CHECK(on.end() ==
          "+resumes_once.0 +body.0 +deep.1 -resumes_once.0=6 "
          "+leaf.0 -leaf.0=20 -deep.1=21 -body.0=22 "
          "+resumes.0 +other_body.0 +other_deep.1 +leaf.1 -leaf.1=2 +leaf.2 -leaf.2=60 "
          "-other_deep.1=61 -other_body.0=62 -resumes.0=4");
}

TEST_CASE("fiber ends: setcontext within the thread's own stack is a longjmp", "[graph]") {
    if (sanitizer_loses_its_way()) return;
    event_log::watch on;
    CHECK(hooked::gets_context() == 3);
    CHECK(
        on.end() ==
        "+gets_context.0 +to_set_context.1 +sets_context.2 -sets_context.2~ -to_set_context.1~ "
        "+to_set_context.1 +sets_context.2 -sets_context.2~ -to_set_context.1~ -gets_context.0=3");
}
