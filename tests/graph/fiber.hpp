// A fiber by <ucontext.h>.
#pragma once

#include <setjmp.h>
#include <ucontext.h>

#include <cstddef>
#include <cstdint>
#include <vector>

namespace plain {

// Gives the thread away and gets it back, on a stack of its own or on one that was another's.
class fiber {
public:
    static constexpr std::size_t stack_size = 256 * 1024;

    explicit fiber(int (*body)(fiber&)) : own_(stack_size) { start(body, own_.data()); }
    fiber(int (*body)(fiber&), fiber& before) { start(body, before.own_.data()); }

    void resume() { ::swapcontext(&outside_, &inside_); }
    void yield() { ::swapcontext(&inside_, &outside_); }

    int result = 0;  ///< of the body
    jmp_buf target{};

private:
    void start(int (*body)(fiber&), std::byte* stack) {
        body_ = body;
        ::getcontext(&inside_);
        inside_.uc_stack.ss_sp = stack;
        inside_.uc_stack.ss_size = stack_size;
        inside_.uc_link = &outside_;
        const auto self = reinterpret_cast<std::uintptr_t>(this);
        ::makecontext(&inside_, reinterpret_cast<void (*)()>(&run), 2, static_cast<int>(self >> 32),
                      static_cast<int>(self));
    }
    static void run(int high, int low) {
        auto* const self = reinterpret_cast<fiber*>((static_cast<std::uintptr_t>(high) << 32) |
                                                    static_cast<unsigned>(low));
        self->result = self->body_(*self);
    }

    std::vector<std::byte> own_;
    ucontext_t inside_{}, outside_{};
    int (*body_)(fiber&) = nullptr;
};

}  // namespace plain
