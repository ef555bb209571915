#include <execinfo.h>
#include <unwind.h>

#include <catch2/catch_test_macros.hpp>
#include <ftrace/ftrace.hpp>
#include <stdexcept>
#include <string>

namespace {

constexpr int most_frames = 64;
void* by_glibc[most_frames];
int by_glibc_count;
void* by_unwinder[most_frames];
int by_unwinder_count;
void* true_callers[2];
unsigned caught;
std::uintptr_t site;

_Unwind_Reason_Code visit(_Unwind_Context* context, void*) {
    if (by_unwinder_count == most_frames) return _URC_NORMAL_STOP;
    by_unwinder[by_unwinder_count++] = reinterpret_cast<void*>(::_Unwind_GetIP(context));
    return _URC_NO_REASON;
}

__attribute__((noinline)) void throws(unsigned depth) {
    const std::string to_destroy(100, 'x');
    if (depth == 0) throw std::runtime_error(to_destroy);
    throws(depth - 1);
}

void unwind(unsigned long ip, unsigned long, ftrace::ftrace_ops&, ftrace::ftrace_regs&) noexcept {
    site = ip;
    by_unwinder_count = 0;
    ::_Unwind_Backtrace(visit, nullptr);
    by_glibc_count = ::backtrace(by_glibc, most_frames);
    try {
        throws(5);
    } catch (const std::runtime_error& error) {
        caught += std::string(error.what()).size() == 100;
    }
}
void idle(unsigned long, unsigned long, ftrace::ftrace_ops&, ftrace::ftrace_regs&) noexcept {}

}  // namespace

__attribute__((noinline)) int traced_leaf(int x) {
    true_callers[0] = __builtin_return_address(0);
    __asm__ volatile("" : "+r"(x));
    return x + 1;
}
__attribute__((noinline)) int traced_caller(int x) {
    true_callers[1] = __builtin_return_address(0);
    int result = traced_leaf(x);
    __asm__ volatile("" : "+r"(result));
    return result + 1;
}

namespace {

/// The traced function behind its site, its caller, and the caller's caller, one after the other.
bool has_callers(void* const* trace, int count) {
    for (int i = 0; i + 2 < count; ++i)
        if (trace[i] == reinterpret_cast<void*>(site + 5))
            return trace[i + 1] == true_callers[0] && trace[i + 2] == true_callers[1];
    return false;
}

void compare(unsigned callbacks) {
    caught = 0;
    by_glibc_count = by_unwinder_count = 0;
    int result = traced_caller(1);
    __asm__ volatile("" : "+r"(result));
    CHECK(result == 3);
    CHECK(has_callers(by_glibc, by_glibc_count));
    CHECK(has_callers(by_unwinder, by_unwinder_count));
    CHECK(caught == callbacks);
}

template <class Ops>
void check_policy() {
    Ops op;
    REQUIRE(op.set_filter("traced_leaf"));
    auto registered = ftrace::register_ftrace_function(op);
    REQUIRE(registered);
    compare(1);
    ftrace::ops<idle> other;
    REQUIRE(other.set_filter("traced_leaf"));
    auto also = ftrace::register_ftrace_function(other);
    REQUIRE(also);
    compare(1);
}

}  // namespace

TEST_CASE("callback: backtraces show the traced function and its callers, exceptions stay inside",
          "[arch]") {
    check_policy<ftrace::ops<unwind>>();
    check_policy<ftrace::ops<unwind, ftrace::SAVE_REGS>>();
}
