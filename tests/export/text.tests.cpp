// What is expected here was written by hand from the kernel's format strings, not taken from
// output.
#include <ftrace/export/text.hpp>

#include <bit>
#include <catch2/catch_test_macros.hpp>
#include <cstdint>
#include <string>

using ftrace::event_kind;
using ftrace::graph_end;
using ftrace::text_options;
using ftrace::trace_event;
using ftrace::trace_snapshot;

namespace {

constexpr std::uintptr_t main_ip = 0x1000, parse_ip = 0x2000, hash_ip = 0x3000,
                         nameless_ip = 0x4000;

trace_snapshot sample(const char* tracer) {
    trace_snapshot trace;
    trace.tracer = tracer;
    trace.cpus = 4;
    trace.threads = {{1234, "app"}, {1240, "worker-0"}};
    trace.symbols = {{main_ip, "main"},
                     {parse_ip, "_ZN2ns5parseEPKci"},  // ns::parse(char const*, int)
                     {hash_ip, "_Z4hashIiEvT_"}};      // void hash<int>(int)
    return trace;
}

// A call; `time` in nanoseconds.
trace_event call(event_kind kind, std::uint32_t thread, std::uint32_t cpu, std::uint64_t time,
                 std::uintptr_t ip, std::uintptr_t parent = 0, std::uint32_t depth = 0) {
    trace_event e;
    e.kind = kind;
    e.thread = thread;
    e.cpu = cpu;
    e.time = time;
    e.ip = ip;
    e.parent_ip = parent;
    e.depth = depth;
    return e;
}

trace_event enter(std::uint32_t depth, std::uintptr_t ip, std::uint64_t time,
                  std::uint32_t thread = 0, std::uint32_t cpu = 0) {
    return call(event_kind::graph_entry, thread, cpu, time, ip, main_ip, depth);
}

trace_event leave(std::uint32_t depth, std::uintptr_t ip, std::uint64_t time,
                  std::uint64_t duration, std::uint32_t thread = 0, std::uint32_t cpu = 0) {
    trace_event e = call(event_kind::graph_return, thread, cpu, time, ip, 0, depth);
    e.duration = duration;
    return e;
}

const std::string graph_header =
    "# tracer: function_graph\n"
    "#\n"
    "# CPU  DURATION                  FUNCTION CALLS\n"
    "# |     |   |                     |   |   |   |\n";

std::string graph(const trace_snapshot& trace, const text_options& options = {}) {
    const std::string text = to_text(trace, options);
    REQUIRE(text.substr(0, graph_header.size()) == graph_header);
    return text.substr(graph_header.size());
}

std::string duration(std::uint64_t nanoseconds) {
    std::string out(1, ftrace::detail::duration_mark(nanoseconds));
    out += ' ';
    ftrace::detail::append_duration(out, nanoseconds);
    return out + "|";
}

}  // namespace

TEST_CASE("text: durations have seven digits at most and fourteen columns", "[export]") {
    CHECK(duration(313) == "  0.313 us    |");
    CHECK(duration(1'382) == "  1.382 us    |");
    CHECK(duration(12'917) == "+ 12.917 us   |");
    CHECK(duration(140'417) == "! 140.417 us  |");
    CHECK(duration(2'034'948) == "# 2034.948 us |");
    CHECK(duration(33'998'599) == "* 33998.59 us |");
    CHECK(duration(119'760'299) == "@ 119760.2 us |");
    CHECK(duration(3'594'274'999) == "$ 3594274 us  |");
    CHECK(duration(98'765'432'000) == "$ 98765432 us |");
    CHECK(duration(0) == "  0.000 us    |");
}

TEST_CASE("text: a duration is marked when it is above its limit, not at it", "[export]") {
    CHECK(duration(10'000) == "  10.000 us   |");
    CHECK(duration(10'001) == "+ 10.001 us   |");
    CHECK(duration(100'000) == "+ 100.000 us  |");
    CHECK(duration(100'001) == "! 100.001 us  |");
    CHECK(duration(1'000'000) == "! 1000.000 us |");
    CHECK(duration(1'000'001) == "# 1000.001 us |");
    CHECK(duration(10'000'000) == "# 10000.00 us |");
    CHECK(duration(10'000'001) == "* 10000.00 us |");
    CHECK(duration(100'000'001) == "@ 100000.0 us |");
    CHECK(duration(1'000'000'001) == "$ 1000000 us  |");
}

TEST_CASE("text: the function tracer's lines are the kernel's", "[export]") {
    trace_snapshot trace = sample("function");
    trace.written = 9;
    trace.events = {call(event_kind::function, 0, 3, 52'100'123'999, parse_ip, main_ip),
                    call(event_kind::function, 1, 0, 52'100'130'000, hash_ip, parse_ip),
                    call(event_kind::function, 0, 3, 123'456'000'001'000, nameless_ip, main_ip)};
    const std::string lines =
        "             app-1234    [003] .....    52.100123: ns::parse <-main\n"
        "        worker-0-1240    [000] .....    52.100130: hash<int> <-ns::parse\n"
        "             app-1234    [003] ..... 123456.000001: 0x4000 <-main\n";
    CHECK(to_text(trace) ==
          "# tracer: function\n"
          "#\n"
          "# entries-in-buffer/entries-written: 3/9   #P:4\n"
          "#\n"
          "#                                _-----=> irqs-off/BH-disabled\n"
          "#                               / _----=> need-resched\n"
          "#                              | / _---=> hardirq/softirq\n"
          "#                              || / _--=> preempt-depth\n"
          "#                              ||| / _-=> migrate-disable\n"
          "#                              |||| /     delay\n"
          "#           TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION\n"
          "#              | |         |   |||||     |         |\n" +
              lines);
    text_options plain;
    plain.irq_info = false;
    CHECK(to_text(trace, plain) ==
          "# tracer: function\n"
          "#\n"
          "# entries-in-buffer/entries-written: 3/9   #P:4\n"
          "#\n"
          "#           TASK-PID     CPU#     TIMESTAMP  FUNCTION\n"
          "#              | |         |         |         |\n"
          "             app-1234    [003]    52.100123: ns::parse <-main\n"
          "        worker-0-1240    [000]    52.100130: hash<int> <-ns::parse\n"
          "             app-1234    [003] 123456.000001: 0x4000 <-main\n");
}

TEST_CASE("text: a caller is told by its own table, with its place in the graph", "[export]") {
    trace_snapshot trace = sample("function");
    // The call is the last instruction of abort_all, and parse begins behind it.
    trace.callers[parse_ip].linker_name = "_Z9abort_allv";
    trace.callers[parse_ip].offset = 0x40;
    trace.callers[parse_ip].size = 0x40;
    trace.events = {call(event_kind::function, 0, 0, 1'000, hash_ip, parse_ip)};
    CHECK(to_text(trace).find(": hash<int> <-abort_all\n") != std::string::npos);

    trace.tracer = "function_graph";
    trace.events = {call(event_kind::graph_entry, 0, 0, 1'000, hash_ip, parse_ip)};
    text_options options;
    options.funcgraph_retaddr = true;
    CHECK(graph(trace, options) ==
          " 0)               |  hash<int>() { /* <-abort_all+0x40/0x40 */\n");
    options.names.replace = {{"abort_", ""}};
    CHECK(graph(trace, options).find("<-all+0x40/0x40 ") != std::string::npos);
}

TEST_CASE("text: a clone keeps its suffix", "[export]") {
    trace_snapshot trace = sample("function");
    trace.symbols[parse_ip] = "_ZN2ns5parseEPKci.isra.0.constprop.1";
    trace.symbols[hash_ip] = "hash.part.0";
    trace.argument_words.assign(28, 7);
    trace.events = {call(event_kind::function, 0, 0, 1'000, parse_ip, main_ip),
                    call(event_kind::function, 0, 0, 2'000, hash_ip, main_ip)};
    trace.events[0].arguments = 0;
    trace.events[1].arguments = 14;
    CHECK(to_text(trace).find(": ns::parse.isra.0.constprop.1(...) <-main\n") != std::string::npos);
    CHECK(to_text(trace).find(": hash.part.0(...) <-main\n") != std::string::npos);
}

TEST_CASE("text: values of functions that may have been changed are marked", "[export]") {
    trace_snapshot trace = sample("function");
    trace.argument_words.assign(14, 7);
    trace.events = {call(event_kind::function, 0, 0, 1'000, hash_ip, main_ip)};
    trace.events[0].arguments = 0;
    CHECK(to_text(trace).find(": hash<int>(7) <-main\n") != std::string::npos);
    trace.changeable = {hash_ip};
    CHECK(to_text(trace).find(": hash<int>(?7) <-main\n") != std::string::npos);
}

TEST_CASE("text: where events are missing, a return is no evidence for the call before",
          "[export]") {
    trace_snapshot trace = sample("function_graph");
    trace.symbols[parse_ip] = "_Z5parsePc";  // parse(char*)
    trace.argument_words.assign(14, 0x7fff'0000'1000);
    trace.events = {enter(0, parse_ip, 1'000), leave(0, parse_ip, 2'000, 500)};
    trace.events[0].arguments = 0;
    trace.events[1].has_return_value = true;  // 0: not the call's first word
    CHECK(graph(trace) == " 0)   0.500 us    |  parse(0x7fff00001000);\n");
    trace.events[1].lost_before = 3;
    CHECK(graph(trace).find("parse(?0x7fff00001000)") != std::string::npos);
}

TEST_CASE("text: lost events are told where they are missing", "[export]") {
    trace_snapshot trace = sample("function");
    trace.events = {call(event_kind::function, 1, 2, 1'000'000'000, hash_ip, main_ip)};
    trace.events[0].lost_before = 14;
    trace.threads[1].last_cpu = 2;
    trace.threads[1].lost_after = 3;
    const std::string text = to_text(trace);
    CHECK(text.substr(text.rfind("|         |\n") + 12) ==
          "CPU:2 [LOST 14 EVENTS]\n"
          "        worker-0-1240    [002] .....     1.000000: hash<int> <-main\n"
          "CPU:2 [LOST 3 EVENTS]\n");
}

TEST_CASE("text: the graph shows calls, leaves and returns", "[export]") {
    trace_snapshot trace = sample("function_graph");
    trace.events = {enter(0, main_ip, 1'000),           enter(1, parse_ip, 2'000),
                    enter(2, hash_ip, 3'000),           leave(2, hash_ip, 3'313, 313),
                    leave(1, parse_ip, 14'917, 12'917), leave(0, main_ip, 2'035'948, 2'034'948)};
    CHECK(graph(trace) ==
          " 0)               |  main() {\n"
          " 0)               |    ns::parse() {\n"
          " 0)   0.313 us    |      hash<int>();\n"
          " 0) + 12.917 us   |    }\n"
          " 0) # 2034.948 us |  }\n");
    text_options options;
    options.funcgraph_tail = true;
    options.funcgraph_retaddr = true;
    options.names.templates = ftrace::template_arguments::hidden;
    options.names.replace = {{"ns::", ""}};
    CHECK(graph(trace, options) ==
          " 0)               |  main() { /* <-main */\n"
          " 0)               |    parse() { /* <-main */\n"
          " 0)   0.313 us    |      hash(); /* <-main */\n"
          " 0) + 12.917 us   |    } /* parse */\n"
          " 0) # 2034.948 us |  } /* main */\n");
}

TEST_CASE("text: a return without its call names the function", "[export]") {
    trace_snapshot trace = sample("function_graph");
    trace.events = {leave(2, hash_ip, 3'313, 1'382),
                    leave(1, parse_ip, 14'917, trace_event::unknown), enter(1, hash_ip, 20'000)};
    trace.events[0].lost_before = 7;
    CHECK(graph(trace) ==
          "CPU:0 [LOST 7 EVENTS]\n"
          " 0)   1.382 us    |      } /* hash<int> */\n"
          " 0)               |    } /* ns::parse */\n"
          " 0)               |    hash<int>() {\n");
}

TEST_CASE("text: results look like errno values or like words", "[export]") {
    trace_snapshot trace = sample("function_graph");
    const auto with_result = [](trace_event e, std::uint64_t value) {
        e.has_return_value = true;
        e.return_value = value;
        return e;
    };
    trace.events = {enter(0, main_ip, 0),
                    enter(1, parse_ip, 0),
                    with_result(leave(1, parse_ip, 1, 500), std::uint64_t{0} - 5),
                    enter(1, parse_ip, 2),
                    with_result(leave(1, parse_ip, 3, 500), 0xffff'fffb),
                    enter(1, parse_ip, 4),
                    with_result(leave(1, parse_ip, 5, 500), 0xffff'0000),
                    with_result(leave(0, main_ip, 6, 900), 0)};
    text_options options;
    options.funcgraph_retval = true;
    CHECK(graph(trace, options) ==
          " 0)               |  main() {\n"
          " 0)   0.500 us    |    ns::parse(); /* ret=-5 */\n"
          " 0)   0.500 us    |    ns::parse(); /* ret=-5 */\n"
          " 0)   0.500 us    |    ns::parse(); /* ret=0xffff0000 */\n"
          " 0)   0.900 us    |  } /* ret=0x0 */\n");
}

TEST_CASE("text: results are shown by their type where the name tells it", "[export]") {
    struct row {
        const char* linker_name;
        std::uint64_t first, second, vector;
        const char* shown;
    };
    constexpr std::uint64_t garbage = 0xdead'beef'0000'0000;
    const std::uint64_t one_and_a_half = std::bit_cast<std::uint64_t>(1.5);
    const std::uint64_t minus_two = garbage | std::bit_cast<std::uint32_t>(-2.0f);
    for (const row& r : {
             row{"_Z1fIiEiv", garbage | 42, 0, 0, "/* ret=42 */"},           // int f<int>()
             row{"_Z1fIiEiv", garbage | 0xffff'fffb, 0, 0, "/* ret=-5 */"},  // the same
             row{"_Z1fIjEjv", garbage | 42, 0, 0, "/* ret=0x2a */"},         // unsigned
             row{"_Z1fIbEbv", garbage | 1, 0, 0, "/* ret=true */"},          // bool
             row{"_Z1fIcEcv", garbage | 'x', 0, 0, "/* ret='x' */"},         // char
             row{"_Z1fIdEdv", garbage, 0, one_and_a_half, "/* ret=1.5 */"},  // double
             row{"_Z1fIfEfv", garbage, 0, minus_two, "/* ret=-2 */"},        // float
             row{"_Z1fIPcEPcv", 0x7f00'1234, 0, 0, "/* ret=0x7f001234 */"},  // char*
             row{"_Z1fInEnv", 5, 1, 0, "/* ret=0x10000000000000005 */"},     // __int128
             row{"_Z1fIeEev", 5, 1, 0, "/* ret=... */"},                     // long double
             row{"_Z1fIiESt17basic_string_viewIcSt11char_traitsIcEEv", 3, 0x7f00, 0,
                 "/* ret={0x3, 0x7f00} */"},  // string_view f<int>()
             row{"_Z1fIiESt4pairIiiEv", 0x0000'0002'0000'0001, 0, 0,
                 "/* ret={0x1, 0x2} */"},                                      // pair<int, int>
             row{"_Z1fIiESt8optionalIiEv", garbage, 0, 0, "/* ret={0x0} */"},  // its flag is set
             row{"_Z1fIiESt8optionalIiEv", 42, 0, 0, "/* ret=nullopt */"},
             row{"_Z1fIiEvv", 7, 0, 0, nullptr},                    // void f<int>()
             row{"_ZN1sC1Ev", 7, 0, 0, nullptr},                    // s::s()
             row{"_ZN1sD1Ev", 7, 0, 0, nullptr},                    // s::~s()
             row{"_ZdlPv", 7, 0, 0, nullptr},                       // operator delete
             row{"_Znwm", 0x5500, 0, 0, "/* ret=0x5500 */"},        // operator new
             row{"_ZNK1scvbEv", garbage, 0, 0, "/* ret=false */"},  // s::operator bool()
             row{"_Z1fIiE1sv", 7, 0, 0, "/* ret=0x7 */"},           // s f<int>(): not known
             row{"_Z1fi", 0xffff'fffb, 0, 0, "/* ret=-5 */"},       // f(int): not known
         }) {
        CAPTURE(r.linker_name);
        trace_snapshot trace = sample("function_graph");
        trace.symbols[hash_ip] = r.linker_name;
        trace.events = {enter(0, hash_ip, 0), leave(0, hash_ip, 1, 500)};
        trace.events[1].has_return_value = true;
        trace.events[1].return_value = r.first;
        trace.events[1].return_high = r.second;
        trace.events[1].return_vector = r.vector;
        text_options options;
        options.funcgraph_retval = true;
        const std::string line = graph(trace, options);
        if (r.shown == nullptr)
            CHECK(line.find("ret=") == std::string::npos);
        else
            CHECK(line.find(r.shown) != std::string::npos);
        CAPTURE(line);
        trace.changeable = {hash_ip};
        if (r.shown != nullptr) CHECK(graph(trace, options).find("ret=?") != std::string::npos);
    }
}

TEST_CASE("text: results in hexadecimal, whatever they are", "[export]") {
    trace_snapshot trace = sample("function_graph");
    trace.events = {enter(0, parse_ip, 0), leave(0, parse_ip, 1, 500)};
    trace.events[1].has_return_value = true;
    trace.events[1].return_value = 0xffff'fffb;
    text_options options;
    options.funcgraph_retval = options.funcgraph_retval_hex = true;
    CHECK(graph(trace, options) == " 0)   0.500 us    |  ns::parse(); /* ret=0xfffffffb */\n");
}

TEST_CASE("text: a call that calls nothing has two lines where that is wanted", "[export]") {
    trace_snapshot trace = sample("function_graph");
    trace.events = {enter(0, parse_ip, 0), leave(0, parse_ip, 500, 500)};
    text_options options;
    options.funcgraph_leaf = false;
    CHECK(graph(trace, options) ==
          " 0)               |  ns::parse() {\n"
          " 0)   0.500 us    |  }\n");
}

TEST_CASE("text: overruns stand on a line behind the brace", "[export]") {
    trace_snapshot trace = sample("function_graph");
    trace.events = {enter(0, main_ip, 0), enter(1, parse_ip, 1), leave(1, parse_ip, 2, 500),
                    leave(0, main_ip, 6, 900)};
    trace.events[3].overrun = 14;
    text_options options;
    options.funcgraph_overrun = true;
    // A leaf has none, as in the kernel.
    CHECK(graph(trace, options) ==
          " 0)               |  main() {\n"
          " 0)   0.500 us    |    ns::parse();\n"
          " 0)   0.900 us    |  }\n"
          " (Overruns: 14)\n");
}

TEST_CASE("text: calls that did not return say how they ended", "[export]") {
    trace_snapshot trace = sample("function_graph");
    const auto ended = [](trace_event e, graph_end how) {
        e.end = how;
        return e;
    };
    trace.exceptions = {{"St13runtime_error", main_ip}, {"N2ns5errorIiEE", 0}, {"", parse_ip}};
    trace.events = {enter(0, main_ip, 0),
                    enter(1, parse_ip, 1),
                    enter(2, hash_ip, 2),
                    ended(leave(2, hash_ip, 900, 901), graph_end::exception),
                    ended(leave(1, parse_ip, 51'301, 51'300), graph_end::exception),
                    ended(leave(0, main_ip, 60'000, 60'000), graph_end::exception)};
    trace.events[3].exception = trace.events[4].exception = 0;
    trace.events[5].exception = 1;
    CHECK(graph(trace) ==
          " 0)               |  main() {\n"
          " 0)               |    ns::parse() {\n"
          " 0)   0.901 us    |      hash<int>(); /* ! std::runtime_error, caught in main */\n"
          " 0) + 51.300 us   |    } /* ns::parse ! std::runtime_error, caught in main */\n"
          " 0) + 60.000 us   |  } /* main ! ns::error<int> */\n");
    trace.events[5].exception = 2;
    CHECK(graph(trace).find("} /* main ! exception, caught in ns::parse */\n") !=
          std::string::npos);
    trace.events[5].exception = trace_event::no_exception;
    CHECK(graph(trace).find("} /* main ! exception */\n") != std::string::npos);
    text_options options;
    options.names.templates = ftrace::template_arguments::hidden;
    options.funcgraph_retval = true;
    trace.events[5].exception = 1;
    trace.events[5].has_return_value = true;  // means nothing
    CHECK(graph(trace, options).find("} /* main ! ns::error */\n") != std::string::npos);
    // A name too long to be recorded whole.
    trace.exceptions[1].type = "N2ns11a_long_name";
    CHECK(graph(trace).find("} /* main ! N2ns11a_long_name... */\n") != std::string::npos);

    trace.events = {enter(0, main_ip, 0),
                    enter(1, parse_ip, 1),
                    ended(leave(1, parse_ip, 900, trace_event::unknown), graph_end::longjmp),
                    enter(1, parse_ip, 1'000),
                    enter(2, hash_ip, 1'001),
                    ended(leave(2, hash_ip, 1'100, 99), graph_end::tail_call),
                    ended(leave(1, parse_ip, 1'200, trace_event::unknown), graph_end::abandoned),
                    ended(leave(0, main_ip, 2'000, 2'000), graph_end::thread_exit)};
    CHECK(graph(trace) ==
          " 0)               |  main() {\n"
          " 0)               |    ns::parse(); /* longjmp */\n"
          " 0)               |    ns::parse() {\n"
          " 0)   0.099 us    |      hash<int>(); /* tail call */\n"
          " 0)               |    } /* ns::parse: abandoned */\n"
          " 0)   2.000 us    |  } /* main: thread exit */\n");
}

TEST_CASE("text: another thread on a CPU is announced by a frame", "[export]") {
    trace_snapshot trace = sample("function_graph");
    trace.threads = {{1, "migration/0"}, {1755, "sshd"}};
    trace.events = {enter(0, main_ip, 1'000, 0, 0),      enter(0, hash_ip, 1'500, 1, 1),
                    leave(0, hash_ip, 2'000, 500, 1, 1), enter(0, hash_ip, 3'000, 1, 0),
                    leave(0, hash_ip, 3'541, 541, 1, 0), leave(0, main_ip, 9'000, 8'000, 0, 0)};
    CHECK(graph(trace) ==
          " 0)               |  main() {\n"
          " 1)   0.500 us    |  hash<int>();\n"
          " ------------------------------------------\n"
          " 0)   migrati-1    =>   sshd-1755   \n"
          " ------------------------------------------\n"
          "\n"
          " 0)   0.541 us    |  hash<int>();\n"
          " ------------------------------------------\n"
          " 0)   sshd-1755    =>   migrati-1   \n"
          " ------------------------------------------\n"
          "\n"
          " 0)   8.000 us    |  }\n");
    text_options options;
    options.by_thread = true;
    CHECK(graph(trace, options) ==
          " 0)   8.000 us    |  main();\n"
          " ------------------------------------------\n"
          " 1)   migrati-1    =>   sshd-1755   \n"
          " ------------------------------------------\n"
          "\n"
          " 1)   0.500 us    |  hash<int>();\n"
          " 0)   0.541 us    |  hash<int>();\n");
}

TEST_CASE("text: a leaf stays a leaf when another thread runs between its two events", "[export]") {
    trace_snapshot trace = sample("function_graph");
    trace.events = {enter(0, hash_ip, 1'000, 0, 0), enter(0, parse_ip, 1'100, 1, 1),
                    leave(0, hash_ip, 1'200, 200, 0, 0), leave(0, parse_ip, 1'700, 600, 1, 1)};
    CHECK(graph(trace) ==
          " 0)   0.200 us    |  hash<int>();\n"
          " 1)   0.600 us    |  ns::parse();\n");
}

TEST_CASE("text: a leaf stays a leaf when its thread goes to another CPU", "[export]") {
    trace_snapshot trace = sample("function_graph");
    trace.events = {enter(0, hash_ip, 1'000, 0, 0), leave(0, hash_ip, 1'200, 200, 0, 1),
                    enter(0, hash_ip, 2'000, 0, 1), enter(0, parse_ip, 2'100, 1, 1),
                    leave(0, hash_ip, 2'200, 200, 0, 0)};
    CHECK(graph(trace) ==
          " 0)   0.200 us    |  hash<int>();\n"
          " 1)               |  hash<int>() {\n"
          " ------------------------------------------\n"
          " 1)    app-1234    =>  worker--1240 \n"
          " ------------------------------------------\n"
          "\n"
          " 1)               |  ns::parse() {\n"
          " 0)   0.200 us    |  }\n");
}

TEST_CASE("text: process and time columns, and none", "[export]") {
    trace_snapshot trace = sample("function_graph");
    trace.threads[0] = {4802, "sh"};
    trace.events = {enter(2, hash_ip, 360'774'522'000), leave(2, hash_ip, 360'774'523'000, 616)};
    text_options options;
    options.funcgraph_proc = true;
    CHECK(to_text(trace, options) ==
          "# tracer: function_graph\n"
          "#\n"
          "# CPU  TASK/PID         DURATION                  FUNCTION CALLS\n"
          "# |     |    |           |   |                     |   |   |   |\n"
          " 0)    sh-4802     |   0.616 us    |      hash<int>();\n");
    options = {};
    options.funcgraph_abstime = true;
    CHECK(to_text(trace, options) ==
          "# tracer: function_graph\n"
          "#\n"
          "#     TIME        CPU  DURATION                  FUNCTION CALLS\n"
          "#      |          |     |   |                     |   |   |   |\n"
          "  360.774522 |   0)   0.616 us    |      hash<int>();\n");
    options = {};
    options.funcgraph_cpu = false;
    options.funcgraph_duration = false;
    CHECK(to_text(trace, options) ==
          "# tracer: function_graph\n"
          "#\n"
          "#               FUNCTION CALLS\n"
          "#               |   |   |   |\n"
          "    hash<int>();\n");
}

TEST_CASE("text: CPU numbers are as wide as the machine's highest", "[export]") {
    trace_snapshot trace = sample("function_graph");
    trace.cpus = 128;
    trace.events = {enter(0, main_ip, 1, 0, 7), enter(1, main_ip, 2, 0, 101)};
    CHECK(graph(trace) ==
          "   7)               |  main() {\n"
          " 101)               |    main() {\n");
    trace.cpus = 10;
    CHECK(graph(trace) ==
          " 7)               |  main() {\n"
          " 101)               |    main() {\n");
}

TEST_CASE("text: calls that an exception left are closed where that shows", "[export]") {
    trace_snapshot trace = sample("function_graph");
    trace.events = {
        enter(0, main_ip, 0), enter(1, parse_ip, 1),     enter(2, hash_ip, 2),  // both are left
        enter(1, hash_ip, 3), leave(1, hash_ip, 4, 250), leave(0, main_ip, 6, 6'000)};
    CHECK(graph(trace) ==
          " 0)               |  main() {\n"
          " 0)               |    ns::parse() {\n"
          " 0)               |      hash<int>() {\n"
          " 0)               |      } /* hash<int>: no return */\n"
          " 0)               |    } /* ns::parse: no return */\n"
          " 0)   0.250 us    |    hash<int>();\n"
          " 0)   6.000 us    |  }\n");
    trace.events = {enter(0, main_ip, 0), enter(1, parse_ip, 1), leave(0, main_ip, 6, 6'000)};
    CHECK(graph(trace) ==
          " 0)               |  main() {\n"
          " 0)               |    ns::parse() {\n"
          " 0)               |    } /* ns::parse: no return */\n"
          " 0)   6.000 us    |  }\n");
}

TEST_CASE("text: a fiber's call that returns later is not announced as left", "[export]") {
    trace_snapshot trace = sample("function_graph");
    // parse is left open on its fiber; main returns; parse goes on and returns at its old depth.
    trace.events = {enter(0, main_ip, 0),      enter(1, parse_ip, 1),
                    leave(0, main_ip, 2, 500), enter(0, hash_ip, 3),
                    leave(0, hash_ip, 4, 250), enter(1, hash_ip, 5),
                    leave(1, hash_ip, 6, 250), leave(1, parse_ip, 7'000, 6'999)};
    CHECK(graph(trace) ==
          " 0)               |  main() {\n"
          " 0)               |    ns::parse() {\n"
          " 0)   0.500 us    |  }\n"
          " 0)   0.250 us    |  hash<int>();\n"
          " 0)   0.250 us    |    hash<int>();\n"
          " 0)   6.999 us    |    } /* ns::parse */\n");
    // A later call of the same function is another one: the first was left.
    trace.events = {enter(0, main_ip, 0), enter(1, parse_ip, 1), enter(1, parse_ip, 2),
                    enter(2, hash_ip, 3), leave(1, parse_ip, 4, 250)};
    CHECK(graph(trace) ==
          " 0)               |  main() {\n"
          " 0)               |    ns::parse() {\n"
          " 0)               |    } /* ns::parse: no return */\n"
          " 0)               |    ns::parse() {\n"
          " 0)               |      hash<int>() {\n"
          " 0)               |      } /* hash<int>: no return */\n"
          " 0)   0.250 us    |    }\n");
}

TEST_CASE("text: the end of a fiber's call on another thread is no end of a call there",
          "[export]") {
    trace_snapshot trace = sample("function_graph");
    // Both threads are in parse; the fiber of the first one goes on, and returns, on the second.
    trace.events = {enter(0, parse_ip, 1'000, 0, 0),       enter(0, parse_ip, 2'000, 1, 1),
                    enter(1, hash_ip, 3'000, 1, 1),        leave(0, parse_ip, 4'000, 3'000, 1, 1),
                    leave(1, hash_ip, 5'000, 2'000, 1, 1), leave(0, parse_ip, 6'000, 4'000, 1, 1),
                    enter(0, main_ip, 7'000, 0, 0)};
    trace.events[3].began_on = 0;
    CHECK(graph(trace) ==
          " 0)               |  ns::parse() {\n"
          " 1)               |  ns::parse() {\n"
          " 1)               |    hash<int>() {\n"
          " 1)   3.000 us    |  } /* ns::parse */\n"
          " 1)   2.000 us    |    }\n"
          " 1)   4.000 us    |  }\n"
          " 0)               |  main() {\n");
}

TEST_CASE("text: of two fibers' calls each has its own end", "[export]") {
    trace_snapshot trace = sample("function_graph");
    // Two fibers are in parse at the same depth; the first one returns first.
    trace.events = {enter(0, parse_ip, 1'000), enter(0, parse_ip, 2'000),
                    leave(0, parse_ip, 3'000, 2'000), leave(0, parse_ip, 4'000, 2'000)};
    trace.events[2].call_time = 1'000;
    trace.events[3].call_time = 2'000;
    CHECK(graph(trace) ==
          " 0)               |  ns::parse() {\n"
          " 0)               |  ns::parse() {\n"
          " 0)   2.000 us    |  } /* ns::parse */\n"
          " 0)   2.000 us    |  }\n");
    // Without a time the innermost is meant, as where calls nest.
    trace.events[2].call_time = trace.events[3].call_time = trace_event::unknown;
    CHECK(graph(trace) ==
          " 0)               |  ns::parse() {\n"
          " 0)   2.000 us    |  ns::parse();\n"
          " 0)   2.000 us    |  } /* ns::parse */\n");
}

TEST_CASE("text: calls of a thread that is over are closed", "[export]") {
    trace_snapshot trace = sample("function_graph");
    trace.threads = {{1, "app"}, {2, "worker"}};
    trace.events = {enter(0, main_ip, 0, 0, 0), enter(0, parse_ip, 1, 1, 1),
                    enter(1, hash_ip, 2, 1, 1)};
    const std::string open =
        " 0)               |  main() {\n"
        " 1)               |  ns::parse() {\n"
        " 1)               |    hash<int>() {\n";
    CHECK(graph(trace) == open);
    trace.threads[1].ended = true;
    const std::string closed = open +
                               " 1)               |    } /* hash<int>: no return */\n"
                               " 1)               |  } /* ns::parse: no return */\n";
    CHECK(graph(trace) == closed);
    text_options options;
    options.most_events = 2;
    CHECK(graph(trace, options).find("no return") == std::string::npos);
    options = {};
    options.by_thread = true;
    CHECK(graph(trace, options).find("no return") != std::string::npos);
    trace.threads[1].lost_after = 1;  // maybe its return
    CHECK(graph(trace) == open + "CPU:0 [LOST 1 EVENTS]\n");
}

TEST_CASE("text: arguments stand in the parentheses", "[export]") {
    trace_snapshot trace = sample("function");
    trace.argument_words.assign(28, 0);
    trace.argument_words[0] = 0;  // a null pointer first: no hidden argument is in front of it
    trace.argument_words[1] = 0xdead'beef'0000'0003;
    trace.argument_words[14] = 42;
    trace.events = {call(event_kind::function, 0, 0, 1'000, parse_ip, main_ip),
                    call(event_kind::function, 0, 0, 2'000, hash_ip, main_ip),
                    call(event_kind::function, 0, 0, 3'000, main_ip, 0)};
    trace.events[0].arguments = 0;
    trace.events[1].arguments = 14;
    const std::string text = to_text(trace);
    CHECK(text.substr(text.rfind("|         |\n") + 12) ==
          "             app-1234    [000] .....     0.000001: ns::parse(0x0, 3) <-main\n"
          "             app-1234    [000] .....     0.000002: hash<int>(42) <-main\n"
          "             app-1234    [000] .....     0.000003: main\n");
    text_options options;
    options.names.arguments = false;
    CHECK(to_text(trace, options).find("ns::parse <-main\n") != std::string::npos);
}

TEST_CASE("text: the beginning alone", "[export]") {
    trace_snapshot trace = sample("function_graph");
    trace.events = {enter(0, main_ip, 0), enter(1, hash_ip, 1), leave(1, hash_ip, 2, 250),
                    leave(0, main_ip, 6, 6'000)};
    trace.threads[0].lost_after = 3;
    text_options options;
    options.most_events = 2;
    CHECK(graph(trace, options) ==
          " 0)               |  main() {\n"
          " 0)   0.250 us    |    hash<int>();\n");
    trace.tracer = "function";
    options.most_events = 1;
    const std::string text = to_text(trace, options);
    CHECK(text.substr(text.rfind("|         |\n") + 12) ==
          "             app-1234    [000] .....     0.000000: main <-main\n");
}

TEST_CASE("text: long names can be cut to their last components", "[export]") {
    trace_snapshot trace = sample("function_graph");
    trace.symbols[hash_ip] = "_ZN1a1bIN1c1dEE1eEv";  // a::b<c::d>::e()
    trace.events = {enter(0, hash_ip, 0), leave(0, hash_ip, 1, 250), enter(0, main_ip, 2)};
    text_options options;
    options.names.components = 2;
    CHECK(graph(trace, options) ==
          " 0)   0.250 us    |  b<c::d>::e();\n"
          " 0)               |  main() {\n");
    options.names.templates = ftrace::template_arguments::collapsed;
    options.names.components = 3;
    CHECK(graph(trace, options) ==
          " 0)   0.250 us    |  a::b<..>::e();\n"
          " 0)               |  main() {\n");
}
