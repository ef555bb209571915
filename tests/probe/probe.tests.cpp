// Typed probes: what handlers may do, how several compose, and that they go.
#include <ftrace/probe/probe.hpp>

#include <pthread.h>

#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_all.hpp>
#include <cerrno>
#include <ftrace/ftrace.hpp>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <typeinfo>
#include <utility>
#include <vector>

#include "tests/patch/program.hpp"
#include "tests/patch/text.hpp"

using namespace ftrace;
using Catch::Matchers::ContainsSubstring;

namespace program {

PROGRAM int inner(int x) {
    TOUCH_MEMORY;
    return x + 1;
}
PROGRAM int work(int x) {
    TOUCH_MEMORY;
    if (x < 0) throw std::runtime_error("negative");
    return inner(x) + 1;
}
PROGRAM void waits(std::atomic<bool>& entered, const std::atomic<bool>& go_on) {
    TOUCH_MEMORY;
    entered = true;
    while (!go_on) std::this_thread::yield();
}
/// Called through pointers, so that no caller knows what it does.
int (*volatile call_work)(int) = work;

struct parser {
    int depth = 3;
    PROGRAM int parse(int x) {
        TOUCH_MEMORY;
        return x + depth;
    }
    PROGRAM int look(int x) const& noexcept {
        TOUCH_MEMORY;
        return x - depth;
    }
    PROGRAM static int name(int x) {
        TOUCH_MEMORY;
        return 2 * x;
    }
    PROGRAM virtual int overridden(int x) {
        TOUCH_MEMORY;
        return x;
    }
    virtual ~parser() = default;
};

struct has_second {
    PROGRAM virtual int second(int x) = 0;
    virtual ~has_second() = default;
};
struct fast_parser final : parser, has_second {
    int speed = 4;
    PROGRAM int overridden(int x) override {
        TOUCH_MEMORY;
        return x + 10;
    }
    PROGRAM int second(int x) override {
        TOUCH_MEMORY;
        return x + 20;
    }
};
namespace {
struct hidden_parser : parser {
    PROGRAM int overridden(int x) override {
        TOUCH_MEMORY;
        return x + 30;
    }
};
}  // namespace
FTRACE_NOTRACE __attribute__((noinline)) int call_overridden(parser& p, int x) {
    return p.overridden(x);
}
FTRACE_NOTRACE __attribute__((noinline)) int call_second(has_second& p, int x) {
    return p.second(x);
}

struct virtual_base {
    virtual ~virtual_base() = default;
    int in_base = 3;
};
struct with_virtual_base : virtual virtual_base {
    PROGRAM virtual int first(int x) {
        TOUCH_MEMORY;
        return x + 1;
    }
    PROGRAM virtual double second(double x) {
        TOUCH_MEMORY;
        return 2 * (x + 1);
    }
    PROGRAM virtual int third(int x) {
        TOUCH_MEMORY;
        return x + in_base;
    }
};
FTRACE_NOTRACE __attribute__((noinline)) int call_all(with_virtual_base& object, int x) {
    return object.first(x) + static_cast<int>(object.second(x)) + object.third(x);
}

/// The return addresses that frame pointers lead to.
struct frame_walk {
    std::uintptr_t returns[2];
};
PROGRAM void walks_frames(frame_walk& walk) {
    TOUCH_MEMORY;
    auto* frame = static_cast<void**>(__builtin_frame_address(0));
    for (std::uintptr_t& each : walk.returns) {
        each = reinterpret_cast<std::uintptr_t>(frame[1]);
        frame = static_cast<void**>(*frame);
    }
}
FTRACE_NOTRACE __attribute__((noinline)) void calls_walker(frame_walk& walk) {
    __asm__ volatile("" ::"r"(__builtin_frame_address(0)));
    walks_frames(walk);
    TOUCH_MEMORY;
}

PROGRAM void ends_thread() {
    TOUCH_MEMORY;
    ::pthread_exit(nullptr);
}
PROGRAM int called_once(int x) {
    TOUCH_MEMORY;
    return x + 2;
}

PROGRAM int cloned(int x) __asm__("cloned.isra.0");
PROGRAM int cloned(int x) {
    TOUCH_MEMORY;
    return x + 1;
}
PROGRAM int overloaded(int x) {
    TOUCH_MEMORY;
    return 2 * x;
}
PROGRAM double overloaded(double x) {
    TOUCH_MEMORY;
    return 2 * x;
}
FTRACE_NOTRACE __attribute__((noinline)) int without_site(int x) { return x; }

}  // namespace program

TEST_CASE("probe: what on_enter returns is kept for on_leave", "[probe]") {
    auto handle = probe<&program::work>(
        [](int& x) { return std::string(static_cast<std::size_t>(x), 'a'); },
        [](int& result, std::string& data) { result = static_cast<int>(data.size()) * 100; });
    REQUIRE(handle);
    CHECK(program::call_work(3) == 300);
    CHECK(program::call_work(5) == 500);
}

TEST_CASE("probe: either handler may be missing, and both may capture", "[probe]") {
    int seen = 0;
    {
        auto enter = probe<&program::work>([&seen](int x) { seen += x; });
        REQUIRE(enter);
        CHECK(program::call_work(3) == 5);
        CHECK(seen == 3);
    }
    auto leave = probe<&program::work>(nullptr, [kept = std::make_unique<int>(7), &seen](int& r) {
        r += *kept;
        seen = r;
    });
    REQUIRE(leave);
    CHECK(program::call_work(3) == 12);
    CHECK(seen == 12);
}

TEST_CASE("probe: on_enter answers a call itself", "[probe]") {
    int inner_calls = 0, left = 0, outer_results = 0;
    auto counting = probe<&program::inner>([&](int) { ++inner_calls; });
    auto outer = probe<&program::work>(nullptr, [&](int& result) { outer_results += result; });
    auto answers = probe<&program::work>(
        [](probe_call<int>& call, int& x) {
            if (x > 10) call.skip(-x);
        },
        [&](int&) { ++left; });
    REQUIRE(counting);
    REQUIRE(outer);
    REQUIRE(answers);
    CHECK(program::call_work(1) == 3);
    CHECK(inner_calls == 1);
    CHECK(left == 1);
    CHECK(program::call_work(11) == -11);
    CHECK(inner_calls == 1);
    CHECK(left == 1);
    CHECK(outer_results == 3 - 11);
}

TEST_CASE("probe: an exception passes, and on_leave is told of it if it wants to", "[probe]") {
    int returned = 0, thrown = 0, results = 0;
    const std::type_info* type = nullptr;
    auto every = probe<&program::work>(nullptr, [&](probe_exit<int>& exit) {
        if (exit.returned()) {
            ++returned;
            exit.result() += 100;
        } else {
            ++thrown;
            type = exit.exception();
            try {  // does not hide the one that is on its way
                throw 1;
            } catch (int) {
            }
        }
    });
    auto returns = probe<&program::work>(nullptr, [&](int&) { ++results; });
    REQUIRE(every);
    REQUIRE(returns);
    CHECK(program::call_work(1) == 103);
    CHECK_THROWS_WITH(program::call_work(-1), "negative");
    CHECK(returned == 1);
    CHECK(thrown == 1);
    REQUIRE(type != nullptr);
    CHECK(*type == typeid(std::runtime_error));
    CHECK(results == 1);
}

TEST_CASE("probe: the end of a thread passes, and is no exception", "[probe]") {
    static int ended, typed;
    auto handle = probe<&program::ends_thread>(nullptr, [](probe_exit<void>& exit) {
        ended += !exit.returned();
        typed += exit.exception() != nullptr;
    });
    REQUIRE(handle);
    pthread_t thread;
    const auto start = [](void*) -> void* { return program::ends_thread(), nullptr; };
    REQUIRE(::pthread_create(&thread, nullptr, start, nullptr) == 0);
    REQUIRE(::pthread_join(thread, nullptr) == 0);
    CHECK(ended == 1);
    CHECK(typed == 0);
}

TEST_CASE("probe: member functions get their object", "[probe]") {
    using program::parser;
    auto plain = probe<&parser::parse>([](parser& self, int& x) {
        x += 10;
        self.depth = 4;
    });
    auto qualified = probe<&parser::look>([](const parser& self, int& x) { x += self.depth; });
    auto of_class = probe<&parser::name>([](int& x) { ++x; });
    REQUIRE(plain);
    REQUIRE(qualified);
    REQUIRE(of_class);
    parser object;
    CHECK(object.parse(1) == 15);
    CHECK(std::as_const(object).look(1) == 1);
    CHECK(parser::name(1) == 4);
}

TEST_CASE("probe: of a virtual function, the overrider of the class that is named", "[probe]") {
    using namespace program;
    int of_parser = 0, of_fast_parser = 0, of_second = 0, of_hidden = 0;
    auto base = probe<&parser::overridden>([&](parser&, int&) { ++of_parser; });
    auto derived = probe<&fast_parser::overridden>([&](fast_parser& self, int& x) {
        ++of_fast_parser;
        x += self.speed;
    });
    // Of a second base: the object is moved on the way, by a thunk in that base's table.
    auto second = probe<&fast_parser::second>([&](fast_parser& self, int& x) {
        ++of_second;
        x += self.speed;
    });
    auto hidden = probe<&hidden_parser::overridden>([&](hidden_parser&, int&) { ++of_hidden; });
    REQUIRE(base);
    REQUIRE(derived);
    REQUIRE(second);
    REQUIRE(hidden);
    parser slow;
    fast_parser fast;
    hidden_parser other;
    CHECK(call_overridden(slow, 1) == 1);
    CHECK(call_overridden(fast, 1) == 15);
    CHECK(call_second(fast, 1) == 25);
    CHECK(call_overridden(other, 1) == 31);
    CHECK(of_parser == 1);
    CHECK(of_fast_parser == 1);
    CHECK(of_second == 1);
    CHECK(of_hidden == 1);

    const auto pure = probe<&has_second::second>([](has_second&, int&) {});
    REQUIRE_FALSE(pure);
    CHECK_THAT(pure.error().message, ContainsSubstring("Name an overrider"));
}

TEST_CASE("probe: of a virtual function of a class with a virtual base, the right one", "[probe]") {
    using namespace program;
    int first = 0, second = 0, third = 0;
    auto a = probe<&with_virtual_base::first>([&](with_virtual_base&, int& x) { first += x; });
    auto b = probe<&with_virtual_base::second>([&](with_virtual_base&, double& x) {
        x += 1;
        ++second;
    });
    auto c = probe<&with_virtual_base::third>([&](with_virtual_base&, int& x) { third += x; });
    REQUIRE(a);
    REQUIRE(b);
    REQUIRE(c);
    with_virtual_base object;
    CHECK(call_all(object, 10) == 11 + 24 + 13);
    CHECK(first == 10);
    CHECK(second == 1);
    CHECK(third == 10);
}

namespace {
int plain_entered = 0, plain_left = 0;
void plain_enter(int& x) { plain_entered += x; }
void plain_leave(int& result) { plain_left += result; }
}  // namespace

TEST_CASE("probe: handlers may be functions by their name, and generic lambdas", "[probe]") {
    auto plain = probe<&program::work>(plain_enter, plain_leave);
    REQUIRE(plain);
    CHECK(program::call_work(3) == 5);
    CHECK(plain_entered == 3);
    CHECK(plain_left == 5);
    REQUIRE(plain->unregister());
    auto generic = probe<&program::work>([](auto&... x) { ((x += 10), ...); },
                                         [](auto& result) { result += 100; });
    REQUIRE(generic);
    CHECK(program::call_work(3) == 115);
}

TEST_CASE("probe: one that ends in its own handler is switched off", "[probe]") {
    static std::optional<typed_probe> once;
    static int calls;
    auto made = probe<&program::called_once>([](int&) {
        ++calls;
        once.reset();
    });
    REQUIRE(made);
    once = std::move(*made);
    for (int i = 0; i < 3; ++i) CHECK(program::called_once(1) == 3);
    CHECK(calls == 1);
    CHECK_FALSE(once.has_value());
}

TEST_CASE("probe: what handlers captured may lock what callers of probe() hold", "[probe]") {
    struct locks_at_end {
        std::mutex* mutex;
        std::atomic<bool>* in_destructor;
        locks_at_end(std::mutex* m, std::atomic<bool>* b) : mutex(m), in_destructor(b) {}
        locks_at_end(locks_at_end&& other) noexcept
            : mutex(std::exchange(other.mutex, nullptr)), in_destructor(other.in_destructor) {}
        ~locks_at_end() {
            if (mutex == nullptr) return;
            *in_destructor = true;
            const std::lock_guard guard(*mutex);
        }
    };
    std::mutex mutex;
    std::atomic<bool> in_destructor{false};
    auto handle =
        probe<&program::work>([kept = locks_at_end(&mutex, &in_destructor)](int& x) { x += 0; });
    REQUIRE(handle);
    std::unique_lock held(mutex);
    std::thread ends([&] { (void)handle->unregister(); });
    while (!in_destructor) std::this_thread::yield();
    CHECK(probe<&program::inner>([](int&) {}).has_value());
    held.unlock();
    ends.join();
}

TEST_CASE("probe: frame pointers lead through a wrapper to the caller", "[probe]") {
    const auto expected = [](const program::frame_walk& walk, std::size_t at) {
        return demangle(symbol_of(walk.returns[at]).name);
    };
    program::frame_walk plain{}, probed{};
    program::calls_walker(plain);
    CHECK_THAT(expected(plain, 0), ContainsSubstring("program::calls_walker"));
    auto handle = probe<&program::walks_frames>([](program::frame_walk&) {}, [] {});
    REQUIRE(handle);
    program::calls_walker(probed);
    CHECK_THAT(expected(probed, 0), ContainsSubstring("probe_wrapper"));
    CHECK_THAT(expected(probed, 1), ContainsSubstring("program::calls_walker"));
    CHECK(probed.returns[1] == plain.returns[0]);
}

TEST_CASE("probe: a clone is refused, as its parameters may be others", "[probe]") {
    const auto refused = probe<&program::cloned>([](int&) {});
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code == errc::invalid_argument);
    CHECK_THAT(refused.error().message, ContainsSubstring("is a clone"));
    CHECK(program::cloned(1) == 2);
}

TEST_CASE("probe: of an overloaded function, one", "[probe]") {
    auto handle =
        probe<static_cast<double (*)(double)>(&program::overloaded)>([](double& x) { x += 0.5; });
    REQUIRE(handle);
    CHECK(program::overloaded(1) == 2);
    CHECK(program::overloaded(1.0) == 3.0);
}

TEST_CASE("probe: a function without a site is an error", "[probe]") {
    const auto refused = probe<&program::without_site>([](int&) {});
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code == errc::not_a_site);
    CHECK_THAT(refused.error().message, ContainsSubstring("without_site"));
}

TEST_CASE("probe: alone its site is a jump, and five bytes of nop behind it", "[probe]") {
    const auto site = text::site_of(program::work);
    {
        auto handle = probe<&program::work>([](int&) {});
        REQUIRE(handle);
        CHECK(arch::jump_distance(text::read_site(site)) != 0);
        CHECK(handle->attached());
        CHECK(handle->unregister());
        CHECK_FALSE(handle->attached());
        const auto again = handle->unregister();
        REQUIRE_FALSE(again);
        CHECK(again.error().code == errc::not_registered);
    }
    CHECK(text::read_site(site) == arch::nop_site);
}

TEST_CASE("probe: several are entered in their order, and left in the opposite one", "[probe]") {
    std::string order;
    static std::string* said;
    said = &order;
    auto first = probe<&program::work>([&](int) { order += 'a'; }, [&](int) { order += 'A'; });
    auto second = probe<&program::work>([&](int) { order += 'b'; }, [&](int) { order += 'B'; });
    const auto same = [](char c) {
        return probe<&program::work>([c](int) { *said += c; }, [c](int) { *said += char(c - 32); });
    };
    auto third = same('c');
    auto fourth = same('d');
    REQUIRE(first);
    REQUIRE(second);
    REQUIRE(third);
    REQUIRE(fourth);
    program::call_work(1);
    CHECK(order == "abcdDCBA");
    // In any order of their going.
    order.clear();
    REQUIRE(first->unregister());
    program::call_work(1);
    CHECK(order == "bcdDCB");
    order.clear();
    REQUIRE(third->unregister());
    program::call_work(1);
    CHECK(order == "bdDB");
    order.clear();
    auto fifth = same('e');
    REQUIRE(fifth);
    REQUIRE(fourth->unregister());
    program::call_work(1);
    CHECK(order == "beEB");
    order.clear();
    REQUIRE(second->unregister());
    REQUIRE(fifth->unregister());
    program::call_work(1);
    CHECK(order.empty());
}

TEST_CASE("probe: ops on the function come first, with and without it", "[probe]") {
    static std::string order;
    static ops<[](unsigned long, unsigned long, ftrace_ops&, ftrace_regs&) noexcept {
        order += 'o';
    }>
        op;
    order.clear();
    REQUIRE(op.set_filter("program::work"));
    auto handle = probe<&program::work>([](int) { order += 'p'; }, [](int) { order += 'P'; });
    REQUIRE(handle);
    {
        auto registered = register_ftrace_function(op);
        REQUIRE(registered);
        program::call_work(1);
        CHECK(order == "opP");
        order.clear();
        REQUIRE(handle->unregister());
        program::call_work(1);
        CHECK(order == "o");
    }
    program::call_work(1);
    CHECK(order == "o");
}

TEST_CASE("probe: handlers that call probed functions do not recurse, and keep errno", "[probe]") {
    int entered = 0;
    auto outer = probe<&program::work>(
        [&](int&) {
            ++entered;
            errno = 5;
            program::call_work(1);
        },
        [&](int&) {
            errno = 6;
            program::inner(1);
        });
    auto inner = probe<&program::inner>([&](int&) { ++entered; });
    REQUIRE(outer);
    REQUIRE(inner);
    errno = 17;
    CHECK(program::call_work(1) == 3);
    CHECK(errno == 17);
    CHECK(entered == 2);
}

TEST_CASE("probe: unregistered while a call is inside, which ends untold", "[probe]") {
    std::atomic<bool> entered{false}, go_on{false};
    auto captured = std::make_shared<int>(0);
    auto handle = probe<&program::waits>(
        [captured](std::atomic<bool>&, const std::atomic<bool>&) { ++*captured; },
        [captured] { *captured += 100; });
    REQUIRE(handle);
    std::thread inside([&] { program::waits(entered, go_on); });
    while (!entered) std::this_thread::yield();
    CHECK(captured.use_count() == 3);
    REQUIRE(handle->unregister());
    CHECK(captured.use_count() == 1);  // both handlers are destroyed
    // Another of the same kind, which may get the first one's memory, is not told of that call.
    auto later = probe<&program::waits>(
        [captured](std::atomic<bool>&, const std::atomic<bool>&) { ++*captured; },
        [captured] { *captured += 100; });
    REQUIRE(later);
    go_on = true;
    inside.join();
    CHECK(*captured == 1);
}

TEST_CASE("probe: attached and taken off under threads that call", "[probe]") {
    std::atomic<bool> stop{false};
    std::atomic<long> wrong{0};
    std::vector<std::thread> callers;
    for (int i = 0; i < 3; ++i)
        callers.emplace_back([&]() FTRACE_NOTRACE {
            while (!stop)
                if (const int seen = program::call_work(1); seen != 3 && seen != 13) ++wrong;
        });
    for (int round = 0; round < 200; ++round) {
        std::atomic<long> left{0};
        auto first = probe<&program::work>(nullptr, [&left](int& result) {
            result = 13;
            ++left;
        });
        auto second = probe<&program::work>([kept = std::string(100, 'x')](int& x) {
            if (kept[50] != 'x') x = -100;
        });
        if (!first || !second) FAIL("not attached");
        while (left < 3) std::this_thread::yield();
        if (round % 2 == 0 && !first->unregister()) FAIL("not taken off");
    }
    stop = true;
    for (std::thread& caller : callers) caller.join();
    CHECK(wrong == 0);
    CHECK(program::call_work(1) == 3);
}

namespace program {

/// Throws and catches in a destructor while another exception passes.
struct throws_inside {
    PROGRAM ~throws_inside() {
        TOUCH_MEMORY;
        try {
            (void)call_work(-2);
        } catch (const std::runtime_error&) {
        }
    }
};
PROGRAM void outer(int depth) {
    TOUCH_MEMORY;
    const throws_inside guard;
    if (depth == 0) throw 17;
    outer(depth - 1);
}

}  // namespace program

TEST_CASE("probe: of nested exceptions each has its type", "[probe]") {
    std::vector<const std::type_info*> outer_types, work_types;
    auto outer = probe<&program::outer>(
        nullptr, [&](probe_exit<void>& exit) { outer_types.push_back(exit.exception()); });
    auto work = probe<&program::work>(
        nullptr, [&](probe_exit<int>& exit) { work_types.push_back(exit.exception()); });
    REQUIRE(outer);
    REQUIRE(work);
    CHECK_THROWS_AS(program::outer(3), int);
    CHECK(outer_types == std::vector<const std::type_info*>(4, &typeid(int)));
    REQUIRE(work_types.size() == 4);
    for (const std::type_info* each : work_types) CHECK(*each == typeid(std::runtime_error));
}
