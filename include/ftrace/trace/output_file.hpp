// Where a trace is written that is wanted when the program ends: a file, or what standard error was
// when the program began.
//
// In between the program may close every descriptor, open files of its own under the same numbers,
// put its log on standard error or go to another folder. So descriptors are kept at numbers that
// programs do not reach, and are used only if they still stand for the same file.
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cstddef>
#include <cstring>
#include <ftrace/core/config.hpp>
#include <ftrace/core/result.hpp>
#include <string>
#include <string_view>

namespace ftrace::inline v0::detail {

/// A descriptor, and the file it stood for when it was kept.
class kept_descriptor {
public:
    constexpr FTRACE_NOTRACE kept_descriptor() noexcept = default;
    kept_descriptor(const kept_descriptor&) = delete;
    kept_descriptor& operator=(const kept_descriptor&) = delete;
    FTRACE_NOTRACE ~kept_descriptor() = default;

    /// Remembers what a descriptor of the program stands for.
    FTRACE_NOTRACE void watch(int fd) noexcept {
        struct stat file;
        if (::fstat(fd, &file) != 0) return;
        fd_ = fd;
        device_ = file.st_dev;
        inode_ = file.st_ino;
    }
    /// Keeps a descriptor of its own for the same file, at a high number.
    FTRACE_NOTRACE void duplicate(int fd) noexcept {
        if (const int high = above(fd); high >= 0) {
            watch(high);
            own_ = true;
        }
    }
    /// Takes a descriptor over, and moves it to a high number.
    FTRACE_NOTRACE void adopt(int fd) noexcept {
        const int high = above(fd);
        watch(high >= 0 ? high : fd);
        own_ = true;
        if (high >= 0) ::close(fd);
    }

    /// The descriptor, if it can still be written and is what it was; else -1.
    [[nodiscard]] FTRACE_NOTRACE int get() const noexcept {
        const int flags = is_same() ? ::fcntl(fd_, F_GETFL) : -1;
        return flags >= 0 && (flags & O_ACCMODE) != O_RDONLY ? fd_ : -1;
    }
    /// Whether it is a file that no folder names any more.
    [[nodiscard]] FTRACE_NOTRACE bool is_deleted() const noexcept {
        struct stat file;
        return fd_ >= 0 && ::fstat(fd_, &file) == 0 && S_ISREG(file.st_mode) && file.st_nlink == 0;
    }
    /// Closes it, if it is a descriptor of its own; one that is only watched stays. Safe
    /// behind fork().
    FTRACE_NOTRACE void forget() noexcept {
        if (!own_) return;
        if (is_same()) ::close(fd_);
        fd_ = -1;
        own_ = false;
    }

private:
    [[nodiscard]] FTRACE_NOTRACE bool is_same() const noexcept {
        struct stat file;
        return fd_ >= 0 && ::fstat(fd_, &file) == 0 && file.st_dev == device_ &&
               file.st_ino == inode_;
    }
    // A second descriptor at a number that programs do not close or count on; -1: none was to
    // be had.
    [[nodiscard]] FTRACE_NOTRACE static int above(int fd) noexcept {
        constexpr int wanted = 1000;
        rlimit limit{};
        int least = wanted;
        if (::getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur <= wanted)
            least = static_cast<int>(limit.rlim_cur / 2);
        const int high = ::fcntl(fd, F_DUPFD_CLOEXEC, least);
        return high >= 0 ? high : ::fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    }

    int fd_ = -1;
    bool own_ = false;
    dev_t device_ = 0;
    ino_t inode_ = 0;
};

/// While it lives, a write that fails does not end the program: the signals that come with EPIPE
/// and EFBIG wait, and those that did not wait before are gone at the end.
class quiet_writing {
public:
    FTRACE_NOTRACE quiet_writing() noexcept {
        sigset_t pending;
        sigset_t both;
        ::sigemptyset(&pending);
        ::sigemptyset(&both);
        ::sigemptyset(&ours_);
        ::sigpending(&pending);
        for (const int signal : {SIGPIPE, SIGXFSZ}) {
            ::sigaddset(&both, signal);
            if (::sigismember(&pending, signal) == 0) ::sigaddset(&ours_, signal);
        }
        ::pthread_sigmask(SIG_BLOCK, &both, &before_);
    }
    FTRACE_NOTRACE ~quiet_writing() {
        const timespec at_once{};
        while (::sigtimedwait(&ours_, nullptr, &at_once) > 0 || errno == EINTR) {
        }
        ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
    }
    quiet_writing(const quiet_writing&) = delete;
    quiet_writing& operator=(const quiet_writing&) = delete;

private:
    sigset_t before_;
    sigset_t ours_;
};

/// Writes all of a text, in one call where the system takes it: texts of several processes then
/// stay whole in one file. 0, or the errno of what failed.
[[nodiscard]] FTRACE_NOTRACE inline int write_all(int fd, std::string_view text) noexcept {
    const quiet_writing quiet;
    while (!text.empty()) {
        const ssize_t wrote = ::write(fd, text.data(), text.size());
        if (wrote > 0) {
            text.remove_prefix(static_cast<std::size_t>(wrote));
        } else if (wrote < 0 && errno == EAGAIN) {
            pollfd room{fd, POLLOUT, 0};
            if (::poll(&room, 1, -1) < 0 && errno != EINTR) return errno;
        } else if (wrote == 0 || errno != EINTR) {
            return wrote == 0 ? ENOSPC : errno;
        }
    }
    return 0;
}

/// A file, named when the program starts and written when it ends.
class output_file {
public:
    FTRACE_NOTRACE output_file() = default;
    output_file(const output_file&) = delete;
    output_file& operator=(const output_file&) = delete;
    FTRACE_NOTRACE ~output_file() = default;

    /// Makes the file, or empties it. `%p` in the name is the process id. A name that is not
    /// absolute is one of the folder where the process is at the first call. Does not wait for the
    /// reader of a FIFO. Errors: system_failure.
    [[nodiscard]] FTRACE_NOTRACE result<void> open(const std::string& name) {
        if (folder_.empty() && !name.starts_with('/')) {
            char here[PATH_MAX];
            if (::getcwd(here, sizeof here) != nullptr) folder_.append(here).append("/");
        }
        std::string file = name;
        for (std::size_t at = file.find("%p"); at != std::string::npos; at = file.find("%p"))
            file.replace(at, 2, std::to_string(::getpid()));
        path_ = (file.starts_with('/') ? std::string() : folder_) + file;
        kept_.forget();
        return open_path(O_TRUNC);
    }

    /// Adds to what the file holds. If the descriptor is gone, or the file, it is opened again by
    /// its name. Errors: system_failure.
    [[nodiscard]] FTRACE_NOTRACE result<void> write(std::string_view text) {
        if (kept_.get() < 0 || kept_.is_deleted())
            if (auto opened = open_path(0); !opened && kept_.get() < 0) return opened;
        if (const int number = write_all(kept_.get(), text); number != 0) return failure(number);
        return {};
    }

    /// In a process that will not write.
    FTRACE_NOTRACE void forget() noexcept { kept_.forget(); }

private:
    [[nodiscard]] FTRACE_NOTRACE result<void> open_path(int flags) {
        const int fd =
            ::open(path_.c_str(),
                   O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK | flags, 0666);
        if (fd < 0) return failure(errno);
        if (const int mode = ::fcntl(fd, F_GETFL); mode >= 0)
            ::fcntl(fd, F_SETFL, mode & ~O_NONBLOCK);
        kept_.adopt(fd);
        return {};
    }

    [[nodiscard]] FTRACE_NOTRACE error failure(int number) const {
        struct stat file;
        const bool unread =
            number == ENXIO && ::stat(path_.c_str(), &file) == 0 && S_ISFIFO(file.st_mode);
        return {errc::system_failure,
                "cannot write '" + path_ +
                    "': " + (unread ? "nobody reads this FIFO" : std::strerror(number))};
    }

    std::string folder_;  // of the names that are not absolute, with its `/`
    std::string path_;
    kept_descriptor kept_;
};

}  // namespace ftrace::inline v0::detail
