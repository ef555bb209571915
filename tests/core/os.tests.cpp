// System calls that may be refused.
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_all.hpp>
#include <cerrno>
#include <cstddef>
#include <ftrace/core/os.hpp>
#include <string>

using namespace ftrace;
using Catch::Matchers::ContainsSubstring;

namespace {

/// The page that the fallback of synchronize_cores() uses: made writable, used, its rights taken away.
struct {
    unsigned mprotects = 0, readonly = 0;
    bool present = false;
} seen;

/// How a child ends.
template <class Scenario>
int status_of_child(Scenario scenario) {
    const pid_t child = ::fork();
    if (child == 0) ::_exit(scenario());
    int status = -1;
    REQUIRE(::waitpid(child, &status, 0) == child);
    return status;
}

/// From now on membarrier fails as where a sandbox forbids it, or as in a kernel that has none.
bool refuse_membarrier(int error_number) {
    sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_membarrier, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | static_cast<unsigned>(error_number)),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    sock_fprog program{sizeof filter / sizeof *filter, filter};
    return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

}  // namespace

// In place of libc's, in what this program and the library in it call.
extern "C" FTRACE_NO_INSTRUMENTATION int mprotect(void* address, std::size_t size,
                                                  int protection) noexcept {
    ++seen.mprotects;
    if (protection == PROT_READ) ++seen.readonly;
    // Only a page that is there is in other CPUs' TLBs.
    unsigned char resident = 0;
    seen.present = ::mincore(address, size, &resident) == 0 && (resident & 1) != 0;
    return static_cast<int>(::syscall(SYS_mprotect, address, size, protection));
}

TEST_CASE("os: cores are synchronized by membarrier, with nothing else to see", "[core][os]") {
    if (::syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE, 0, 0) != 0)
        SKIP("this kernel has no membarrier for cores");
    seen = {};
    errno = 4711;
    detail::synchronize_cores();
    CHECK(errno == 4711);
    CHECK(seen.mprotects == 0);
}

TEST_CASE("os: in a process that has not registered for it either", "[core][os]") {
    const int status = status_of_child([] {
        detail::synchronize_cores();
        detail::synchronize_cores();
        return seen.mprotects == 0 ? 0 : 1;
    });
    CHECK(status == 0);
}

TEST_CASE("os: without membarrier a page loses its rights in place of it", "[core][os]") {
    for (const int refusal : {EPERM, ENOSYS}) {
        CAPTURE(refusal);
        const int status = status_of_child([refusal] {
            if (!refuse_membarrier(refusal)) return 10;
            if (::syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0) == 0) return 11;
            for (unsigned i = 1; i <= 3; ++i) {
                errno = 4711;
                detail::synchronize_cores();
                if (errno != 4711) return 1;
                if (seen.mprotects != i || seen.readonly != i) return 2;
                if (!seen.present) return 3;
            }
            return 0;
        });
        CHECK(WIFEXITED(status));
        CHECK(WEXITSTATUS(status) == 0);
    }
}

TEST_CASE("os: a change of protection that is refused says where, and why", "[core][os]") {
    // No mapping: the cause is none of those that a process sets.
    const auto refused = detail::change_protection(0x1000, 0x3000, PROT_READ | PROT_WRITE);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code == errc::out_of_memory);
    CHECK(refused.error().address == 0x1000);
    CHECK_THAT(refused.error().message,
               ContainsSubstring("0x1000-0x3000 writable (Cannot allocate"));
    CHECK_THAT(refused.error().message, ContainsSubstring("The program goes on untraced"));

    const auto executable = detail::change_protection(0x1000, 0x2000, PROT_READ | PROT_EXEC);
    REQUIRE_FALSE(executable);
    CHECK_THAT(executable.error().message, ContainsSubstring("0x1000-0x2000 executable ("));
}
