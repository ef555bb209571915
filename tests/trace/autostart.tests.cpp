// The program runs itself with an environment that switches tracing on before main().
#include <ftrace/autostart.hpp>

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_all.hpp>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "files.hpp"
#include "sanitizers.hpp"

namespace traced {

volatile int total = 0;

__attribute__((noinline)) void leaf(int n) { total = total + n; }
__attribute__((noinline)) void naps() {
    ::usleep(60'000);
    total = 0;
}
__attribute__((noinline)) void outer(int n) {
    leaf(n);
    leaf(n + 1);
    total = total + 1;  // so that the last call is none in a tail
}
struct global {
    __attribute__((noinline)) global() { total = 1; }
    __attribute__((noinline)) ~global() { total = 2; }
} const before_and_after_main;

}  // namespace traced

namespace {

struct outcome {
    std::string errors;  // standard error
    int status;
};

std::string self() {
    char path[4096] = {};
    return ::readlink("/proc/self/exe", path, sizeof path - 1) > 0 ? path : "no /proc/self/exe";
}

// How to run a hidden test case of this program. No search for leaks: exit() leaves Catch2's
// objects behind. Not BAZEL_TEST, which lets Catch2 print warnings about the rest of Bazel's
// environment.
std::string command(const std::string& environment, const std::string& test) {
    return "env -u BAZEL_TEST -u FTRACE_TRACER ASAN_OPTIONS=detect_leaks=0 " + environment + " '" +
           self() + "' '[" + test + "]'";
}

// Runs one that ends with exit(7).
outcome run(const std::string& environment, const std::string& test = "child",
            const std::string& before = "") {
    std::FILE* const pipe =
        ::popen((before + command(environment, test) + " 2>&1 >/dev/null").c_str(), "r");
    if (pipe == nullptr) return {"popen failed", -1};
    outcome result{{}, -1};
    char buffer[4096];
    for (std::size_t n; (n = std::fread(buffer, 1, sizeof buffer, pipe)) != 0;)
        result.errors.append(buffer, n);
    const int status = ::pclose(pipe);
    result.status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    return result;
}

}  // namespace

namespace traced {
__attribute__((noinline)) void deep(int n) {
    if (n > 1) deep(n - 1);
    total = n;
}
}  // namespace traced

// The stack that deep() will need is there before there is no more memory.
__attribute__((noinline)) void touch_stack() {
    volatile char room[4 << 20];
    for (std::size_t i = 0; i < sizeof room; i += 4096) room[i] = 1;
}
TEST_CASE("calls itself often, and has no memory", "[.][deep]") {
    touch_stack();
    rlimit before{};
    ::getrlimit(RLIMIT_AS, &before);
    const rlimit nothing{1, before.rlim_max};
    ::setrlimit(RLIMIT_AS, &nothing);
    traced::deep(10'000);
    ::setrlimit(RLIMIT_AS, &before);
    std::exit(7);
}

TEST_CASE("sleeps", "[.][naps]") {
    traced::leaf(1);
    traced::naps();
    std::exit(7);
}

TEST_CASE("child", "[.][child]") {
    traced::outer(1);
    std::exit(7);
}

// As daemons do: every descriptor is closed, and a file of its own takes the first number.
TEST_CASE("closes everything", "[.][closes]") {
    ::syscall(SYS_close_range, 2U, ~0U, 0U);  // Catch2 writes to standard output
    const char* const mine = std::getenv("MY_FILE");
    const int fd = ::open(mine, O_RDWR | O_CREAT | O_TRUNC | O_APPEND, 0666);
    for (int i = 0; i < 3000; ++i) (void)::dup(fd);
    traced::outer(1);
    const bool wrote = ::write(fd, "precious\n", 9) == 9;
    std::exit(wrote ? 7 : 8);
}

TEST_CASE("redirects its errors", "[.][redirects]") {
    const int fd = ::open(std::getenv("MY_FILE"), O_WRONLY | O_CREAT | O_TRUNC, 0666);
    ::dup2(fd, STDERR_FILENO);
    traced::outer(1);
    std::exit(::write(STDERR_FILENO, "mine\n", 5) == 5 ? 7 : 8);
}

TEST_CASE("runs itself", "[.][runs]") {
    traced::outer(1);
    const int status = std::system(("'" + self() + "' '[child]' >/dev/null").c_str());
    std::exit(WEXITSTATUS(status));
}

TEST_CASE("goes elsewhere, and forks", "[.][goes]") {
    const bool gone = ::chdir("/") == 0;
    traced::outer(1);
    const pid_t child = ::fork();
    if (child == 0) std::exit(0);
    int status = 1;
    ::waitpid(child, &status, 0);
    std::exit(gone && status == 0 ? 7 : 8);
}

// How many descriptors above the standard ones stand for what standard error is.
int copies_of_standard_error() {
    struct stat errors = {}, file = {};
    ::fstat(STDERR_FILENO, &errors);
    int copies = 0;
    for (int fd = STDERR_FILENO + 1; fd < 65536; ++fd)
        copies +=
            ::fstat(fd, &file) == 0 && file.st_ino == errors.st_ino && file.st_dev == errors.st_dev;
    return copies;
}
TEST_CASE("its child looks at its files", "[.][child_files]") {
    const int own = copies_of_standard_error();
    const pid_t child = ::fork();
    if (child == 0) std::exit(copies_of_standard_error());
    int status = 1;
    ::waitpid(child, &status, 0);
    std::exit(own == 1 && WEXITSTATUS(status) == 0 ? 7 : 8);
}

using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::StartsWith;

TEST_CASE("autostart: without FTRACE_TRACER nothing happens", "[autostart]") {
    const outcome plain = run("");
    CHECK(plain.errors.empty());
    CHECK(plain.status == 7);
    const outcome nop = run("FTRACE_TRACER=nop FTRACE_OUTPUT=/dev/null");
    CHECK(nop.errors.empty());
    CHECK(nop.status == 7);
}

TEST_CASE("autostart: traces from before the constructors until after the destructors",
          "[autostart]") {
    const outcome all = run("FTRACE_TRACER=function FTRACE_FILTER='traced::*'");
    CHECK(all.status == 7);
    CHECK_THAT(all.errors, StartsWith("# tracer: function\n#\n"
                                      "# entries-in-buffer/entries-written: 5/5   #P:"));
    CHECK_THAT(all.errors, ContainsSubstring(": traced::global::global(this="));
    CHECK_THAT(all.errors, ContainsSubstring(": traced::outer(1) <-"));
    CHECK_THAT(all.errors, ContainsSubstring(": traced::leaf(2) <-traced::outer\n"));
    CHECK_THAT(all.errors, ContainsSubstring(": traced::global::~global(this="));
}

TEST_CASE("autostart: obeys all of its variables", "[autostart]") {
    const std::string path = temporary("graph");
    const outcome graph =
        run("FTRACE_TRACER=function_graph FTRACE_FILTER='traced::*' FTRACE_NOTRACE='*global*' "
            "FTRACE_OPTIONS=nofuncgraph-cpu,nofuncgraph-duration,nofuncgraph-args "
            "FTRACE_BUFFER_KB=64 FTRACE_OUTPUT=" +
            path);
    CHECK(graph.errors.empty());
    CHECK(graph.status == 7);
    const std::string header =
        "# tracer: function_graph\n#\n#               FUNCTION CALLS\n"
        "#               |   |   |   |\n";
    CHECK(contents(path) == header +
                                "traced::outer() {\n"
                                "  traced::leaf();\n"
                                "  traced::leaf();\n"
                                "}\n");
    const std::string options =
        "FTRACE_TRACER=function_graph FTRACE_FILTER='traced::*' "
        "FTRACE_OPTIONS=nofuncgraph-cpu,nofuncgraph-duration FTRACE_OUTPUT=" +
        path;
    CHECK(run(options + " FTRACE_GRAPH_FUNCTION=traced::outer FTRACE_MAX_DEPTH=1").status == 7);
    CHECK(contents(path) == header + "traced::outer(1);\n");
    const std::string more = options.substr(0, options.find(" FTRACE_OUTPUT")) +
                             ",nofuncgraph-leaf,funcgraph-tail,funcgraph-overrun,nofuncgraph-args";
    CHECK(
        run(more + " FTRACE_MAX_DEPTH=1 FTRACE_NOTRACE='*global*' FTRACE_OUTPUT=" + path).status ==
        7);
    CHECK(contents(path) == header +
                                "traced::outer() {\n"
                                "} /* traced::outer */\n"
                                " (Overruns: 0)\n");
    // Results are recorded, too, where they are to be shown.
    CHECK(run(more +
              ",funcgraph-retval,funcgraph-retval-hex FTRACE_FILTER=traced::outer "
              "FTRACE_OUTPUT=" +
              path)
              .status == 7);
    CHECK_THAT(contents(path), StartsWith(header + "traced::outer() {\n"
                                                   "} /* traced::outer ret=0x"));
    CHECK(run(options + " FTRACE_GRAPH_NOTRACE=traced::leaf FTRACE_NOTRACE='*global*'").status ==
          7);
    CHECK(contents(path) == header + "traced::outer(1);\n");
    std::remove(path.c_str());
}

TEST_CASE("autostart: a threshold, with and without the time that is slept", "[autostart]") {
    const std::string path = temporary("threshold");
    const std::string graph =
        "FTRACE_TRACER=function_graph FTRACE_FILTER='traced::naps; traced::leaf' "
        "FTRACE_OUTPUT=" +
        path + " FTRACE_OPTIONS=nofuncgraph-cpu,nofuncgraph-duration,nofuncgraph-leaf";
    CHECK(run(graph + " FTRACE_THRESH=50000", "naps").status == 7);
    CHECK_THAT(contents(path), ContainsSubstring("traced::naps() {\n}\n"));
    CHECK(run(graph + ",nosleep-time FTRACE_THRESH=50000", "naps").status == 7);
    CHECK_THAT(contents(path), !ContainsSubstring("naps"));
    CHECK(run(graph + ",nosleep-time FTRACE_THRESH=0", "naps").status == 7);
    CHECK_THAT(contents(path), ContainsSubstring("traced::leaf(1) {\n}\ntraced::naps() {\n}\n"));
    std::remove(path.c_str());
}

TEST_CASE("autostart: %p in the output's name is the process", "[autostart]") {
    const std::string path = temporary("pid");
    CHECK(run("FTRACE_TRACER=function FTRACE_FILTER=traced::leaf FTRACE_OUTPUT=" + path + ".%p")
              .status == 7);
    const std::string found =
        "ls " + path + ".* | grep -c '" + path + "[.][0-9][0-9]*$' >/dev/null";
    CHECK(std::system(found.c_str()) == 0);
    CHECK(std::system(("rm -f " + path + ".*").c_str()) == 0);
}

TEST_CASE("autostart: a mistake is one line, and the program runs untraced", "[autostart]") {
    struct row {
        const char* environment;
        const char* message;
    };
    for (const row& r : {
             row{"FTRACE_TRACER=functoin", "'functoin': did you mean 'function'?"},
             row{"FTRACE_TRACER=function FTRACE_FLITER=x",
                 "FTRACE_FLITER: did you mean 'FTRACE_FILTER'?"},
             row{"FTRACE_TRACER=function FTRACE_FILTER=traced::laef",
                 "FTRACE_FILTER: no traceable function matches"},
             row{"FTRACE_TRACER=function FTRACE_NOTRACE=traced::laef",
                 "FTRACE_NOTRACE: no traceable function"},
             row{"FTRACE_TRACER=function_graph FTRACE_GRAPH_FUNCTION=traced::laef",
                 "nearest: traced::leaf"},
             row{"FTRACE_TRACER=function FTRACE_GRAPH_FUNCTION=traced::leaf", "function_graph"},
             row{"FTRACE_TRACER=function_graph FTRACE_MAX_DEPTH=two", "FTRACE_MAX_DEPTH is 'two'"},
             row{"FTRACE_TRACER=function_graph FTRACE_THRESH=1ms",
                 "FTRACE_THRESH is '1ms': write a number from 0 to 1000000000000\n"},
             row{"FTRACE_TRACER=function FTRACE_THRESH=5",
                 "FTRACE_THRESH: tracing_thresh is for the tracer function_graph"},
             row{"FTRACE_TRACER=function_graph FTRACE_TRACING_THRESH=5",
                 "did you mean 'FTRACE_THRESH'?"},
             row{"FTRACE_TRACER=function_graph FTRACE_GRAPH_NOTRACE=traced::laef",
                 "FTRACE_GRAPH_NOTRACE: no traceable function matches 'traced::laef'; nearest: "
                 "traced::leaf"},
             row{"FTRACE_TRACER=function FTRACE_BUFFER_KB=-1", "FTRACE_BUFFER_KB is '-1'"},
             row{"FTRACE_TRACER=function FTRACE_OPTIONS=funcgraph-prco",
                 "did you mean 'funcgraph-proc'?"},
             row{"FTRACE_TRACER=function FTRACE_OUTPUT=/no/such/folder",
                 "cannot write '/no/such/folder'"},
             row{"FTRACE_TRACER=function FTRACE_BUFFER_KB=0",
                 "FTRACE_BUFFER_KB is '0': write a number from 1 to "},
             row{"FTRACE_FILTER=x", "FTRACE_TRACER is not"},
             row{"FTRACE_TRACER=functoin FTRACE_FILTER=x",
                 "FTRACE_TRACER is 'functoin': did you mean 'function'? (function_graph, "
                 "function, nop)"},
             row{"FTRACE_TRACER=yes",
                 "FTRACE_TRACER is 'yes': write one of function_graph, function, nop\n"},
             row{"FTRACE_TRACE=function", "FTRACE_TRACE: did you mean 'FTRACE_TRACER'?"},
             row{"FTRACE_TRACER=function FTRACE_filter=x", "did you mean 'FTRACE_FILTER'?"},
             row{"FTRACE_TRACER=function FTRACE_OUT=x", "did you mean 'FTRACE_OUTPUT'?"},
             row{"FTRACE_TRACER=function FTRACE_BUFFER_SIZE_KB=64",
                 "did you mean 'FTRACE_BUFFER_KB'?"},
             row{"FTRACE_TRACER=function FTRACE_MAX_GRAPH_DEPTH=3",
                 "did you mean 'FTRACE_MAX_DEPTH'?"},
             row{"FTRACE_TRACER=function FTRACE_FILTER='traced::leaf,traced::outer'",
                 "each part does: write ';' between them, 'traced::leaf; traced::outer'\n"},
             row{"FTRACE_TRACER=function FTRACE_NOTRACE='traced::leaf traced::outer'",
                 "FTRACE_NOTRACE: no traceable function matches 'traced::leaf traced::outer', but "
                 "each part does"},
             row{"FTRACE_TRACER=function FTRACE_FILTER='traced::leaf,traced::nobody'",
                 "FTRACE_FILTER: no traceable function matches 'traced::leaf,traced::nobody'"},
         }) {
        CAPTURE(r.environment);
        const outcome wrong = run(r.environment);
        CHECK(wrong.status == 7);
        CHECK_THAT(wrong.errors, StartsWith("ftrace: "));
        CHECK_THAT(wrong.errors, ContainsSubstring(r.message));
        CHECK(wrong.errors.find('\n') == wrong.errors.size() - 1);
    }
}

TEST_CASE("autostart: nothing that the library itself calls is in the trace", "[autostart]") {
    const outcome function = run("FTRACE_TRACER=function");
    CHECK(function.status == 7);
    CHECK_THAT(function.errors, ContainsSubstring(": traced::outer(1) <-"));
    CHECK_THAT(function.errors, !ContainsSubstring("<-ftrace::"));
    CHECK_THAT(function.errors, !ContainsSubstring("<-start_from_environment"));
}

TEST_CASE("autostart: a program's own files get no trace", "[autostart]") {
    const std::string path = temporary("trace"), mine = temporary("mine");
    const outcome closed =
        run("FTRACE_TRACER=function FTRACE_FILTER=traced::leaf FTRACE_OUTPUT=" + path +
                " MY_FILE=" + mine,
            "closes");
    CHECK(closed.status == 7);
    CHECK(contents(mine) == "precious\n");
    CHECK_THAT(contents(path), StartsWith("# tracer: function\n"));
    CHECK_THAT(contents(path), ContainsSubstring(": traced::leaf(2) <-traced::outer\n"));

    const std::string plain = "FTRACE_TRACER=function FTRACE_FILTER=traced::leaf MY_FILE=" + mine;
    const outcome no_errors = run(plain, "closes");
    CHECK(no_errors.status == 7);
    CHECK(no_errors.errors.empty());
    CHECK(contents(mine) == "precious\n");

    const outcome redirected = run(plain, "redirects");
    CHECK(redirected.status == 7);
    CHECK_THAT(redirected.errors, ContainsSubstring(": traced::leaf(2) <-traced::outer\n"));
    CHECK(contents(mine) == "mine\n");
    std::remove(path.c_str());
    std::remove(mine.c_str());
}

TEST_CASE("autostart: a trace that cannot be written is one line", "[autostart]") {
    const std::string tracer = "FTRACE_TRACER=function FTRACE_FILTER='traced::*' ";
    const outcome full = run(tracer + "FTRACE_OUTPUT=/dev/full");
    CHECK(full.status == 7);
    CHECK(full.errors ==
          "ftrace: FTRACE_OUTPUT: cannot write '/dev/full': No space left on device\n");

    // ThreadSanitizer itself writes a file when it starts.
    if (built_with::thread_sanitizer) return;
    const std::string path = temporary("large");
    const outcome large = run(tracer + "FTRACE_OUTPUT=" + path, "child", "ulimit -f 1; ");
    CHECK(large.status == 7);
    CHECK(large.errors == "ftrace: FTRACE_OUTPUT: cannot write '" + path + "': File too large\n");
    std::remove(path.c_str());

    REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
    const outcome unread = run(tracer + "FTRACE_OUTPUT=" + path);
    CHECK(unread.status == 7);
    CHECK(unread.errors ==
          "ftrace: FTRACE_OUTPUT: cannot write '" + path + "': nobody reads this FIFO\n");
    std::remove(path.c_str());

    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    const pid_t child = ::fork();
    if (child == 0) {
        ::dup2(ends[1], STDERR_FILENO);
        ::close(ends[0]);
        ::close(ends[1]);
        const std::string line = "exec " + command(tracer, "child") + " >/dev/null";
        ::execl("/bin/sh", "sh", "-c", line.c_str(), nullptr);
        ::_exit(127);
    }
    ::close(ends[0]);
    ::close(ends[1]);
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    REQUIRE(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == 7);
}

TEST_CASE("autostart: processes with one output add to it, each its whole trace", "[autostart]") {
    const std::string path = temporary("shared");
    const outcome both =
        run("FTRACE_TRACER=function FTRACE_FILTER=traced::leaf FTRACE_OUTPUT=" + path, "runs");
    CHECK(both.status == 7);
    const std::string text = contents(path);
    std::size_t headers = 0, calls = 0;
    for (std::size_t at = 0; (at = text.find("# tracer: function\n", at)) != std::string::npos;
         ++at)
        ++headers;
    for (std::size_t at = 0; (at = text.find(": traced::leaf(", at)) != std::string::npos; ++at)
        ++calls;
    CHECK(headers == 2);
    CHECK(calls == 4);
    std::remove(path.c_str());
}

TEST_CASE("autostart: an output's folder is that of the start, in children too", "[autostart]") {
    const std::string folder = temporary("folder");
    REQUIRE(::mkdir(folder.c_str(), 0700) == 0);
    const outcome both = run("FTRACE_TRACER=function FTRACE_FILTER=traced::leaf FTRACE_OUTPUT=t.%p",
                             "goes", "cd '" + folder + "'; ");
    CHECK(both.status == 7);
    CHECK(both.errors.empty());
    CHECK(std::system(("test $(ls '" + folder + "' | grep -c '^t[.][0-9]*$') = 2").c_str()) == 0);
    CHECK(std::system(("rm -rf '" + folder + "'").c_str()) == 0);
}

TEST_CASE("autostart: children keep no copy of standard error open", "[autostart]") {
    CHECK(run("FTRACE_TRACER=function FTRACE_FILTER=traced::leaf", "child_files").status == 7);
}

TEST_CASE("autostart: says how many calls are missing", "[autostart]") {
    const std::string path = temporary("deep");
    const outcome deep = run(
        "FTRACE_TRACER=function_graph FTRACE_FILTER=traced::deep FTRACE_OUTPUT=" + path, "deep");
    CHECK(deep.status == 7);
    const std::string text = contents(path);
    std::size_t recorded = 0;
    for (std::size_t at = 0; (at = text.find(" traced::deep(", at)) != std::string::npos; ++at)
        ++recorded;
    CHECK_THAT(deep.errors, StartsWith("ftrace: " + std::to_string(10'000 - recorded) +
                                       " calls were not recorded: "));
    CHECK(deep.errors.find('\n') == deep.errors.size() - 1);
    std::remove(path.c_str());
}

TEST_CASE("autostart: what is empty or another program's is no mistake", "[autostart]") {
    const outcome empty =
        run("FTRACE_TRACER=function FTRACE_FILTER=traced::leaf FTRACE_NOTRACE= FTRACE_OUTPUT= "
            "FTRACE_MAX_DEPTH= FTRACE_BUFFER_KB= FTRACE_OPTIONS= FTRACE_GRAPH_FUNCTION= "
            "FTRACE_FLITER=");
    CHECK(empty.status == 7);
    CHECK_THAT(empty.errors, ContainsSubstring(": traced::leaf(2) <-traced::outer\n"));
    CHECK(run("FTRACE_TRACER= FTRACE_FILTER=").errors.empty());

    const std::string foreign =
        "FTRACE_DIR=/x FTRACE_HOME=/x FTRACE_DEBUG=1 FTRACE_FILE=x FTRACE_INPUT=x "
        "FTRACE_VERSION=2 FTRACE_X=1 ";
    const outcome beside = run(foreign + "FTRACE_TRACER=function FTRACE_FILTER=traced::leaf");
    CHECK_THAT(beside.errors, StartsWith("# tracer: function\n"));
    CHECK_THAT(beside.errors, ContainsSubstring(": traced::leaf(2) <-traced::outer\n"));
    CHECK(run(foreign + "FTRACE_BUFFER_SIZE=64").errors.empty());
}
