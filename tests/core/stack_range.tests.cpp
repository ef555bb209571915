#include <ftrace/core/stack_range.hpp>

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <ftrace/core/stack_pointer.hpp>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "tests/patch/child.hpp"

using namespace ftrace::detail;

namespace {

constexpr std::uintptr_t page = 4096;

std::uintptr_t address_of(const volatile void* place) {
    return reinterpret_cast<std::uintptr_t>(place);
}

/// Not a local: a sanitizer may have moved that off the stack.
__attribute__((noinline)) std::uintptr_t on_the_stack() { return this_frame(); }

/// Runs `work` on a signal stack, and says where that was.
template <class Work>
std::uintptr_t on_a_signal_stack(Work work) {
    static Work* todo;
    static std::uintptr_t where;
    todo = &work;
    std::vector<char> memory(std::size_t{256} << 10);
    stack_t stack = {}, before = {};
    stack.ss_sp = memory.data();
    stack.ss_size = memory.size();
    ::sigaltstack(&stack, &before);
    struct sigaction action = {}, action_before = {};
    action.sa_flags = SA_ONSTACK;
    action.sa_handler = [](int) {
        where = on_the_stack();
        (*todo)();
    };
    ::sigaction(SIGUSR1, &action, &action_before);
    ::raise(SIGUSR1);
    ::sigaction(SIGUSR1, &action_before, nullptr);
    ::sigaltstack(&before, nullptr);
    CHECK(where - address_of(memory.data()) < memory.size());
    return where;
}

}  // namespace

TEST_CASE("stack_range: of the first thread", "[core][stack]") {
    const known_stacks stacks;
    const stack_range mine = stacks.of_this_thread();
    CHECK(mine.contains(on_the_stack()));
    CHECK(mine.contains(on_the_stack() - (std::uintptr_t{100} << 20)));
    const auto other = std::make_unique<int>();
    CHECK_FALSE(mine.contains(address_of(other.get())));
    CHECK_FALSE(mine.contains(address_of(::environ[0])));

    stack_range on_signal{};
    const std::uintptr_t where = on_a_signal_stack([&] { on_signal = stacks.of_this_thread(); });
    CHECK(on_signal.begin == mine.begin);
    CHECK(on_signal.end == mine.end);
    CHECK_FALSE(mine.contains(where));
}

TEST_CASE("stack_range: of other threads", "[core][stack]") {
    const known_stacks stacks;
    std::uintptr_t first_place = 0;
    stack_range first{}, second{};
    std::thread([&] {
        first_place = on_the_stack();
        first = stacks.of_this_thread();
        CHECK(first.contains(first_place));
        CHECK_FALSE(first.contains(on_the_stack() + (std::size_t{8} << 20)));
        std::thread([&] {
            second = stacks.of_this_thread();
            CHECK(second.contains(on_the_stack()));
            CHECK_FALSE(second.contains(first_place));
        }).join();
        CHECK_FALSE(first.contains(second.end - 1));
        stack_range on_signal{};
        on_a_signal_stack([&] { on_signal = stacks.of_this_thread(); });
        CHECK(on_signal.begin == first.begin);
        CHECK(on_signal.end == first.end);
    }).join();
    CHECK_FALSE(first.contains(on_the_stack()));
}

TEST_CASE("stack_range: of a process's first thread that another thread forked", "[core][stack]") {
    const known_stacks stacks;
    child::outcome seen{};
    std::thread([&] {
        seen = child::run([&](int) -> std::string {
            const known_stacks of_the_child;
            const bool known = stacks.of_this_thread().contains(on_the_stack());
            const stack_range unknown = of_the_child.of_this_thread();
            return std::string(known ? "known" : "not known") +
                   (unknown.begin == unknown.end ? ", empty" : ", guessed");
        });
    }).join();
    CHECK(seen.status == 0);
    CHECK(seen.text == "known, empty");
    // And the first thread's child.
    seen = child::run([&](int) -> std::string {
        return stacks.of_this_thread().contains(on_the_stack()) ? "known" : "not known";
    });
    CHECK(seen.text == "known");
}

TEST_CASE("stack_range: what was left behind", "[core][stack]") {
    void* const memory =
        ::mmap(nullptr, 8 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(memory != MAP_FAILED);
    const std::uintptr_t begin = address_of(memory);
    const stack_range stack{begin, begin + 8 * page};
    CHECK(left_behind(stack, begin + 100, begin + 108));
    CHECK(left_behind(stack, begin + 100, begin + 100));
    CHECK_FALSE(left_behind(stack, begin + 108, begin + 100));
    CHECK(left_behind(stack, begin, begin + 8 * page - 8));
    CHECK_FALSE(left_behind(stack, begin - 8, begin + 8));
    CHECK_FALSE(left_behind(stack, begin, begin + 8 * page));
    CHECK_FALSE(left_behind({}, begin, begin + 8));
    CHECK_FALSE(left_behind(stack, 0, begin + 8));

    // Two stacks with a guard page between them.
    REQUIRE(::mprotect(reinterpret_cast<void*>(begin + 3 * page), page, PROT_NONE) == 0);
    CHECK_FALSE(left_behind(stack, begin, begin + 8 * page - 8));
    CHECK_FALSE(left_behind(stack, begin + 3 * page - 8, begin + 4 * page));
    CHECK(left_behind(stack, begin + 4 * page, begin + 8 * page - 8));
    CHECK(left_behind(stack, begin, begin + 3 * page - 8));
    errno = ENOTTY;
    CHECK_FALSE(left_behind(stack, begin, begin + 5 * page));
    CHECK(errno == ENOTTY);
    ::munmap(memory, 8 * page);
}

TEST_CASE("stack_pointer: what /proc says of a thread", "[core][stack]") {
    CHECK(stack_pointer_in("0 0x3 0x7f12f9050000 0x20000 0x7f12f90e1b60 0xffffffff 0x0 "
                           "0x7ffdc19a4fb8 0x7f12f91ca2ad\n") == 0x7ffdc19a4fb8);
    CHECK(stack_pointer_in("-1 0x7ffdc19a4fb8 0x7f12f91ca2ad\n") == 0x7ffdc19a4fb8);
    CHECK(stack_pointer_in("running\n") == 0);
    CHECK(stack_pointer_in("") == 0);
    CHECK(waiting_stack_pointer(::getpid()) < on_the_stack());  // reading

    int pipes[2];
    REQUIRE(::pipe(pipes) == 0);
    std::atomic<pid_t> tid{0};
    std::uintptr_t frame = 0;
    std::thread waiting([&] {
        frame = this_frame();
        tid = ::gettid();
        char byte;
        CHECK(::read(pipes[0], &byte, 1) == 1);
    });
    std::uintptr_t pointer = 0;
    while (tid == 0) std::this_thread::yield();
    if (::access(("/proc/self/task/" + std::to_string(tid) + "/syscall").c_str(), R_OK) != 0) {
        WARN("not tested: no /proc");
    } else {
        while (pointer == 0) pointer = waiting_stack_pointer(tid);
        CHECK(pointer < frame);
        CHECK(frame - pointer < 64 * page);
    }
    CHECK(::write(pipes[1], "", 1) == 1);
    waiting.join();
    CHECK(waiting_stack_pointer(5'000'000) == 0);  // PID_MAX_LIMIT is 4194304
}
