// The program runs itself with an environment that switches tracing on before main().
#include <ftrace/autostart.hpp>

#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch_all.hpp>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>

namespace traced {

volatile int total = 0;

__attribute__((noinline)) void leaf(int n) { total = total + n; }
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

// Runs this program's hidden test case, which calls outer(1) and ends with exit(7).
outcome run(const std::string& environment) {
    char self[4096] = {};
    if (::readlink("/proc/self/exe", self, sizeof self - 1) <= 0) return {"no /proc/self/exe", -1};
    // No search for leaks: exit() leaves Catch2's objects behind. Not BAZEL_TEST, which lets Catch2
    // print warnings about the rest of Bazel's environment.
    const std::string command = "env -u BAZEL_TEST ASAN_OPTIONS=detect_leaks=0 " + environment +
                                " '" + self + "' '[child]' 2>&1 >/dev/null";
    std::FILE* const pipe = ::popen(command.c_str(), "r");
    if (pipe == nullptr) return {"popen failed", -1};
    outcome result{{}, -1};
    char buffer[4096];
    for (std::size_t n; (n = std::fread(buffer, 1, sizeof buffer, pipe)) != 0;)
        result.errors.append(buffer, n);
    const int status = ::pclose(pipe);
    result.status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    return result;
}

std::string contents(const std::string& path) {
    std::ifstream file(path);
    return std::string(std::istreambuf_iterator<char>(file), {});
}

std::string temporary(const std::string& name) {
    const char* const folder = std::getenv("TEST_TMPDIR");
    return std::string(folder != nullptr ? folder : "/tmp") + "/" + name + "." +
           std::to_string(::getpid());
}

}  // namespace

TEST_CASE("child", "[.][child]") {
    traced::outer(1);
    std::exit(7);
}

using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::StartsWith;

TEST_CASE("autostart: without FTRACE_TRACER nothing happens", "[autostart]") {
    const outcome plain = run("-u FTRACE_TRACER");
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
             row{"FTRACE_TRACER=function FTRACE_BUFFER_KB=-1", "FTRACE_BUFFER_KB is '-1'"},
             row{"FTRACE_TRACER=function FTRACE_OPTIONS=funcgraph-prco",
                 "did you mean 'funcgraph-proc'?"},
             row{"FTRACE_TRACER=function FTRACE_OUTPUT=/no/such/folder",
                 "cannot write '/no/such/folder'"},
             row{"FTRACE_FILTER=x", "FTRACE_TRACER is not"},
         }) {
        CAPTURE(r.environment);
        const outcome wrong = run(r.environment);
        CHECK(wrong.status == 7);
        CHECK_THAT(wrong.errors, StartsWith("ftrace: "));
        CHECK_THAT(wrong.errors, ContainsSubstring(r.message));
        CHECK(wrong.errors.find('\n') == wrong.errors.size() - 1);
    }
}
