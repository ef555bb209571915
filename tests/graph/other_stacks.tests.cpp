#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <catch2/catch_test_macros.hpp>
#include <thread>
#include <vector>

#include "hand_hooked.hpp"

using namespace hand_hooked;

namespace {

HOOKED int nested(int frames) {
    HOOK_RETURN(gops(), 1);
    if (frames == 0) return 0;
    int below = nested(frames - 1);
    __asm__ volatile("" : "+r"(below));
    return below + 1;
}

int result_in_handler;
void on_signal(int) { result_in_handler = nested(5); }

HOOKED int raises(int frames) {
    HOOK_RETURN(gops(), 2);
    if (frames == 0) {
        ::raise(SIGUSR1);
        return 0;
    }
    int below = raises(frames - 1);
    __asm__ volatile("" : "+r"(below));
    return below + 1;
}

void install(void* stack, std::size_t size) {
    stack_t alternate{};
    alternate.ss_sp = stack;
    alternate.ss_size = size;
    alternate.ss_flags = stack == nullptr ? SS_DISABLE : 0;
    REQUIRE(::sigaltstack(&alternate, nullptr) == 0);
    struct sigaction action{};
    action.sa_handler = on_signal;
    action.sa_flags = SA_ONSTACK;
    REQUIRE(::sigaction(SIGUSR1, &action, nullptr) == 0);
}

constexpr std::size_t stack_size = 256 * 1024;

// A fiber that runs hooked functions and gives the thread away in the middle of them.
struct fiber {
    ucontext_t mine{}, outside{};
    int result = 0;
    void start(void* stack) {
        ::getcontext(&mine);
        mine.uc_stack.ss_sp = stack;
        mine.uc_stack.ss_size = stack_size;
        mine.uc_link = &outside;
        ::makecontext(&mine, reinterpret_cast<void (*)()>(&run), 2,
                      static_cast<int>(reinterpret_cast<std::uintptr_t>(this) >> 32),
                      static_cast<int>(reinterpret_cast<std::uintptr_t>(this)));
    }
    void resume() { ::swapcontext(&outside, &mine); }
    void yield() { ::swapcontext(&mine, &outside); }
    static void run(int high, int low) {
        auto* const self = reinterpret_cast<fiber*>((static_cast<std::uintptr_t>(high) << 32) |
                                                    static_cast<unsigned>(low));
        self->result = body(*self, 10);
    }
    HOOKED static int body(fiber& self, int frames) {
        HOOK_RETURN(gops(), 3);
        self.yield();
        if (frames == 0) return 0;
        int below = body(self, frames - 1);
        __asm__ volatile("" : "+r"(below));
        self.yield();
        return below + 1;
    }
};

HOOKED int resumes(fiber& one, fiber& other, int frames) {
    HOOK_RETURN(gops(), 4);
    one.resume();
    nested(frames);
    other.resume();
    if (frames == 0) return 0;
    int below = resumes(one, other, frames - 1);
    __asm__ volatile("" : "+r"(below));
    return below + 1;
}

}  // namespace

TEST_CASE("shadow stack: a handler on its own stack sees depths go on, and loses nothing",
          "[graph]") {
    gops();
    std::vector<std::byte> heap(stack_size);
    void* const mapped =
        ::mmap(nullptr, stack_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(mapped != MAP_FAILED);
    for (void* const stack :
         {static_cast<void*>(nullptr), static_cast<void*>(heap.data()), mapped}) {
        install(stack, stack_size);
        const std::uint64_t unreturned_before = unreturned();
        const counts before;
        std::vector<int> depths;
        depths.reserve(64);  // not in a signal handler
        return_depths = &depths;
        result_in_handler = -1;
        const int result = raises(3);
        return_depths = nullptr;
        CHECK(result == 3);
        CHECK(result_in_handler == 5);
        CHECK(before.new_returns() == 10);
        CHECK(unreturned() == unreturned_before);
        CHECK(depths == std::vector<int>{9, 8, 7, 6, 5, 4, 3, 2, 1, 0});
    }
    install(nullptr, 0);
    ::munmap(mapped, stack_size);
}

namespace {
// The handler's stack lies above the frames it interrupts, inside the same stack.
HOOKED int raises_above() {
    alignas(16) std::byte inside[stack_size];
    install(inside, sizeof inside);
    int result = raises(3);
    install(nullptr, 0);
    return result;
}
}  // namespace

TEST_CASE("shadow stack: a handler's stack inside the thread's own is another one", "[graph]") {
    const std::uint64_t unreturned_before = unreturned();
    const counts before;
    result_in_handler = -1;
    CHECK(raises_above() == 3);
    CHECK(result_in_handler == 5);
    CHECK(before.new_entries() == 10);
    CHECK(before.new_returns() == 10);
    CHECK(unreturned() == unreturned_before);
    CHECK(nested(0) == 0);
    CHECK(last_return.depth == 0);
}

TEST_CASE("shadow stack: fibers interleave, and every call returns where it came from", "[graph]") {
    std::vector<std::byte> stacks[2] = {std::vector<std::byte>(stack_size),
                                        std::vector<std::byte>(stack_size)};
    fiber one, other;
    one.start(stacks[0].data());
    other.start(stacks[1].data());
    const counts before;
    CHECK(resumes(one, other, 21) == 21);
    CHECK(one.result == 10);
    CHECK(other.result == 10);
    CHECK(before.new_returns() == before.new_entries());
    CHECK(nested(1) == 1);
    CHECK(last_return.depth == 0);
}

TEST_CASE("shadow stack: a fiber that moves to other threads returns right", "[graph]") {
    std::vector<std::byte> stack(stack_size);
    fiber moving;
    moving.start(stack.data());
    for (int i = 0; i < 21; ++i)
        std::thread([&] {
            nested(3);
            moving.resume();
            nested(3);
        }).join();
    CHECK(moving.result == 0);
    // Its frames outlive their threads, whose regions serve others in between.
    for (int i = 0; i < 1000; ++i) std::thread([] { nested(20); }).join();
    detail::process()->threads.release_dead();
    std::thread([] { nested(20); }).join();
    moving.resume();
    CHECK(moving.result == 10);
}
