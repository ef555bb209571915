// The smallest complete user of the library: built in many ways by matrix.sh, without Bazel.
#include <ftrace/ftrace.hpp>

#include <cstdio>

namespace {

// Volatile: the compiler sees callers and callees, but not that a callback runs between them.
volatile int calls = 0;
volatile unsigned long sum = 0;

FTRACE_NOTRACE void on_add(unsigned long, unsigned long, ftrace::ftrace_ops&,
                           ftrace::ftrace_regs& regs) noexcept {
    calls = calls + 1;
    sum = sum + ftrace::regs_get_argument<0>(regs) + ftrace::regs_get_argument<1>(regs);
}

ftrace::ops<on_add> by_args;

FTRACE_NOTRACE int fail(const char* what, const char* why = "") {
    std::printf("app: %s: %s (calls %d, sum %lu)\n", what, why, calls, sum);
    return 1;
}

}  // namespace

namespace app {

__attribute__((noinline)) int add(int a, int b) {
    asm volatile("");
    return a + b;
}

}  // namespace app

namespace {

// Not known while compiling: else gcc calls a clone of add that has fewer parameters.
volatile int one = 1;

}  // namespace

// In a library, the traced code and its tracing are both there: see matrix.sh.
#ifdef APP_IS_LIBRARY
#define APP_MAIN extern "C" __attribute__((visibility("default"))) int app_main()
#else
#define APP_MAIN int main()
#endif

APP_MAIN {
    auto matched = by_args.set_filter("app::add");
    if (!matched) return fail("set_filter", matched.error().message.c_str());
    if (matched.value() != 1)
        return fail("the filter matched another number of functions than one");

    if (app::add(one, 2 * one) != 3 || calls != 0) return fail("called before it was registered");
    {
        auto handle = ftrace::register_ftrace_function(by_args);
        if (!handle) return fail("register_ftrace_function", handle.error().message.c_str());
        for (int i = 0; i < 1000; ++i)
            if (app::add(i, one) != i + 1) return fail("another sum than untraced");
        if (calls != 1000 || sum != 500500)
            return fail("another count or other arguments than called with");
    }
    if (app::add(one, 2 * one) != 3 || calls != 1000)
        return fail("called after it was unregistered");
    return 0;
}
