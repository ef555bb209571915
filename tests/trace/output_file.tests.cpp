// What writes a trace: nothing that goes wrong with it reaches the program.
#include <ftrace/trace/output_file.hpp>

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "files.hpp"

using ftrace::detail::kept_descriptor;
using ftrace::detail::output_file;
using ftrace::detail::write_all;

namespace {

bool is_pending(int signal) {
    sigset_t pending;
    sigemptyset(&pending);
    ::sigpending(&pending);
    return sigismember(&pending, signal) == 1;
}

}  // namespace

TEST_CASE("output: a closed pipe is an error, and no signal stays behind", "[trace]") {
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    ::close(ends[0]);
    CHECK(write_all(ends[1], "text") == EPIPE);
    CHECK_FALSE(is_pending(SIGPIPE));

    // One that waited before is the program's, and waits on.
    sigset_t set, before;
    sigemptyset(&set);
    sigaddset(&set, SIGPIPE);
    ::pthread_sigmask(SIG_BLOCK, &set, &before);
    CHECK(write_all(ends[1], "text") == EPIPE);
    CHECK_FALSE(is_pending(SIGPIPE));
    std::raise(SIGPIPE);
    CHECK(write_all(ends[1], "text") == EPIPE);
    CHECK(is_pending(SIGPIPE));
    int taken = 0;
    ::sigwait(&set, &taken);
    CHECK(taken == SIGPIPE);
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    ::close(ends[1]);
}

TEST_CASE("output: a full pipe that must not block is waited for", "[trace]") {
    int ends[2];
    REQUIRE(::pipe2(ends, O_NONBLOCK) == 0);
    const std::string text(1'000'000, 'x');
    const pid_t reader = ::fork();
    if (reader == 0) {
        ::close(ends[1]);
        ::fcntl(ends[0], F_SETFL, 0);
        static char buffer[65536];
        std::size_t sum = 0;
        for (ssize_t n; (n = ::read(ends[0], buffer, sizeof buffer)) > 0;)
            sum += static_cast<std::size_t>(n);
        ::_exit(sum == 1'000'000 ? 0 : 1);
    }
    ::close(ends[0]);
    CHECK(write_all(ends[1], text) == 0);
    ::close(ends[1]);
    int status = 1;
    ::waitpid(reader, &status, 0);
    CHECK(status == 0);
}

TEST_CASE("output: a descriptor is used only while it is what it was", "[trace]") {
    const std::string path = temporary("kept"), other = temporary("other");
    kept_descriptor kept;
    CHECK(kept.get() == -1);
    kept.adopt(::open(path.c_str(), O_WRONLY | O_CREAT, 0600));
    const int fd = kept.get();
    CHECK(fd >= 100);
    CHECK(::fcntl(fd, F_GETFD) == FD_CLOEXEC);

    const int program = ::open(other.c_str(), O_RDWR | O_CREAT, 0600);
    REQUIRE(::dup2(program, fd) == fd);
    CHECK(kept.get() == -1);
    kept.forget();
    CHECK(::fcntl(fd, F_GETFD) == 0);  // the program's now

    kept_descriptor readable;
    readable.watch(::open(path.c_str(), O_RDONLY));
    CHECK(readable.get() == -1);
    ::close(program);
    ::close(fd);
    std::remove(path.c_str());
    std::remove(other.c_str());
}

TEST_CASE("output: a file that was removed or closed is made again", "[trace]") {
    const std::string path = temporary("removed");
    output_file file;
    std::ofstream(path) << "old\n";
    REQUIRE(file.open(path));
    CHECK(contents(path).empty());
    std::ofstream(path, std::ios::app) << "before\n";
    REQUIRE(file.write("one\n"));
    CHECK(contents(path) == "before\none\n");
    std::remove(path.c_str());
    REQUIRE(file.write("two\n"));
    CHECK(contents(path) == "two\n");
    file.forget();
    REQUIRE(file.write("three\n"));
    CHECK(contents(path) == "two\nthree\n");
    std::remove(path.c_str());
}
