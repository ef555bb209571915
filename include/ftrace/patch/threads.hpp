// What /proc tells of the other threads of this process.
#pragma once

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ftrace/core/config.hpp>
#include <ftrace/core/plain_vector.hpp>
#include <ftrace/core/result.hpp>
#include <string>

namespace ftrace::inline v0::detail {

[[nodiscard]] FTRACE_NOTRACE inline pid_t this_tid() noexcept {
    return static_cast<pid_t>(::syscall(SYS_gettid));
}

/// /proc/self/task, while it is read.
class task_directory {
public:
    FTRACE_NOTRACE task_directory() noexcept : tasks_(::opendir("/proc/self/task")) {}
    FTRACE_NOTRACE ~task_directory() {
        if (tasks_ != nullptr) ::closedir(tasks_);
    }
    task_directory(const task_directory&) = delete;
    task_directory& operator=(const task_directory&) = delete;

    /// false: errno says why.
    [[nodiscard]] FTRACE_NOTRACE bool opened() const noexcept { return tasks_ != nullptr; }
    /// The next entry that is a thread; 0 behind the last.
    [[nodiscard]] FTRACE_NOTRACE pid_t next() noexcept {
        while (const dirent* entry = ::readdir(tasks_))
            if (const pid_t thread = std::atoi(entry->d_name); thread > 0) return thread;
        return 0;
    }

private:
    DIR* tasks_;
};

/// The threads of this process but the calling one, sorted. A thread that is created meanwhile may
/// be missing; one that was there before is not, if `all` are needed: else it may be, when others
/// end meanwhile. Error: system_failure, with the cause.
FTRACE_NOTRACE inline result<plain_vector<pid_t>> other_threads(bool all) {
    plain_vector<pid_t> threads;
    const pid_t mine = this_tid();
    // While threads end the kernel may skip one that goes on: until nobody new is seen.
    for (bool complete = false; !complete;) {
        task_directory tasks;
        if (!tasks.opened())
            return error{
                errc::system_failure,
                std::string("cannot list the threads of this process (/proc/self/task: ") +
                    std::strerror(errno) + "): " +
                    (errno == EMFILE || errno == ENFILE ? "leave room for one more open file"
                     : errno == ENOENT                  ? "mount /proc"
                                                        : "let the program read it") +
                    ", or register the ops while it has one thread. Nothing was changed"};
        complete = true;
        while (const pid_t thread = tasks.next()) {
            if (thread == mine) continue;
            std::size_t at = 0, end = threads.size();
            while (at < end) {
                const std::size_t middle = at + (end - at) / 2;
                if (threads[middle] < thread)
                    at = middle + 1;
                else
                    end = middle;
            }
            if (at < threads.size() && threads[at] == thread) continue;
            threads.push_back(thread);
            for (std::size_t i = threads.size() - 1; i > at; --i) threads[i] = threads[i - 1];
            threads[at] = thread;
            complete = !all;
        }
    }
    return threads;
}

/// A file of one thread in /proc, or the beginning of it.
class thread_file {
public:
    FTRACE_NOTRACE thread_file(pid_t thread, const char* name) noexcept {
        char path[64];
        std::snprintf(path, sizeof path, "/proc/self/task/%d/%s", static_cast<int>(thread), name);
        const int file = ::open(path, O_RDONLY | O_CLOEXEC);
        ssize_t length = -1;
        if (file >= 0) {
            length = ::read(file, text_, sizeof text_ - 1);
            gone_ = length < 0 && errno == ESRCH;
            ::close(file);
        } else if (errno == ENOENT) {
            std::snprintf(path, sizeof path, "/proc/self/task/%d", static_cast<int>(thread));
            gone_ = ::access(path, F_OK) != 0;
        }
        text_[length > 0 ? length : 0] = '\0';
    }
    /// Empty: the system does not tell.
    [[nodiscard]] FTRACE_NOTRACE const char* text() const noexcept { return text_; }
    [[nodiscard]] FTRACE_NOTRACE bool gone() const noexcept { return gone_; }

private:
    char text_[1024];
    bool gone_ = false;
};

/// A thread as /proc/PID/stat describes it (man proc).
struct thread_status {
    FTRACE_NOTRACE thread_status() = default;
    FTRACE_NOTRACE thread_status(const thread_status&) = default;
    FTRACE_NOTRACE thread_status(thread_status&&) noexcept = default;
    FTRACE_NOTRACE thread_status& operator=(const thread_status&) = default;
    FTRACE_NOTRACE thread_status& operator=(thread_status&&) noexcept = default;
    FTRACE_NOTRACE ~thread_status() = default;

    char state = '?';  ///< R: runs, or waits for a CPU; S, D: sleeps; T, t: stopped; Z, X: ended
    bool kernel_worker = false;  ///< one of the kernel's (io_uring, vhost), which runs no user code
    bool trap_pending = false;
    bool trap_blocked = false;
    std::string name;

    [[nodiscard]] FTRACE_NOTRACE bool ended() const noexcept {
        return state == 'Z' || state == 'X' || state == 'x';
    }
};

FTRACE_NOTRACE inline thread_status status_of(pid_t thread) {
    thread_status status;
    const thread_file file(thread, "stat");
    if (file.gone()) status.state = 'X';
    // The name may contain anything; the fields behind it are numbers, but for the first.
    const char* const name = std::strchr(file.text(), '(');
    const char* at = std::strrchr(file.text(), ')');
    if (name == nullptr || at == nullptr || at[1] == '\0') return status;
    status.name.assign(name + 1, at);
    status.state = at[2];
    at += 3;
    constexpr int flags = 9, pending = 31, blocked = 32;
    constexpr unsigned long io_worker = 0x10, user_worker = 0x4000, trap = 1ul << (SIGTRAP - 1);
    for (int field = 4; field <= blocked && *at == ' '; ++field) {
        char* end = nullptr;
        const unsigned long value = std::strtoul(at, &end, 10);
        if (field == flags) status.kernel_worker = (value & (io_worker | user_worker)) != 0;
        if (field == pending) status.trap_pending = (value & trap) != 0;
        if (field == blocked) status.trap_blocked = (value & trap) != 0;
        at = end;
    }
    return status;
}

/// "thread 123 (worker)", for messages.
FTRACE_NOTRACE inline std::string thread_text(pid_t thread, const thread_status& status) {
    return "thread " + std::to_string(thread) +
           (status.name.empty() ? std::string() : " (" + status.name + ")");
}

/// Where a thread is.
struct whereabouts {
    enum place : std::uint8_t {
        user_code,  ///< executing, or ready to
        at_pc,      ///< halted in user code (stopped, or waiting for a page), at `pc`
        in_kernel,  ///< in a system call
        gone,
    } where;
    std::uintptr_t pc = 0;
};

FTRACE_NOTRACE inline whereabouts look_at(pid_t thread) {
    const thread_file file(thread, "syscall");
    if (file.gone()) return {whereabouts::gone};
    // "running", or "-1 SP PC", or the number of a system call and more.
    const char* const text = file.text();
    if (text[0] >= '0' && text[0] <= '9') return {whereabouts::in_kernel};
    if (text[0] == '-') {
        const char* const last = std::strrchr(text, ' ');
        const std::uintptr_t pc = last == nullptr ? 0 : std::strtoull(last, nullptr, 16);
        // 0: it has ended (a zombie), or never runs user code.
        if (pc == 0)
            return {status_of(thread).ended() ? whereabouts::gone : whereabouts::in_kernel};
        return {whereabouts::at_pc, pc};
    }
    if (text[0] == 'r') return {whereabouts::user_code};
    // Not told, as to a program that changed its user: what is told to everybody.
    switch (status_of(thread).state) {
    case 'S': return {whereabouts::in_kernel};
    case 'Z':
    case 'X':
    case 'x': return {whereabouts::gone};
    default: return {whereabouts::user_code};
    }
}

}  // namespace ftrace::inline v0::detail
