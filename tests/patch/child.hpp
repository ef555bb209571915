// Scenarios in a process of their own, which may end by a signal, or be restricted for good.
#pragma once

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <cerrno>
#include <cstddef>
#include <initializer_list>
#include <string>
#include <vector>

namespace child {

/// What a child said, and how it ended.
struct outcome {
    std::string text;
    int status;
};

/// Runs `scenario`, which returns what it has to say.
template <class Scenario>
outcome run(Scenario scenario) {
    int pipes[2];
    REQUIRE(::pipe(pipes) == 0);
    const pid_t process = ::fork();
    if (process == 0) {
        const std::string text = scenario(pipes[1]);
        [[maybe_unused]] const ssize_t written = ::write(pipes[1], text.data(), text.size());
        ::_exit(0);
    }
    ::close(pipes[1]);
    outcome seen{};
    char buffer[512];
    for (ssize_t length; (length = ::read(pipes[0], buffer, sizeof buffer)) > 0;)
        seen.text.append(buffer, static_cast<std::size_t>(length));
    ::close(pipes[0]);
    REQUIRE(::waitpid(process, &seen.status, 0) == process);
    return seen;
}

/// From here on these system calls end with EPERM, in this thread and those it starts.
inline bool forbid(std::initializer_list<unsigned> calls) {
    std::vector<sock_filter> program = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr))};
    for (const unsigned call : calls) {
        program.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1));
        program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM));
    }
    program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
    const sock_fprog filter{static_cast<unsigned short>(program.size()), program.data()};
    return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0) == 0;
}

}  // namespace child
