#include <execinfo.h>
#include <setjmp.h>
#include <sys/wait.h>
#include <unistd.h>
#include <unwind.h>

#include <catch2/catch_test_macros.hpp>
#include <cstring>
#include <exception>
#include <stdexcept>
#include <thread>
#include "hand_hooked.hpp"

using namespace hand_hooked;

namespace {

HOOKED int returns_int(int x) {
    HOOK_RETURN(gops(), 1);
    return x + 1;
}
struct counts_unwinding {
    int& count;
    ~counts_unwinding() { ++count; }
};
HOOKED int throws_after(int frames, int& cleaned) {
    HOOK_RETURN(gops(), 20);
    counts_unwinding cleanup{cleaned};
    if (frames == 1) throw std::runtime_error("from below");
    return throws_after(frames - 1, cleaned) + 1;
}
HOOKED int rethrows(int frames) {
    HOOK_RETURN(gops(), 21);
    int cleaned = 0;
    try {
        return throws_after(frames, cleaned);
    } catch (const std::runtime_error&) {
        throw;
    }
}
HOOKED int catches(int frames, int& cleaned) {
    HOOK_RETURN(gops(), 22);
    try {
        return throws_after(frames, cleaned);
    } catch (const std::runtime_error& e) {
        return std::strcmp(e.what(), "from below") == 0 ? frames : -1;
    }
}

// Two hooks of one return address: as by a call in the tail, or by two fgraph_ops.
HOOKED int throws_hooked_twice(bool throws) {
    HOOK_RETURN(gops(), 30);
    const unsigned long caller = last_entry.parent;
    HOOK_RETURN(gops(), 31);
    if (last_entry.parent != caller) return -1;
    if (throws) throw std::runtime_error("from a tail");
    return 2;
}

template <class Child>
int status_of(Child child) {
    const pid_t pid = ::fork();
    if (pid == 0) {
        child();
        ::_exit(0);
    }
    int status = 0;
    ::waitpid(pid, &status, 0);
    return status;
}

}  // namespace

TEST_CASE("return trampoline: exceptions are caught where they would be without", "[graph]") {
    for (const int frames : {1, 3, 1000}) {
        int cleaned = 0;
        const std::uint64_t unreturned_before = unreturned();
        CHECK(catches(frames, cleaned) == frames);
        CHECK(cleaned == frames);
        // The next call finds the shadow stack as the real one is.
        CHECK(returns_int(1) == 2);
        CHECK(last_return.depth == 0);
        CHECK(unreturned() - unreturned_before == static_cast<std::uint64_t>(frames));
    }
    CHECK_THROWS_AS(rethrows(5), std::runtime_error);
    CHECK_THROWS_AS(throws_hooked_twice(true), std::runtime_error);
    CHECK(throws_hooked_twice(false) == 2);
    for (int i = 0; i < 5000; ++i) {
        int cleaned = 0;
        if (catches(2, cleaned) != 2) FAIL("caught elsewhere");
    }
    CHECK(last_return.depth == 0);
}

namespace {
HOOKED void throws_nothing_allowed() noexcept {
    HOOK_RETURN(gops(), 40);
    int cleaned = 0;
    throws_after(2, cleaned);
}
HOOKED int throws_to_nobody() {
    int cleaned = 0;
    return throws_after(2, cleaned);
}
}  // namespace

TEST_CASE("return trampoline: std::terminate is called as without", "[graph]") {
    const int status = status_of([] {
        std::set_terminate([] { ::_exit(std::current_exception() ? 9 : 8); });
        throws_nothing_allowed();
    });
    CHECK((WIFEXITED(status) && WEXITSTATUS(status) == 9));
    // Nobody catches: the handler runs with the whole stack still there.
    const int uncaught = status_of([] {
        std::set_terminate([] {
            void* frames[64];
            ::_exit(::backtrace(frames, 64) > 4 ? 7 : 6);
        });
        std::thread(throws_to_nobody).join();
    });
    CHECK((WIFEXITED(uncaught) && WEXITSTATUS(uncaught) == 7));
}

namespace {

std::vector<void*> trace_of_glibc, trace_of_unwinder;

void take_backtraces() {
    trace_of_glibc.resize(200);
    trace_of_glibc.resize(static_cast<std::size_t>(::backtrace(trace_of_glibc.data(), 200)));
    trace_of_unwinder.clear();
    ::_Unwind_Backtrace(
        [](_Unwind_Context* context, void*) {
            trace_of_unwinder.push_back(reinterpret_cast<void*>(::_Unwind_GetIP(context)));
            return _URC_NO_REASON;
        },
        nullptr);
}
bool hooking;
std::vector<void*> true_callers;

HOOKED int walks_down(int frames) {
    true_callers.push_back(__builtin_return_address(0));
    if (hooking) HOOK_RETURN(gops(), 50);
    if (frames == 0)
        take_backtraces();
    else
        walks_down(frames - 1);
    __asm__ volatile("" ::: "memory");
    return frames;
}

// Every true caller, in order, within one byte: a return address, or the call before it.
bool has_callers(const std::vector<void*>& trace) {
    std::size_t found = 0;
    for (void* const ip : trace) {
        if (found == true_callers.size()) break;
        const auto wanted =
            reinterpret_cast<std::uintptr_t>(true_callers[true_callers.size() - 1 - found]);
        const auto at = reinterpret_cast<std::uintptr_t>(ip);
        if (at == wanted || at + 1 == wanted) ++found;
    }
    return found == true_callers.size();
}

}  // namespace

TEST_CASE("return trampoline: backtraces show the true callers, to the end", "[graph]") {
    true_callers.clear();
    hooking = false;
    walks_down(5);
    CHECK(has_callers(trace_of_glibc));
    CHECK(has_callers(trace_of_unwinder));
    const void* const outermost = trace_of_unwinder.back();
    true_callers.clear();
    hooking = true;
    walks_down(5);
    CHECK(true_callers.size() == 6);
    CHECK(has_callers(trace_of_glibc));
    CHECK(has_callers(trace_of_unwinder));
    CHECK(trace_of_unwinder.back() == outermost);
}

namespace {
jmp_buf back;
bool jumping = true;
HOOKED int jumps(int frames) {
    HOOK_RETURN(gops(), 60);
    if (frames == 0 && jumping) ::longjmp(back, 1);
    if (frames == 0) return 0;
    return jumps(frames - 1) + 1;
}
HOOKED int jumped_over(int frames) {
    HOOK_RETURN(gops(), 61);
    if (::setjmp(back) == 0) return jumps(frames);
    return -1;
}

}  // namespace

TEST_CASE("return trampoline: longjmp over hooked frames", "[graph]") {
    const counts before;
    CHECK(jumped_over(10) == -1);
    CHECK(before.new_entries() == 12);
    CHECK(before.new_returns() == 12);
    CHECK(returns_int(1) == 2);
    CHECK(last_return.depth == 0);
}
