// A callback reads the arguments of the function it was called for, by the types of its signature.
#include <ftrace/ftrace.hpp>

#include <cstdio>
#include <string_view>

struct point {
    double x, y;
};

class canvas {
public:
    __attribute__((noinline)) void draw(std::string_view shape, point at, float scale, int layer) {
        std::printf("  drawing %.*s number %d\n", static_cast<int>(shape.size()), shape.data(),
                    ++drawn_);
        last_ = {at.x * static_cast<double>(scale), at.y * layer};
    }
    const char* name = "the canvas";

private:
    int drawn_ = 0;
    point last_ = {};
};

// Index 0 is `this`, as in the machine's registers; classes come by value, floating point from the
// vector registers.
void on_draw(unsigned long, unsigned long, ftrace::ftrace_ops&,
             ftrace::ftrace_regs& regs) noexcept {
    canvas* const self = ftrace::regs_get_argument<0, &canvas::draw>(regs);
    const std::string_view shape = ftrace::regs_get_argument<1, &canvas::draw>(regs);
    const point at = ftrace::regs_get_argument<2, &canvas::draw>(regs);
    const float scale = ftrace::regs_get_argument<3, &canvas::draw>(regs);
    const int layer = ftrace::regs_get_argument<4, &canvas::draw>(regs);
    std::printf("-> draw on %s: a %.*s at (%g, %g), scale %g, layer %d\n", self->name,
                static_cast<int>(shape.size()), shape.data(), at.x, at.y,
                static_cast<double>(scale), layer);
}

static ftrace::ops<on_draw> tracer;

int main() {
    if (auto set = tracer.set_filter("canvas::draw"); !set)
        return std::puts(set.error().message.c_str()), 1;
    auto traced = ftrace::register_ftrace_function(tracer);
    if (!traced) return std::puts(traced.error().message.c_str()), 1;

    canvas c;
    c.draw("circle", {1.5, -2}, 0.5f, 3);
    c.draw("square", {100, 200}, 2.0f, -1);
}
