// Frames are kept as long as somebody reads them, and nothing is lost where a call or a registration fails.
#include <ftrace/graph/fgraph.hpp>

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>

#include "sanitizers.hpp"

namespace program {

#define PROGRAM __attribute__((noinline))

PROGRAM int handled(int more) {
    int below = more == 0 ? 0 : handled(more - 1);
    __asm__ volatile("" : "+r"(below));
    return below + 1;
}
PROGRAM int throws(int more) {
    if (more == 0) throw more;
    int below = throws(more - 1);
    __asm__ volatile("" : "+r"(below));
    return below;
}
PROGRAM void nests(int more) {
    if (more != 0) nests(more - 1);
    __asm__ volatile("" ::: "memory");
}

PROGRAM int calls_and_throws(int more) {
    if (more == 0) {
        nests(0);
        throw more;
    }
    int below = calls_and_throws(more - 1);
    __asm__ volatile("" : "+r"(below));
    return below;
}

}  // namespace program

namespace {

using namespace ftrace;

long ends[6];
void count(const ftrace_graph_ret& call, fgraph_ops&, ftrace_regs&) noexcept {
    ++ends[static_cast<int>(call.end)];
}
long ended(graph_end how) { return ends[static_cast<int>(how)]; }

sigjmp_buf out_of_callback;
int turn;  // a local one would be lost by the jump
// Far below: unregister(), called from above, sees that the callbacks are over.
__attribute__((noinline)) void call_far_below(int times) {
    char room[16'384];
    __asm__ volatile("" : : "r"(room) : "memory");
    for (turn = 0; turn < times; ++turn)
        if (sigsetjmp(out_of_callback, 1) == 0) program::nests(0);
}

template <class Child>
int status_of(Child child) {
    const pid_t pid = ::fork();
    if (pid == 0) {
        child();
        ::_exit(0);
    }
    int status = -1;
    ::waitpid(pid, &status, 0);
    return status;
}

// The trap flag: a signal behind each instruction.
volatile bool stepping;
volatile long steps;
FTRACE_NOTRACE void on_step(int, siginfo_t*, void* context) {
    constexpr greg_t trap = 0x100;
    steps = steps + 1;
    program::handled(3);
    if (!stepping) static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_EFL] &= ~trap;
}
FTRACE_NOTRACE __attribute__((noinline)) bool caught_while_stepping() {
    try {
        stepping = true;
        __asm__ volatile("pushfq\n orq $0x100, (%%rsp)\n popfq" ::: "memory", "cc");
        program::throws(3);
    } catch (int) {
        stepping = false;
        return true;
    }
    return false;
}

}  // namespace

TEST_CASE("kept frames: handlers with hooked calls at every instruction of an exception's way",
          "[graph]") {
    if (built_with::address_sanitizer || built_with::thread_sanitizer) {
        WARN(
            "not tested: a sanitizer's runtime is not made to be entered between any instructions");
        return;
    }
    static fgraph_ops ops(nullptr, count);
    REQUIRE(ops.ops.set_filter("program::handled"));
    REQUIRE(ops.ops.set_filter("program::throws"));
    const auto registered = register_ftrace_graph(ops);
    REQUIRE(registered);
    try {
        program::throws(1);  // what is done only once
    } catch (int) {
    }
    struct sigaction action{};
    action.sa_sigaction = on_step;
    action.sa_flags = SA_SIGINFO;
    REQUIRE(::sigaction(SIGTRAP, &action, nullptr) == 0);
    const long before = ended(graph_end::exception);
    CHECK(caught_while_stepping());
    CHECK(steps > 1000);
    CHECK(ended(graph_end::exception) - before == 4);
    CHECK(ended(graph_end::longjmp) == 0);
    // Each handler's calls were hooked, but for those that came while a stub worked.
    CHECK(ended(graph_end::returned) % 4 == 0);
    CHECK(ended(graph_end::returned) > steps);
    action.sa_handler = SIG_DFL;
    ::sigaction(SIGTRAP, &action, nullptr);
}

TEST_CASE("kept frames: exceptions by the thousand take no more memory than one", "[graph]") {
    static fgraph_ops ops(nullptr, count);
    REQUIRE(ops.ops.set_filter("program::throws"));
    const auto registered = register_ftrace_graph(ops);
    REQUIRE(registered);
    const auto blocks_used = [] { return detail::shared_graph()->blocks.opened(); };
    const std::size_t before = blocks_used();
    for (int i = 0; i < 20'000; ++i) {
        try {
            program::throws(i % 7);
        } catch (int) {
        }
    }
    CHECK(blocks_used() - before <= 1);
}

// A frame is at hand for each outermost call, which gives back none of those that wait below it.
TEST_CASE("kept frames: exceptions after a call that returned take no more memory either",
          "[graph]") {
    static fgraph_ops ops(nullptr, count);
    REQUIRE(ops.ops.set_filter("program::calls_and_throws; program::nests"));
    const auto registered = register_ftrace_graph(ops);
    REQUIRE(registered);
    const auto blocks_used = [] { return detail::shared_graph()->blocks.opened(); };
    const std::size_t before = blocks_used();
    for (int i = 0; i < 1000; ++i) {
        try {
            program::calls_and_throws(100);
        } catch (int) {
        }
    }
    CHECK(blocks_used() - before <= 1);
}

TEST_CASE("kept frames: callbacks that are left by siglongjmp keep none", "[graph]") {
    struct sigaction action{}, before;
    action.sa_handler = [](int) { siglongjmp(out_of_callback, 1); };
    REQUIRE(::sigaction(SIGUSR1, &action, &before) == 0);
    const auto leaves_entry = [](const ftrace_graph_ent&, fgraph_ops&, ftrace_regs&) noexcept {
        ::raise(SIGUSR1);
        return true;
    };
    const auto leaves_end = [](const ftrace_graph_ret&, fgraph_ops&, ftrace_regs&) noexcept {
        ::raise(SIGUSR1);
    };
    fgraph_ops at_entry(leaves_entry, count);
    fgraph_ops limited(leaves_entry, count, nullptr, {.max_depth = 100});
    fgraph_ops at_end(nullptr, leaves_end);
    for (fgraph_ops* const ops : {&at_entry, &limited, &at_end}) {
        REQUIRE(ops->ops.set_filter("program::nests"));
        const auto registered = register_ftrace_graph(*ops);
        REQUIRE(registered);
        const std::size_t used = detail::shared_graph()->blocks.opened();
        call_far_below(3000);
        CHECK(detail::shared_graph()->blocks.opened() - used <= 1);
    }
    ::sigaction(SIGUSR1, &before, nullptr);
}

TEST_CASE("kept frames: blocks that cannot be had are not lost", "[graph]") {
    if (built_with::address_sanitizer || built_with::thread_sanitizer) {
        WARN("not tested: sanitizers do not live with a limit of memory");
        return;
    }
    static fgraph_ops ops(nullptr, count);
    REQUIRE(ops.ops.set_filter("program::nests"));
    const auto registered = register_ftrace_graph(ops);
    REQUIRE(registered);
    const int status = status_of([] {
        rlimit limit;
        ::getrlimit(RLIMIT_DATA, &limit);
        rlimit low = limit;
        low.rlim_cur = 4096;
        ::setrlimit(RLIMIT_DATA, &low);
        // More calls than there are blocks.
        for (int i = 0; i < 400; ++i) program::nests(4'000);
        ::setrlimit(RLIMIT_DATA, &limit);
        if (ftrace_graph_statistics().overruns < detail::block_pool::most) ::_exit(2);
        const auto overruns = ftrace_graph_statistics().overruns;
        program::nests(4'000);
        ::_exit(ftrace_graph_statistics().overruns == overruns ? 0 : 3);
    });
    CHECK(status == 0);
}

TEST_CASE("kept frames: a registration that fails leaves no key of the thread's", "[graph]") {
    const int status = status_of([] {
        // In a program that has no graph yet: one that forbids memory to become executable.
        constexpr int set_mdwe = 65, refuse_exec_gain = 1;
        if (::prctl(set_mdwe, refuse_exec_gain, 0, 0, 0) != 0) ::_exit(4);
        const auto next_key = [] {
            pthread_key_t key = 0;
            ::pthread_key_create(&key, nullptr);
            ::pthread_key_delete(key);
            return key;
        };
        detail::process_state& process = *detail::process();
        process.graph = nullptr;
        detail::graph_shortcut = nullptr;
        const pthread_key_t before = next_key();
        static fgraph_ops ops(nullptr, count);
        for (int i = 0; i < 3; ++i) {
            auto refused = register_ftrace_graph(ops);
            if (refused || refused.error().code != errc::permission_denied) ::_exit(5);
        }
        ::_exit(next_key() == before ? 0 : 6);
    });
    if (status == 4 << 8) {
        WARN("not tested: this kernel has no PR_SET_MDWE");
        return;
    }
    CHECK(status == 0);
}
