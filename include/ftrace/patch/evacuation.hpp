// Moving threads out from between the nops of a site.
//
// gcc leaves five one-byte nops. A thread may stand at the second, third, ... when the first
// becomes an int3, and would go on into the middle of the call that is written next. So before
// bytes behind the first change, every thread that runs in user mode is asked, by a SIGTRAP of its
// own, where it is; the handler moves it behind the nops. A thread inside a system call will meet the
// int3 when it comes back; it is not disturbed. Not found is a thread whose signal handler
// interrupted it between the nops and runs on meanwhile.
#pragma once

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <ftrace/core/config.hpp>
#include <ftrace/core/result.hpp>
#include <ftrace/patch/text_state.hpp>
#include <string>
#include <vector>

namespace ftrace::inline v0::detail {

/// Whether the thread may be executing user code now; false if it is inside a system call, or gone.
FTRACE_NOTRACE inline bool runs_user_code(const char* tid) {
    const std::string path = std::string("/proc/self/task/") + tid + "/syscall";
    const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    // No such file: the thread is gone, or this kernel does not tell.
    if (file < 0) return ::access((std::string("/proc/self/task/") + tid).c_str(), F_OK) == 0;
    char first[7];  // "running", or the number of a system call
    const ssize_t length = ::read(file, first, sizeof first);
    const bool gone = length < 0 && errno == ESRCH;
    ::close(file);
    // "-1": it waits outside of a system call, for a page of the text perhaps.
    return !gone &&
           (length <= 0 || first[0] == '-' || std::memcmp(first, "running", sizeof first) == 0);
}

/// Whether a SIGTRAP is on its way to the thread. A question must not outlive its transaction: it
/// could swallow the signal of an int3 that the thread runs into meanwhile.
FTRACE_NOTRACE inline bool question_pending(const std::string& tid) {
    const int file = ::open(("/proc/self/task/" + tid + "/status").c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0) return false;
    char text[4096];
    const ssize_t length = ::read(file, text, sizeof text - 1);
    ::close(file);
    if (length <= 0) return false;
    text[length] = '\0';
    const char* const pending = std::strstr(text, "\nSigPnd:");
    constexpr int hexadecimal = 16;
    return pending != nullptr &&
           (std::strtoull(pending + std::strlen("\nSigPnd:"), nullptr, hexadecimal) >>
                (SIGTRAP - 1) &
            1) != 0;
}

/// The other threads of this process.
FTRACE_NOTRACE inline result<std::vector<std::string>> other_threads() {
    std::vector<std::string> threads;
    const std::string mine = std::to_string(::syscall(SYS_gettid));
    DIR* const tasks = ::opendir("/proc/self/task");
    if (tasks == nullptr)
        return error{errc::busy,
                     "/proc is not mounted, which tells where threads are: register the "
                     "ops while the program has one thread. Nothing was changed"};
    while (const dirent* entry = ::readdir(tasks))
        if (entry->d_name[0] != '.' && mine != entry->d_name) threads.emplace_back(entry->d_name);
    ::closedir(tasks);
    return threads;
}

/// Asks a thread where it is, by a SIGTRAP that carries `text`: no raise() of the program looks so.
FTRACE_NOTRACE inline bool ask(text_state& text, pid_t thread) {
    siginfo_t question = {};
    question.si_code = SI_QUEUE;
    question.si_pid = ::getpid();
    question.si_uid = ::getuid();
    question.si_value.sival_ptr = &text;
    return ::syscall(SYS_rt_tgsigqueueinfo, ::getpid(), thread, SIGTRAP, &question) == 0;
}

/// Returns when no thread stands between the nops of the published batch's sites, whose first bytes
/// are int3, and every core has serialised. Error: busy, a thread did not answer within a second
/// (it blocks SIGTRAP).
FTRACE_NOTRACE inline result<void> evacuate(text_state& text) {
    auto threads = other_threads();
    if (!threads) return std::move(threads).error();
    for (const std::string& tid : *threads) {
        const pid_t thread = std::atoi(tid.c_str());
        __atomic_store_n(&text.answered, 0, __ATOMIC_RELEASE);
        if (!runs_user_code(tid.c_str()) || !ask(text, thread)) continue;
        for (unsigned tries = 0;; ++tries) {
            const bool answered = __atomic_load_n(&text.answered, __ATOMIC_ACQUIRE) == thread;
            if (answered && !question_pending(tid)) break;
            if (tries < 100) {
                ::sched_yield();
                continue;
            }
            // The question is lost if the thread had another SIGTRAP pending: it is asked again.
            if (!runs_user_code(tid.c_str()) || (!answered && !ask(text, thread))) break;
            if (tries > 10'000)
                return error{
                    errc::busy,
                    "thread " + tid +
                        " does not answer SIGTRAP, which is needed once before gcc's five nops "
                        "become one: let it not block SIGTRAP, or register the ops before "
                        "it starts. Nothing was changed"};
            const timespec pause{0, 100'000};
            ::nanosleep(&pause, nullptr);
        }
    }
    return {};
}

}  // namespace ftrace::inline v0::detail
