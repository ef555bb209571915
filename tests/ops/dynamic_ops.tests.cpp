// ftrace_ops: callback and user pointer chosen at run time.
#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <ftrace/ftrace.hpp>
#include <memory>
#include <vector>

#include "../patch/program.hpp"
#include "../patch/text.hpp"

using namespace ftrace;

namespace program {

PROGRAM long work(long x) {
    TOUCH_MEMORY;
    return x + 1;
}

}  // namespace program

namespace {

struct counter {
    long calls = 0;
    long sum = 0;
    unsigned long ip = 0, parent_ip = 0;
    const ftrace_ops* op = nullptr;
};
void count(unsigned long ip, unsigned long parent_ip, ftrace_ops& op, ftrace_regs& regs) noexcept {
    auto& self = *static_cast<counter*>(op.private_data);
    ++self.calls;
    self.sum += static_cast<long>(arch_access::saved(regs).gpr.di);
    self.ip = ip;
    self.parent_ip = parent_ip;
    self.op = &op;
}

}  // namespace

TEST_CASE("dynamic: the callback gets its ops, with the user's pointer", "[ops]") {
    counter mine, other;
    ftrace_ops op(count, ARGS, &mine), second(count, SAVE_REGS, &other);
    REQUIRE(op.set_filter("program::work"));
    REQUIRE(second.set_filter("program::work"));
    const auto handle = register_ftrace_function(op);
    REQUIRE(handle);
    CHECK(program::work(5) == 6);
    CHECK(mine.calls == 1);
    CHECK(mine.sum == 5);
    CHECK(mine.ip == text::site_of(program::work));
    CHECK(mine.op == &op);
    CHECK(other.calls == 0);

    const auto second_handle = register_ftrace_function(second);
    REQUIRE(second_handle);
    CHECK(program::work(7) == 8);
    CHECK(mine.sum == 12);
    CHECK(other.sum == 7);
    CHECK(other.op == &second);
    CHECK(other.parent_ip == mine.parent_ip);

    // The pointer is the user's, also while registered.
    op.private_data = &other;
    program::work(1);
    CHECK(mine.calls == 2);
    CHECK(other.calls == 3);
}

TEST_CASE("dynamic: many come, stay out of each other's way, and go", "[ops]") {
    constexpr std::size_t many = 60, together = 3;
    std::vector<counter> counters(many);
    std::vector<std::unique_ptr<ftrace_ops>> all;
    std::vector<registration> handles;
    for (std::size_t i = 0; i < many; ++i) {
        all.push_back(
            std::make_unique<ftrace_ops>(count, i % 2 == 0 ? ARGS : SAVE_REGS, &counters[i]));
        REQUIRE(all[i]->set_filter("program::work"));
        handles.push_back(register_ftrace_function(*all[i]).value());
        if (i >= together) all[i - together].reset();  // while registered
        program::work(1);
    }
    for (std::size_t i = 0; i < many; ++i)
        CHECK(counters[i].calls == static_cast<long>(std::min(together, many - i)));
    all.clear();
    CHECK(text::read_site(text::site_of(program::work)) == arch::nop_site);
}

TEST_CASE("dynamic: constant-initialised, so that constructors of globals may use it", "[ops]") {
    static constinit counter at_start;
    static constinit ftrace_ops op(count, ARGS, &at_start);
    static constinit ops<count> own;
    CHECK(op.private_data == &at_start);
    CHECK(own.private_data == nullptr);
    CHECK_FALSE(own.registered());
}

TEST_CASE("dynamic: without a callback it is refused", "[ops]") {
    ftrace_ops none(static_cast<ftrace_func_t>(nullptr));
    const auto refused = register_ftrace_function(none);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code == errc::invalid_argument);
}
