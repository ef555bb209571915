// How hooked calls end: the exact events of every kind of end, on threads' own stacks.
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <unwind.h>

#include <catch2/catch_test_macros.hpp>
#include <cstdlib>
#include <exception>
#include <ftrace/args/args.hpp>
#include <thread>
#include <utility>
#include <vector>

#include "event_log.hpp"
#include "sanitizers.hpp"

using event_log::note;

namespace plain {

struct first_error {
    int code = 1;
    long fills[7] = {};
};
struct second_error {
    int code = 2;
    long fills[7] = {};
};

/// Says when it is destroyed.
struct guard {
    const char* word;
    ~guard() { note(word); }
};

/// Calls a function when it is destroyed.
struct calls_inside {
    int (*function)();
    ~calls_inside() {
        int result = function();
        KEEP(result);
    }
};

jmp_buf target;
sigjmp_buf signal_target;

void name_types() {
    event_log::types[0] = {&typeid(first_error), "first"};
    event_log::types[1] = {&typeid(second_error), "second"};
    event_log::types[2] = {&typeid(int), "int"};
}

// An exception of no language that C++ knows.
struct foreign {
    _Unwind_Exception header{};
    bool deleted = false;
};
foreign strange;
[[noreturn]] void raise_foreign() {
    strange.header.exception_class = 0x66747261634f4e45;
    strange.header.exception_cleanup = [](_Unwind_Reason_Code, _Unwind_Exception* exception) {
        reinterpret_cast<foreign*>(exception)->deleted = true;
    };
    _Unwind_RaiseException(&strange.header);
    std::abort();
}

std::exception_ptr kept;
const void* thrown_at[2];

}  // namespace plain

namespace hooked {

using namespace plain;

HOOKED_FUNCTION int leaf(int x) {
    KEEP(x);
    return x * 2;
}
HOOKED_FUNCTION int inner(int x) {
    int result = leaf(x);
    KEEP(result);
    return result + 1;
}
HOOKED_FUNCTION int outer(int x) {
    int result = inner(x);
    KEEP(result);
    return -result;
}

// 0: returns; 1, 2: throws an exception of these types; 3: an int; 4: a foreign one.
HOOKED_FUNCTION int thrower(int what) {
    const guard mine{"~thrower"};
    if (what == 1) throw first_error{};
    if (what == 2) throw second_error{};
    if (what == 3) throw 3;
    if (what == 4) raise_foreign();
    KEEP(what);
    return what;
}
HOOKED_FUNCTION int mid(int what) {
    const guard mine{"~mid"};
    int result = thrower(what);
    KEEP(result);
    return result;
}
HOOKED_FUNCTION int out(int what) {
    const guard mine{"~out"};
    int result = mid(what);
    KEEP(result);
    return result;
}
HOOKED_FUNCTION int catcher(int what) {
    int result = 0;
    try {
        result = out(what);
    } catch (const first_error&) {
        note("caught");
        result = 10;
    } catch (...) {
        note("caught-other");
        result = 20;
    }
    KEEP(result);
    return result;
}

HOOKED_FUNCTION int rethrower(int what) {
    try {
        int result = thrower(what);
        KEEP(result);
        return result;
    } catch (...) {
        note("again");
        throw;
    }
}
HOOKED_FUNCTION int catches_rethrown(int what) {
    int result = 0;
    try {
        result = rethrower(what);
    } catch (...) {
        result = 30;
    }
    KEEP(result);
    return result;
}

HOOKED_FUNCTION int replacer(int what) {
    try {
        int result = thrower(what);
        KEEP(result);
        return result;
    } catch (const first_error&) {
        throw second_error{};
    }
}
HOOKED_FUNCTION int catches_replaced(int what) {
    int result = 0;
    try {
        result = replacer(what);
    } catch (const second_error& error) {
        result = error.code;
    }
    KEEP(result);
    return result;
}

HOOKED_FUNCTION int catches_inside() {
    int result = 0;
    try {
        result = mid(2);
    } catch (const second_error& error) {
        result = error.code;
    }
    KEEP(result);
    return result;
}
HOOKED_FUNCTION int unwound() {
    const calls_inside last{catches_inside};
    int result = thrower(1);
    KEEP(result);
    return result;
}
HOOKED_FUNCTION int catches_unwound() {
    int result = 0;
    try {
        result = unwound();
    } catch (const first_error& error) {
        result = error.code;
    }
    KEEP(result);
    return result;
}

HOOKED_FUNCTION int throws_kept() { std::rethrow_exception(kept); }
HOOKED_FUNCTION int catches_kept() {
    int result = 0;
    try {
        result = throws_kept();
    } catch (const first_error& error) {
        result = error.code;
    }
    KEEP(result);
    return result;
}

// Two functions with the same frame, which catch at the same depth of the stack.
HOOKED_FUNCTION int catches_first(int what) {
    int result = 0;
    try {
        result = thrower(what);
    } catch (const first_error& error) {
        thrown_at[0] = &error;
        result = 1;
    }
    KEEP(result);
    return result;
}
HOOKED_FUNCTION int catches_second(int what) {
    int result = 0;
    try {
        result = thrower(what);
    } catch (const second_error& error) {
        thrown_at[1] = &error;
        result = 2;
    }
    KEEP(result);
    return result;
}

HOOKED_FUNCTION int jump_3(int x) {
    KEEP(x);
    if (x != 0) longjmp(target, x);
    return 0;
}
HOOKED_FUNCTION int jump_2(int x) {
    int result = jump_3(x);
    KEEP(result);
    return result;
}
HOOKED_FUNCTION int jump_1(int x) {
    int result = jump_2(x);
    KEEP(result);
    return result;
}
// Is jumped to; calls `leaf` afterwards if asked to.
HOOKED_FUNCTION int jumped_to(bool calls) {
    if (setjmp(target) == 0) {
        int result = jump_1(1);
        KEEP(result);
        return result;
    }
    note("jumped");
    if (!calls) return 5;
    int result = leaf(4);
    KEEP(result);
    return result;
}
HOOKED_FUNCTION int jumps_often() {
    volatile int times = 0;
    setjmp(target);
    if (times < 3) {
        times = times + 1;
        int result = jump_2(1);
        KEEP(result);
    }
    return times;
}
HOOKED_FUNCTION int around_jump() {
    int result = jumped_to(false);
    KEEP(result);
    return result + 1;
}

HOOKED_FUNCTION int in_handler() {
    note("jumps");
    siglongjmp(signal_target, 1);
}
HOOKED_FUNCTION int handler(int) {
    int result = in_handler();
    KEEP(result);
    return result;
}
HOOKED_FUNCTION int raises() {
    int result = raise(SIGUSR1);
    KEEP(result);
    return result;
}
HOOKED_FUNCTION int jumped_to_by_handler() {
    if (sigsetjmp(signal_target, 1) == 0) {
        int result = raises();
        KEEP(result);
        return result;
    }
    int result = leaf(3);
    KEEP(result);
    return result;
}

HOOKED_FUNCTION int quits_2(void (*how)()) {
    const guard mine{"~2"};
    how();
    int result = 0;
    KEEP(result);
    return result;
}
HOOKED_FUNCTION int quits_1(void (*how)()) {
    const guard mine{"~1"};
    int result = quits_2(how);
    KEEP(result);
    return result;
}
HOOKED_FUNCTION int quits_0(void (*how)()) {
    const guard mine{"~0"};
    int result = quits_1(how);
    KEEP(result);
    return result;
}

// Calls itself in its tail, `x` times, and then `last(argument)`.
int step(int x, int (*last)(int), int argument);
HOOKED_FUNCTION int step_caller(int x, int (*last)(int), int argument) {
    int result = step(x, last, argument);
    KEEP(result);
    return result;
}
HOOKED_FUNCTION int catches_step(int x) {
    int result = 0;
    try {
        result = step_caller(x, thrower, 1);
    } catch (const first_error&) {
        result = 1;
    }
    KEEP(result);
    return result;
}
HOOKED_FUNCTION int jumped_to_by_step(int x) {
    if (setjmp(target) == 0) {
        int result = step_caller(x, jump_3, 1);
        KEEP(result);
        return result;
    }
    return 2;
}

}  // namespace hooked

// Calls in tails, whatever the compiler would make of them: the jumps go to the site.
__asm__(
    ".pushsection .text.step, \"ax\", @progbits\n"
    ".globl _ZN6hooked4stepEiPFiiEi\n"
    ".type _ZN6hooked4stepEiPFiiEi, @function\n"
    "_ZN6hooked4stepEiPFiiEi: .cfi_startproc\n"
    ".Lstep_site: .skip 5, 0x90\n"
    "sub $1, %edi\n"
    "jns _ZN6hooked4stepEiPFiiEi\n"
    "mov %edx, %edi\n"
    "jmp *%rsi\n"
    ".cfi_endproc\n"
    ".size _ZN6hooked4stepEiPFiiEi, . - _ZN6hooked4stepEiPFiiEi\n"
    ".pushsection __patchable_function_entries, \"awo\", @progbits, .text.step\n"
    ".balign 8\n"
    ".quad .Lstep_site\n"
    ".popsection\n"
    ".popsection\n");

namespace {

using namespace ftrace;

void (*opaque_exit)() = [] { pthread_exit(nullptr); };
void (*opaque_cancel)() = [] {
    pthread_cancel(pthread_self());
    pthread_testcancel();
};
pid_t ended;
void (*opaque_end)() = [] {
    ended = static_cast<pid_t>(syscall(SYS_gettid));
    syscall(SYS_exit, 0);
};

void run_thread(void (*how)()) {
    pthread_t thread;
    REQUIRE(pthread_create(
                &thread, nullptr,
                [](void* argument) -> void* {
                    hooked::quits_0(*static_cast<void (**)()>(argument));
                    return nullptr;
                },
                &how) == 0);
    REQUIRE(pthread_join(thread, nullptr) == 0);
}

void handle_signal(void* stack, std::size_t size) {
    stack_t alternate{};
    alternate.ss_sp = stack;
    alternate.ss_size = size;
    alternate.ss_flags = stack == nullptr ? SS_DISABLE : 0;
    REQUIRE(sigaltstack(&alternate, nullptr) == 0);
    struct sigaction action{};
    action.sa_handler = [](int signal) { hooked::handler(signal); };
    action.sa_flags = SA_ONSTACK;
    REQUIRE(sigaction(SIGUSR1, &action, nullptr) == 0);
}

}  // namespace

TEST_CASE("ends: results", "[graph]") {
    event_log::watch on;
    CHECK(hooked::outer(20) == -41);
    CHECK(on.end() == "+outer.0 +inner.1 +leaf.2 -leaf.2=40 -inner.1=41 -outer.0=-41");
}

TEST_CASE("ends: an exception ends each call behind the destructors of its function", "[graph]") {
    plain::name_types();
    event_log::watch on;
    CHECK(hooked::catcher(0) == 0);
    CHECK(hooked::catcher(1) == 10);
    CHECK(hooked::catcher(3) == 20);
    CHECK(on.end() ==
          "+catcher.0 +out.1 +mid.2 +thrower.3 ~thrower -thrower.3=0 ~mid -mid.2=0 ~out -out.1=0 "
          "-catcher.0=0 "
          "+catcher.0 +out.1 +mid.2 +thrower.3 ~thrower -thrower.3!first@catcher ~mid "
          "-mid.2!first@catcher ~out -out.1!first@catcher caught -catcher.0=10 "
          "+catcher.0 +out.1 +mid.2 +thrower.3 ~thrower -thrower.3!int@catcher ~mid "
          "-mid.2!int@catcher ~out -out.1!int@catcher caught-other -catcher.0=20");
}

TEST_CASE("ends: a handler that is not hooked", "[graph]") {
    plain::name_types();
    event_log::watch on("hooked::out; hooked::thrower");
    CHECK(hooked::catcher(1) == 10);
    CHECK(on.end() ==
          "+out.0 +thrower.1 ~thrower -thrower.1!first@catcher ~mid ~out -out.0!first@catcher "
          "caught");
}

TEST_CASE("ends: exceptions thrown again, and others in their place", "[graph]") {
    plain::name_types();
    event_log::watch on;
    CHECK(hooked::catches_rethrown(1) == 30);
    CHECK(hooked::catches_replaced(1) == 2);
    CHECK(on.end() ==
          "+catches_rethrown.0 +rethrower.1 +thrower.2 ~thrower -thrower.2!first@rethrower again "
          "-rethrower.1!first@catches_rethrown -catches_rethrown.0=30 "
          "+catches_replaced.0 +replacer.1 +thrower.2 ~thrower -thrower.2!first@replacer "
          "-replacer.1!second@catches_replaced -catches_replaced.0=2");
}

TEST_CASE("ends: an exception thrown and caught in a destructor while another one passes",
          "[graph]") {
    plain::name_types();
    event_log::watch on;
    CHECK(hooked::catches_unwound() == 1);
    CHECK(on.end() ==
          "+catches_unwound.0 +unwound.1 +thrower.2 ~thrower -thrower.2!first@catches_unwound "
          "+catches_inside.2 +mid.3 +thrower.4 ~thrower -thrower.4!second@catches_inside ~mid "
          "-mid.3!second@catches_inside -catches_inside.2=2 "
          "-unwound.1!first@catches_unwound -catches_unwound.0=1");
}

TEST_CASE("ends: a kept exception is thrown on another thread", "[graph]") {
    plain::name_types();
    event_log::watch on;
    int result = 0;
    std::thread([] {
        try {
            hooked::mid(1);
        } catch (...) {
            plain::kept = std::current_exception();
        }
    }).join();
    std::thread([&] { result = hooked::catches_kept(); }).join();
    plain::kept = nullptr;
    CHECK(result == 1);
    CHECK(on.end() ==
          "+mid.0 +thrower.1 ~thrower -thrower.1!first@elsewhere ~mid -mid.0!first@elsewhere "
          "+catches_kept.0 +throws_kept.1 -throws_kept.1!first@catches_kept -catches_kept.0=1");
}

TEST_CASE(
    "ends: exceptions in the same memory, caught at the same place of the stack, by different "
    "functions",
    "[graph]") {
    plain::name_types();
    event_log::watch on("hooked::thrower");
    int (*catchers[])(int) = {hooked::catches_first, hooked::catches_second, hooked::catches_first};
    int results = 0;
    for (int i = 0; i < 3; ++i) results = results * 10 + catchers[i](i % 2 + 1);
    CHECK(results == 121);
    CHECK(on.end() ==
          "+thrower.0 ~thrower -thrower.0!first@catches_first "
          "+thrower.0 ~thrower -thrower.0!second@catches_second "
          "+thrower.0 ~thrower -thrower.0!first@catches_first");
    if (!built_with::address_sanitizer) CHECK(plain::thrown_at[0] == plain::thrown_at[1]);
}

TEST_CASE("ends: an exception that C++ does not know", "[graph]") {
    event_log::watch on;
    plain::strange.deleted = false;
    CHECK(hooked::catcher(4) == 20);
    CHECK(plain::strange.deleted);
    CHECK(on.end() ==
          "+catcher.0 +out.1 +mid.2 +thrower.3 ~thrower -thrower.3!foreign@catcher ~mid "
          "-mid.2!foreign@catcher ~out -out.1!foreign@catcher caught-other -catcher.0=20");
}

TEST_CASE("ends: longjmp is told at the next hooked call, or at the end of the call it went to",
          "[graph]") {
    event_log::watch on;
    CHECK(hooked::jumped_to(true) == 8);
    CHECK(hooked::around_jump() == 6);
    CHECK(on.end() ==
          "+jumped_to.0 +jump_1.1 +jump_2.2 +jump_3.3 jumped -jump_3.3~ -jump_2.2~ -jump_1.1~ "
          "+leaf.1 -leaf.1=8 -jumped_to.0=8 "
          "+around_jump.0 +jumped_to.1 +jump_1.2 +jump_2.3 +jump_3.4 jumped -jump_3.4~ -jump_2.3~ "
          "-jump_1.2~ -jumped_to.1=5 -around_jump.0=6");
}

TEST_CASE("ends: longjmp again and again to one place", "[graph]") {
    event_log::watch on;
    CHECK(hooked::jumps_often() == 3);
    CHECK(on.end() ==
          "+jumps_often.0 +jump_2.1 +jump_3.2 -jump_3.2~ -jump_2.1~ +jump_2.1 +jump_3.2 -jump_3.2~ "
          "-jump_2.1~ +jump_2.1 +jump_3.2 -jump_3.2~ -jump_2.1~ -jumps_often.0=3");
}

TEST_CASE("ends: siglongjmp out of a handler, on the same stack and on one of its own", "[graph]") {
    std::vector<std::byte> stack(256 * 1024);
    event_log::watch on;
    for (int own = 0; own < 2; ++own) {
        handle_signal(own == 0 ? nullptr : stack.data(), stack.size());
        CHECK(hooked::jumped_to_by_handler() == 6);
    }
    // Nothing is left of the handler's stack: the next one begins anew.
    CHECK(hooked::jumped_to_by_handler() == 6);
    handle_signal(nullptr, 0);
    const std::string once =
        "+jumped_to_by_handler.0 +raises.1 +handler.2 +in_handler.3 jumps -in_handler.3~ "
        "-handler.2~ -raises.1~ +leaf.1 -leaf.1=6 -jumped_to_by_handler.0=6";
    CHECK(on.end() == once + " " + once + " " + once);
}

TEST_CASE("ends: pthread_exit and pthread_cancel unwind", "[graph]") {
    event_log::watch on;
    run_thread(opaque_exit);
    run_thread(opaque_cancel);
    const std::string once =
        "+quits_0.0 +quits_1.1 +quits_2.2 ~2 -quits_2.2x ~1 -quits_1.1x ~0 -quits_0.0x";
    CHECK(on.end() == once + " " + once);
}

TEST_CASE("ends: a thread that ends without unwinding is told of when another one takes its place",
          "[graph]") {
    if (built_with::address_sanitizer || built_with::thread_sanitizer) {
        WARN("sanitizers look after each thread's end");
        return;
    }
    event_log::watch on;
    // Whoever comes takes the first free place.
    detail::thread_pool& threads = detail::process()->threads;
    threads.release_dead();
    run_thread(opaque_end);
    while (threads.alive(ended)) std::this_thread::yield();
    threads.release_dead();
    std::thread([] { hooked::leaf(1); }).join();
    CHECK(on.end() ==
          "+quits_0.0 +quits_1.1 +quits_2.2 -quits_2.2x -quits_1.1x -quits_0.0x +leaf.0 -leaf.0=2");
}

TEST_CASE("ends: twenty calls in a tail have sixteen places", "[graph]") {
    event_log::watch on;
    CHECK(hooked::step_caller(18, hooked::leaf, 3) == 6);
    std::string expected = "+step_caller.0";
    for (int depth = 1; depth <= 16; ++depth) expected += " +step." + std::to_string(depth);
    for (int again = 0; again < 3; ++again) expected += " -step.16t +step.16";
    expected += " -step.16t +leaf.16 -leaf.16=6";
    for (int depth = 15; depth >= 1; --depth) expected += " -step." + std::to_string(depth) + "=6";
    CHECK(on.end() == expected + " -step_caller.0=6");
}

TEST_CASE("ends: an exception and a longjmp leave calls in tails, innermost first", "[graph]") {
    plain::name_types();
    event_log::watch on;
    CHECK(hooked::catches_step(1) == 1);
    CHECK(hooked::jumped_to_by_step(1) == 2);
    CHECK(on.end() ==
          "+catches_step.0 +step_caller.1 +step.2 +step.3 +thrower.4 ~thrower "
          "-thrower.4!first@catches_step -step.3!first@catches_step -step.2!first@catches_step "
          "-step_caller.1!first@catches_step -catches_step.0=1 "
          "+jumped_to_by_step.0 +step_caller.1 +step.2 +step.3 +jump_3.4 -jump_3.4~ -step.3~ "
          "-step.2~ -step_caller.1~ -jumped_to_by_step.0=2");
}
