// Functions with the nops of gcc's -pg -mfentry -mnop-mcount -mrecord-mcount: traced, and untraced again.
// fentry.sh builds it. Ends with 0 if all is right, else says what is not.
#include <cstdio>
#include <cstring>
#include <ftrace/ftrace.hpp>
#include <string_view>

#include "tests/patch/program.hpp"

namespace program {

struct point {
    double x;
    long y;
};
PROGRAM int add(int a, int b) {
    TOUCH_MEMORY;
    return a + b;
}
PROGRAM double scale(point p, double by, std::string_view name) {
    TOUCH_MEMORY;
    return (p.x + static_cast<double>(p.y)) * by + static_cast<double>(name.size());
}
struct counter {
    long value;
    PROGRAM long next(long step) {
        TOUCH_MEMORY;
        return value += step;
    }
};

}  // namespace program

namespace {

int failures = 0;
void expect(bool right, const char* what) {
    if (right) return;
    std::printf("not so: %s\n", what);
    ++failures;
}
#define EXPECT(...) expect(__VA_ARGS__, #__VA_ARGS__)

unsigned calls_of_add, calls_of_scale, calls_of_next, full_sets;
int a, b;
program::point p;
double by;
std::string_view name;
program::counter* self;
bool change;

void on_add(unsigned long, unsigned long, ftrace::ftrace_ops&, ftrace::ftrace_regs& regs) noexcept {
    ++calls_of_add;
    a = ftrace::regs_get_argument<0, &program::add>(regs);
    b = ftrace::regs_get_argument<1, &program::add>(regs);
    if (change) ftrace::regs_set_argument<1, &program::add>(regs, 40);
    if (ftrace::get_regs(regs) != nullptr) ++full_sets;
}
void on_scale(unsigned long, unsigned long, ftrace::ftrace_ops&, ftrace::args_regs& regs) noexcept {
    ++calls_of_scale;
    p = ftrace::regs_get_argument<0, &program::scale>(regs);
    by = ftrace::regs_get_argument<1, &program::scale>(regs);
    name = ftrace::regs_get_argument<2, &program::scale>(regs);
}
void on_next(unsigned long, unsigned long, ftrace::ftrace_ops&, ftrace::full_regs& regs) noexcept {
    ++calls_of_next;
    self = ftrace::regs_get_argument<0, &program::counter::next>(regs);
    const ftrace::pt_regs& all = ftrace::get_regs(regs);
    if (all.di == reinterpret_cast<unsigned long>(self) && all.si == 5) ++full_sets;
}

/// The functions' first bytes.
struct entries {
    unsigned char bytes[2][16];
    entries() {
        std::memcpy(bytes[0], reinterpret_cast<const void*>(&program::add), 16);
        std::memcpy(bytes[1], reinterpret_cast<const void*>(&program::scale), 16);
    }
    bool operator==(const entries& other) const {
        return std::memcmp(bytes, other.bytes, sizeof bytes) == 0;
    }
};

template <class Ops>
ftrace::registration trace(Ops& op, const char* filter) {
    const auto matched = op.set_filter(filter);
    if (!matched) std::puts(matched.error().message.c_str());
    EXPECT(matched && *matched == 1);
    auto registered = ftrace::register_ftrace_function(op);
    if (!registered) {
        std::puts(registered.error().message.c_str());
        ++failures;
        return {};
    }
    return std::move(*registered);
}

bool calls_are_right() {
    program::counter c{10};
    return program::add(1, 2) == (change ? 41 : 3) && program::scale({1.5, 2}, 2, "four") == 11 &&
           c.next(5) == 15;
}

}  // namespace

int main() {
    EXPECT(calls_are_right());
    entries traced, idle;
    for (int round = 0; round < 2; ++round) {
        calls_of_add = calls_of_scale = calls_of_next = full_sets = 0;
        {
            static ftrace::ops<on_add> add_by_args;
            static ftrace::ops<on_scale> scale_by_args;
            static ftrace::ops<on_next, ftrace::SAVE_REGS> next_by_regs;
            const auto one = trace(add_by_args, "program::add");
            const auto two = trace(scale_by_args, "program::scale");
            const auto three = trace(next_by_regs, "program::counter::next");
            change = false;
            EXPECT(calls_are_right());
            EXPECT(a == 1 && b == 2);
            EXPECT(p.x == 1.5 && p.y == 2 && by == 2 && name == "four");
            change = true;
            EXPECT(calls_are_right());
            EXPECT(calls_of_add == 2 && calls_of_scale == 2 && calls_of_next == 2);
            EXPECT(full_sets == 2);
            // A list, with all registers saved.
            static ftrace::ops<on_add, ftrace::SAVE_REGS> add_by_regs;
            const auto four = trace(add_by_regs, "program::add");
            EXPECT(calls_are_right());
            EXPECT(calls_of_add == 4 && full_sets == 5);
            traced = entries();
        }
        change = false;
        calls_of_add = 0;
        EXPECT(calls_are_right());
        EXPECT(calls_of_add == 0);
        // The nop may be another one now, but no call.
        EXPECT(entries() != traced);
        EXPECT(round == 0 || entries() == idle);
        idle = entries();
    }
    return failures == 0 ? 0 : 1;
}
