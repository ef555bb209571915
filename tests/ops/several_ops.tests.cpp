// Several ops on one function: order, and at every moment of attaching and detaching the registers
// that each asked for.
#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <cstring>
#include <ftrace/ftrace.hpp>
#include <string>
#include <thread>

#include "../patch/program.hpp"

using namespace ftrace;

namespace program {

/// `x` and `y` are the same number: a callback can tell whether it sees both of one call.
PROGRAM long work(long x, double y) {
    TOUCH_MEMORY;
    return x + static_cast<long>(y);
}

}  // namespace program

namespace {

// Plain objects and builtins: functions without vector registers cannot inline std::atomic's.
long too_few, calls[3];
long value_of(const long& counter) { return __atomic_load_n(&counter, __ATOMIC_RELAXED); }

char order[8];  // of the calls on the thread that keeps it
thread_local std::size_t kept;
thread_local bool keep_order;

FTRACE_GENERAL_REGS_ONLY bool has_integers(const ftrace_regs& regs) noexcept {
    return static_cast<long>(arch_access::saved(regs).gpr.di) >= 1000 &&
           regs_get_instruction_pointer(regs) != 0;
}
bool has_vectors(ftrace_regs& regs) noexcept {
    const arch::saved_registers& saved = arch_access::saved(regs);
    if (saved.width == arch::vector_width::none) return false;
    double y;
    std::memcpy(&y, arch_access::vector(regs, 0), sizeof y);
    return static_cast<long>(y) == static_cast<long>(saved.gpr.di);
}
FTRACE_GENERAL_REGS_ONLY void count(int which, char name, bool enough) noexcept {
    __atomic_fetch_add(&calls[which], 1, __ATOMIC_RELAXED);
    if (!enough) __atomic_fetch_add(&too_few, 1, __ATOMIC_RELAXED);
    if (keep_order && kept < sizeof order) order[kept++] = name;
}

void wants_arguments(unsigned long, unsigned long, ftrace_ops&, ftrace_regs& regs) noexcept {
    count(0, 'a', has_integers(regs) && has_vectors(regs));
}
void wants_all(unsigned long, unsigned long, ftrace_ops&, ftrace_regs& regs) noexcept {
    const arch::saved_registers& saved = arch_access::saved(regs);
    // Bit 1 of rflags is always set (SDM volume 1, 3.4.3).
    count(1, 'f',
          has_integers(regs) && has_vectors(regs) && get_regs(regs) != nullptr &&
              saved.gpr.cs == arch::user_cs && saved.gpr.ss == arch::user_ss &&
              (saved.gpr.flags & 2) != 0);
}
FTRACE_GENERAL_REGS_ONLY void wants_integers(unsigned long, unsigned long, ftrace_ops&,
                                             integer_regs& regs) noexcept {
    count(2, 'i', has_integers(regs));
}
FTRACE_GENERAL_REGS_ONLY void wants_integers_by_list(unsigned long, unsigned long, ftrace_ops&,
                                                     ftrace_regs& regs) noexcept {
    count(2, 'i', has_integers(regs));
}

arch::vector_width width;
FTRACE_GENERAL_REGS_ONLY void look(unsigned long, unsigned long, ftrace_ops&,
                                   integer_regs& regs) noexcept {
    width = arch_access::saved(regs).width;
}

ops<wants_arguments> own_arguments;
ops<wants_all, SAVE_REGS> own_all;
ops<wants_integers, ARGS_INTEGER> own_integers;
ftrace_ops list_arguments(wants_arguments), list_all(wants_all, SAVE_REGS),
    list_integers(wants_integers_by_list, ARGS_INTEGER);

constexpr char names[] = "afi";
constexpr int orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};

/// Calls work() as fast as it can, until it is destroyed.
class other_thread {
public:
    other_thread()
        : thread_([this] {
              for (long i = 1000; !stop_; ++i) {
                  if (program::work(i, static_cast<double>(i)) != 2 * i) ++wrong_;
                  ++done_;
              }
          }) {}
    ~other_thread() {
        stop_ = true;
        thread_.join();
        CHECK(wrong_ == 0);
        CHECK(done_ > 0);
    }
    void some_calls() const {
        for (const long before = done_; done_ < before + 50;) std::this_thread::yield();
    }

private:
    std::atomic<bool> stop_{false};
    std::atomic<long> done_{0}, wrong_{0};
    std::thread thread_;
};

std::string order_of_one_call() {
    kept = 0;
    keep_order = true;
    const long result = program::work(5000, 5000.0);
    keep_order = false;
    CHECK(result == 10000);
    return {order, kept};
}

void every_order(ftrace_ops* const (&all)[3]) {
    for (ftrace_ops* op : all) REQUIRE(op->set_filter("program::work", true).value() == 1);
    const other_thread other;
    for (const auto& attach : orders)
        for (const auto& detach : orders) {
            registration handle[3];
            std::string expected;
            for (const int i : attach) {
                auto registered = register_ftrace_function(*all[i]);
                if (!registered) FAIL(registered.error().message);
                handle[i] = std::move(*registered);
                expected += names[i];
                CHECK(order_of_one_call() == expected);
                other.some_calls();
            }
            for (const int i : detach) {
                REQUIRE(handle[i].unregister());
                expected.erase(expected.find(names[i]), 1);
                CHECK(order_of_one_call() == expected);
                const long before = value_of(calls[i]);
                other.some_calls();
                CHECK(value_of(calls[i]) == before);
            }
        }
    CHECK(value_of(too_few) == 0);
    for (const long& count_of_one : calls) CHECK(value_of(count_of_one) > 0);
}

}  // namespace

TEST_CASE("several: ops with stubs of their own, in every order", "[ops]") {
    every_order({&own_arguments, &own_all, &own_integers});
}
TEST_CASE("several: ops with callbacks of run time, in every order", "[ops]") {
    every_order({&list_arguments, &list_all, &list_integers});
}
TEST_CASE("several: the members of a compile-time registry, in every order", "[ops]") {
    static registry<ops<wants_arguments>, ops<wants_all, SAVE_REGS>,
                    ops<wants_integers, ARGS_INTEGER>>
        all;
    every_order({&all.get<0>(), &all.get<1>(), &all.get<2>()});
}
TEST_CASE("several: integer ops alone save no vectors, and get them again beside ARGS", "[ops]") {
    // The library's promise is a lower bound; this is what makes ARGS_INTEGER cheap.
    static ops<look, ARGS_INTEGER> looks;
    REQUIRE(looks.set_filter("program::work"));
    auto handle = register_ftrace_function(looks);
    REQUIRE(handle);
    program::work(1, 1.0);
    CHECK(width == arch::vector_width::none);
    REQUIRE(list_arguments.set_filter("program::work", true));
    auto other = register_ftrace_function(list_arguments);
    REQUIRE(other);
    program::work(1000, 1000.0);
    CHECK(width != arch::vector_width::none);
    REQUIRE(other->unregister());
    program::work(1, 1.0);
    CHECK(width == arch::vector_width::none);
}
