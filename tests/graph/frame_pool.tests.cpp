// A signal handler may leave the code that makes frames at any instruction, by siglongjmp().
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <x86intrin.h>

#include <catch2/catch_test_macros.hpp>
#include <cstdint>
#include <set>

#include "hand_hooked.hpp"
#include "sanitizers.hpp"

using namespace hand_hooked;

namespace {

using block = arch::return_block;

constexpr unsigned long long trap_flag = 0x100;
sigjmp_buf out;
volatile unsigned long steps, leave_at;
// Single steps begin behind one of the calls of mprotect(): what is in between takes a signal for each instruction, and
// most of it writes trampolines.
volatile unsigned protections, step_behind;

FTRACE_NO_INSTRUMENTATION void on_step(int, siginfo_t*, void*) {
    steps = steps + 1;
    if (steps == leave_at) siglongjmp(out, 1);  // the trap flag is off in handlers
}

}  // namespace

// In the place of libc's.
extern "C" FTRACE_NO_INSTRUMENTATION int mprotect(void* address, std::size_t size,
                                                  int access) noexcept {
    const long result = ::syscall(SYS_mprotect, address, size, access);
    protections = protections + 1;
    if (protections == step_behind) __writeeflags(__readeflags() | trap_flag);
    return static_cast<int>(result);
}

namespace {

detail::shadow_frame* take(detail::frame_pool& pool) {
    detail::shadow_frame* const frame = pool.first_free_or_new(nullptr);
    if (frame != nullptr) pool.take_first();
    return frame;
}

/// Takes a frame; leaves it at the n-th instruction behind the k-th mprotect(). False: it is done
/// before.
FTRACE_NO_INSTRUMENTATION __attribute__((noinline)) bool leaves(detail::frame_pool& pool,
                                                                unsigned k, unsigned long n) {
    steps = 0;
    protections = 0;
    leave_at = n;
    step_behind = k;
    if (sigsetjmp(out, 1) != 0) return true;
    (void)take(pool);
    __writeeflags(__readeflags() & ~trap_flag);
    step_behind = 0;
    return false;
}

/// Shadow stacks live in zeroed memory, as those here do.
detail::frame_pool& new_pool() {
    void* const memory = ::mmap(nullptr, sizeof(detail::frame_pool), PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    auto& pool = *static_cast<detail::frame_pool*>(memory);
    pool.take_from(state().blocks);
    return pool;
}

/// So many frames are there, each once, each with its trampoline.
bool has_frames(detail::frame_pool& pool, unsigned count) {
    std::set<const void*> seen;
    for (unsigned i = 0; i < count; ++i) {
        const detail::shadow_frame* const frame = take(pool);
        if (frame == nullptr || frame->ret != 0 || !seen.insert(frame).second) return false;
        const auto address = reinterpret_cast<std::uintptr_t>(frame);
        if (block::is_code(address) || !state().blocks.contains(address) ||
            block::block_of(address) + block::code_size == address)
            return false;
        static constexpr arch::return_trampoline pattern{};
        const auto* const code = reinterpret_cast<const unsigned char*>(frame->trampoline());
        if (*code != pattern.push_return.opcode[0]) return false;
    }
    return true;
}

void check_left_after(unsigned taken_before, unsigned calls) {
    for (unsigned k = 1; k <= calls; ++k) {
        // Behind the last call until it is done, which is sooner.
        const unsigned long most = k == calls ? 2000 : 150;
        unsigned long n = 0;
        for (bool left = true; left && n < most;) {
            detail::frame_pool& pool = new_pool();
            REQUIRE(has_frames(pool, taken_before));
            left = leaves(pool, k, ++n);
            CAPTURE(k, n);
            REQUIRE(has_frames(pool, 1500));
        }
        CHECK((n < most || k != calls));
        CHECK(n > 10);
    }
}

}  // namespace

TEST_CASE("frame pool: left at any instruction, it goes on", "[graph]") {
    if (built_with::thread_sanitizer || built_with::address_sanitizer) {
        WARN("not tested: sanitizers' runtimes are not made to be left at any instruction");
        return;
    }
    struct sigaction action{}, before;
    action.sa_sigaction = on_step;
    action.sa_flags = SA_SIGINFO;
    REQUIRE(::sigaction(SIGTRAP, &action, &before) == 0);
    (void)state();  // has the first block's first page
    REQUIRE(has_frames(new_pool(), 1));
    SECTION("a block's first page") { check_left_after(0, 3); }
    SECTION("the rest of the block") { check_left_after(63, 2); }
    SECTION("the next block") { check_left_after(1023, 3); }
    ::sigaction(SIGTRAP, &before, nullptr);
}
