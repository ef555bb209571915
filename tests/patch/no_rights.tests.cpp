// Where the system forbids changing text: an error with the cause, and the program runs on.
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_all.hpp>
#include <cerrno>
#include <cstddef>
#include <ftrace/ftrace.hpp>
#include <iterator>
#include <string>
#include <thread>

#include "child.hpp"
#include "program.hpp"
#include "sanitizers.hpp"
#include "text.hpp"

using namespace ftrace;
using Catch::Matchers::ContainsSubstring;

namespace program {

PROGRAM int work() {
    TOUCH_MEMORY;
    return 4;
}

}  // namespace program

namespace {

constexpr rlim_t page_size = 4096;

volatile int calls;
void count(unsigned long, unsigned long, ftrace_ops&, ftrace_regs&) noexcept { calls = calls + 1; }

bool deny_write_execute() {
    constexpr int set_mdwe = 65, refuse_exec_gain = 1;  // Linux 6.3
    return ::prctl(set_mdwe, refuse_exec_gain, 0, 0, 0) == 0;
}

/// The same, and not for the programs it starts.
bool deny_write_execute_here() {
    constexpr int set_mdwe = 65, refuse_exec_gain = 1, no_inherit = 2;  // Linux 6.6
    return ::prctl(set_mdwe, refuse_exec_gain | no_inherit, 0, 0, 0) == 0;
}

/// No memory for copies of the text's pages; and a filter that has nothing to do with it.
bool limit_data() {
    const rlimit few{page_size, page_size};
    return ::setrlimit(RLIMIT_DATA, &few) == 0;
}
bool limit_data_under_filter() { return child::forbid({SYS_reboot}) && limit_data(); }

/// EPERM for each mprotect(.., .., PROT_WRITE | PROT_EXEC).
bool filter_mprotect() {
    constexpr unsigned both = PROT_WRITE | PROT_EXEC;
    sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, arch)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 0, 5),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mprotect, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args[2])),
        BPF_STMT(BPF_ALU | BPF_AND | BPF_K, both),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, both, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
    };
    const sock_fprog filter{static_cast<unsigned short>(std::size(program)), program};
    return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0) == 0;
}

/// Registers `op` twice under a restriction; what happened, as text.
std::string registered_under(bool (*restriction)(), ftrace_ops& op) {
    if (!op.set_filter("program::work")) return "filters do not work";
    if (!restriction()) return "unsupported";
    const text::site_bytes before = text::read_site(text::site_of(program::work));
    const auto handle = register_ftrace_function(op);
    if (handle) return "registered";
    if (program::work() != 4 || calls != 0) return "the program is not what it was";
    if (!(text::read_site(text::site_of(program::work)) == before)) return "text was changed";
    const auto again = register_ftrace_function(op);
    if (again || again.error().message != handle.error().message) return "another second answer";
    if (op.registered() || program::work() != 4) return "the program is not what it was";
    return std::string(to_string(handle.error().code)) + ": " + handle.error().message;
}

/// Tracing was on before the restriction came.
std::string unregistered_under(bool (*restriction)(), ftrace_ops& op) {
    if (!op.set_filter("program::work")) return "filters do not work";
    auto handle = register_ftrace_function(op);
    if (!handle) return handle.error().message;
    if (!restriction()) return "unsupported";
    if (program::work() != 4 || calls != 1) return "not traced";
    const auto done = handle->unregister();
    if (done) return "unregistered";
    // The site still calls its stub, which finds nobody to call.
    if (program::work() != 4 || calls != 1) return "called after unregister";
    return std::string(to_string(done.error().code)) + ": " + done.error().message;
}

}  // namespace

TEST_CASE("no rights: PR_SET_MDWE", "[patch][rights]") {
    for (const bool with_own_stub : {true, false}) {
        CAPTURE(with_own_stub);
        const child::outcome seen = child::run([&](int) {
            ops<count> own;
            ftrace_ops dynamic(count);
            return registered_under(deny_write_execute,
                                    with_own_stub ? static_cast<ftrace_ops&>(own) : dynamic);
        });
        CHECK(seen.status == 0);
        if (seen.text == "unsupported") {
            WARN("not tested: this kernel has no PR_SET_MDWE (6.3)");
            return;
        }
        CHECK_THAT(seen.text, ContainsSubstring("permission_denied: "));
        CHECK_THAT(seen.text, ContainsSubstring("PR_SET_MDWE"));
    }
}

TEST_CASE("no rights: a seccomp filter on mprotect", "[patch][rights]") {
    for (const bool with_own_stub : {true, false}) {
        CAPTURE(with_own_stub);
        const child::outcome seen = child::run([&](int) {
            ops<count> own;
            ftrace_ops dynamic(count);
            return registered_under(filter_mprotect,
                                    with_own_stub ? static_cast<ftrace_ops&>(own) : dynamic);
        });
        CHECK(seen.status == 0);
        CHECK_THAT(seen.text, ContainsSubstring("permission_denied: "));
        CHECK_THAT(seen.text, ContainsSubstring("seccomp"));
        CHECK_THAT(seen.text, ContainsSubstring("mprotect"));
    }
}

TEST_CASE("no rights: rights that go while an ops is registered", "[patch][rights]") {
    const child::outcome seen = child::run([](int) {
        ops<count> op;
        return unregistered_under(filter_mprotect, op);
    });
    CHECK(seen.status == 0);
    CHECK_THAT(seen.text, ContainsSubstring("permission_denied: "));
    CHECK_THAT(seen.text, ContainsSubstring("seccomp"));
}

TEST_CASE("no rights: PR_SET_MDWE that is not inherited", "[patch][rights]") {
    const child::outcome seen = child::run([](int) {
        ops<count> op;
        return registered_under(deny_write_execute_here, op);
    });
    CHECK(seen.status == 0);
    if (seen.text == "unsupported") {
        WARN("not tested: this kernel has no PR_MDWE_NO_INHERIT (6.6)");
        return;
    }
    CHECK_THAT(seen.text, ContainsSubstring("permission_denied: "));
    CHECK_THAT(seen.text, ContainsSubstring("PR_SET_MDWE"));
}

TEST_CASE("no rights: no memory is no missing right", "[patch][rights]") {
    if (built_with::thread_sanitizer) {
        WARN("not tested: ThreadSanitizer itself needs memory for the call");
        return;
    }
    for (const auto restriction : {limit_data, limit_data_under_filter}) {
        const child::outcome seen = child::run([&](int) {
            ops<count> op;
            return registered_under(restriction, op);
        });
        CHECK(seen.status == 0);
        CHECK_THAT(seen.text, ContainsSubstring("out_of_memory: "));
        CHECK_THAT(seen.text, ContainsSubstring("no memory"));
        CHECK_THAT(seen.text, !ContainsSubstring("seccomp"));
    }
}

TEST_CASE("no rights: no file can be opened to see the threads", "[patch][rights]") {
    if (text::read_site(text::site_of(program::work)) == arch::nop_site) {
        WARN("not tested: this compiler leaves one nop, which no thread stands inside");
        return;
    }
    const child::outcome seen = child::run([](int) -> std::string {
        ops<count> op;
        if (!op.set_filter("program::work")) return "filters do not work";
        std::thread([] {}).join();
        const rlimit none{0, 0};
        if (::setrlimit(RLIMIT_NOFILE, &none) != 0) return "unsupported";
        const auto refused = register_ftrace_function(op);
        return refused
                   ? "registered"
                   : std::string(to_string(refused.error().code)) + ": " + refused.error().message;
    });
    CHECK(seen.status == 0);
    CHECK_THAT(seen.text, ContainsSubstring("system_failure: "));
    CHECK_THAT(seen.text, ContainsSubstring("open file"));
    CHECK_THAT(seen.text, !ContainsSubstring("mount"));
}
