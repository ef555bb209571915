// What FTRACE_TRACEABLE and FTRACE_INTERPOSABLE promise of functions whose callers, in the same file,
// the optimiser sees.
#include <ftrace/ftrace.hpp>

#include <catch2/catch_test_macros.hpp>

#include <string>

namespace optimised {

FTRACE_TRACEABLE FTRACE_INTERPOSABLE int ignores(int unused, int used) {
    (void)unused;
    return used + 1;
}
FTRACE_TRACEABLE FTRACE_INTERPOSABLE int version() { return 3; }
FTRACE_TRACEABLE FTRACE_INTERPOSABLE int weigh(const char* text, int n, double weight) {
    asm volatile("" : "+r"(n));
    return text[0] + n + int(weight);
}
struct host {
    FTRACE_TRACEABLE FTRACE_INTERPOSABLE int member(int unused) {
        (void)unused;
        return base;
    }
    FTRACE_TRACEABLE FTRACE_INTERPOSABLE static int constant(int unused) {
        (void)unused;
        return 7;
    }
    int base;
};
template <typename T>
FTRACE_TRACEABLE FTRACE_INTERPOSABLE T generic(T value, T unused) {
    (void)unused;
    return value;
}

}  // namespace optimised

namespace {
using namespace optimised;
using namespace ftrace;

// For these FTRACE_TRACEABLE has to do, which keeps the arguments that are used.
FTRACE_TRACEABLE int scale(int value, int factor) {
    asm volatile("");
    return value * factor;
}
FTRACE_TRACEABLE int sum(const int* values, int n) {
    asm volatile("");
    return values[0] + values[1] + n;
}
FTRACE_TRACEABLE int unread(int n) {
    asm volatile("" : : "r"(n));
    return 3 * n;
}
struct local {
    FTRACE_TRACEABLE int member(int n) const {
        asm volatile("");
        return base * n;
    }
    int base;
};
constexpr auto lambda = [](int value, int factor) FTRACE_TRACEABLE {
    asm volatile("");
    return value * factor;
};

volatile int two = 2;
int calls = 0;
int seen = 0;

template <auto Callback, typename Call>
void traced(const char* filter, Call call) {
    static ops<Callback> op;
    REQUIRE(op.set_filter(filter, true).has_value());
    auto handle = register_ftrace_function(op);
    REQUIRE(handle.has_value());
    calls = seen = 0;
    call();
}
#define CALLBACK(name) \
    void name(unsigned long, unsigned long, ftrace_ops&, ftrace_regs& regs) noexcept

CALLBACK(in_ignores) { seen = regs_get_argument<0, &ignores>(regs); }
CALLBACK(in_version) { override_function_with_return<&version>(regs, 4); }
CALLBACK(in_weigh) {
    ++calls;
    seen += regs_get_argument<1, &weigh>(regs);
    regs_set_argument<2, &weigh>(regs, 100.0);
}
CALLBACK(in_member) { seen = regs_get_argument<1, &host::member>(regs); }
CALLBACK(in_constant) {
    seen = regs_get_argument<0, &host::constant>(regs);
    override_function_with_return<&host::constant>(regs, 8);
}
CALLBACK(in_generic) { seen = regs_get_argument<1, &generic<int>>(regs); }
CALLBACK(in_scale) { seen = regs_get_argument<1, &scale>(regs); }
CALLBACK(in_sum) { seen = regs_get_argument<0, &sum>(regs)[1]; }
CALLBACK(in_unread) { seen = regs_get_argument<0, &unread>(regs); }
CALLBACK(in_local_member) { seen = regs_get_argument<1, &local::member>(regs); }
CALLBACK(in_lambda) { seen = regs_get_argument<2, decltype(&decltype(lambda)::operator())>(regs); }

/// Calls a function with arguments that the optimiser knows: a loop, so that it takes the trouble.
template <typename Function>
int sum_of_three(Function function) {
    int result = 0;
    for (int i = 0; i < 3; ++i) result += function();
    return result;
}

}  // namespace

TEST_CASE("optimised: an interposable function gets arguments that it does not use", "[args]") {
    traced<in_ignores>("optimised::ignores", [] {
        CHECK(ignores(0x1111, two) == 3);
        CHECK(seen == 0x1111);
    });
    traced<in_member>("optimised::host::member", [] {
        host h{two};
        CHECK(h.member(0x2222) == 2);
        CHECK(seen == 0x2222);
    });
    traced<in_generic>("*generic<int>*", [] {
        CHECK(generic<int>(two, 0x3333) == 2);
        CHECK(seen == 0x3333);
    });
}

TEST_CASE("optimised: the constant result of an interposable function can be overridden",
          "[args]") {
    traced<in_version>("optimised::version", [] { CHECK(version() == 4); });
    CHECK(version() == 3);
    traced<in_constant>("optimised::host::constant", [] {
        CHECK(host::constant(0x4444) == 8);
        CHECK(seen == 0x4444);
    });
}

TEST_CASE("optimised: all calls of an interposable function reach it, with constants too",
          "[args]") {
    traced<in_weigh>("optimised::weigh", [] {
        CHECK(sum_of_three([] { return weigh("abc", two, 2.5); }) == 3 * (97 + 2 + 100));
        CHECK(sum_of_three([] { return weigh("abc", 9, 2.5); }) == 3 * (97 + 9 + 100));
        CHECK(calls == 6);
        CHECK(seen == 33);
    });
    int copies = 0;
    for (const auto& f : available_filter_functions())
        copies +=
            f.name.find("weigh") != std::string::npos && f.name.find("clone") != std::string::npos;
    CHECK(copies == 0);
}

TEST_CASE("optimised: a traceable function of one file keeps the parameters that it uses",
          "[args]") {
    traced<in_scale>("*::scale", [] {
        CHECK(scale(two, 0x5555) == 2 * 0x5555);
        CHECK(seen == 0x5555);
    });
    traced<in_sum>("*::sum", [] {
        const int values[] = {two, two + 1};
        CHECK(sum(values, two) == 7);
        CHECK(seen == 3);
    });
    traced<in_unread>("*::unread", [] {
        unread(two);
        CHECK(seen == 2);
    });
    traced<in_local_member>("*::local::member", [] {
        CHECK(local{two}.member(0x6666) == 2 * 0x6666);
        CHECK(seen == 0x6666);
    });
    traced<in_lambda>("*::operator()(int, int)*", [] {
        CHECK(lambda(two, 0x7777) == 2 * 0x7777);
        CHECK(seen == 0x7777);
    });
}
