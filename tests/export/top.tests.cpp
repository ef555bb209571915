// What is expected here was computed by hand.
#include <ftrace/export/top.hpp>

#include <catch2/catch_test_macros.hpp>
#include <cstdint>
#include <string>

using ftrace::event_kind;
using ftrace::trace_event;
using ftrace::trace_snapshot;

namespace {

void add(trace_snapshot& trace, event_kind kind, std::uint32_t depth, std::uintptr_t ip,
         std::uint64_t time, std::uint64_t duration = trace_event::unknown,
         std::uint32_t thread = 0) {
    trace_event e;
    e.kind = kind;
    e.depth = depth;
    e.ip = ip;
    e.time = time;
    e.duration = duration;
    e.thread = thread;
    trace.events.push_back(e);
}

// outer: 10 us, of which inner takes 2 us + 4 us; then inner alone, 3 us, in another thread.
trace_snapshot sample() {
    trace_snapshot trace;
    trace.threads = {{1, "a"}, {2, "b"}};
    trace.symbols = {{0x10, "outer"}, {0x20, "inner"}, {0x30, "never_returns"}};
    add(trace, event_kind::graph_entry, 0, 0x10, 1'000);
    add(trace, event_kind::graph_entry, 1, 0x20, 2'000);
    add(trace, event_kind::graph_entry, 0, 0x20, 2'500, trace_event::unknown, 1);
    add(trace, event_kind::graph_return, 1, 0x20, 4'000, 2'000);
    add(trace, event_kind::graph_entry, 1, 0x20, 5'000);
    add(trace, event_kind::graph_return, 0, 0x20, 5'500, 3'000, 1);
    add(trace, event_kind::graph_return, 1, 0x20, 9'000, 4'000);
    add(trace, event_kind::graph_return, 0, 0x10, 11'000, 10'000);
    add(trace, event_kind::graph_entry, 0, 0x30, 12'000);
    return trace;
}

}  // namespace

TEST_CASE("top: the table is the kernel's", "[export]") {
    // inner: 2, 4, 3 us: average 3, s^2 = ((2-3)^2 + (4-3)^2 + 0) / 2 = 1 square microsecond
    CHECK(ftrace::top(sample()) ==
          "  Function                               Hit    Time            Avg             s^2\n"
          "  --------                               ---    ----            ---             ---\n"
          "  outer                                    1    10.000 us       10.000 us       0.000 "
          "us    \n"
          "  inner                                    3    9.000 us        3.000 us        1.000 "
          "us    \n"
          "  never_returns                            1    0.000 us        0.000 us        0.000 "
          "us    \n");
}

TEST_CASE("top: time of its own, order and count can be chosen", "[export]") {
    ftrace::top_options options;
    options.self = true;
    options.order = ftrace::profile_order::self;
    options.count = 2;
    options.name_width = 8;
    CHECK(
        ftrace::top(sample(), options) ==
        "  Function         Hit    Time            Self            Avg             s^2\n"
        "  --------         ---    ----            ----            ---             ---\n"
        "  inner              3    9.000 us        9.000 us        3.000 us        1.000 us    \n"
        "  outer              1    10.000 us       4.000 us        10.000 us       0.000 us    \n");
    options.order = ftrace::profile_order::hits;
    options.count = 1;
    CHECK(ftrace::top(sample(), options).find("inner  ") != std::string::npos);
    CHECK(ftrace::top(sample(), options).find("outer  ") == std::string::npos);
}

TEST_CASE("top: a function trace counts calls", "[export]") {
    trace_snapshot trace = sample();
    trace.events.clear();
    add(trace, event_kind::function, 0, 0x20, 1);
    add(trace, event_kind::function, 0, 0x10, 2);
    add(trace, event_kind::function, 0, 0x20, 3);
    CHECK(ftrace::top(trace) ==
          "  Function                               Hit\n"
          "  --------                               ---\n"
          "  inner                                    2\n"
          "  outer                                    1\n");
}

TEST_CASE("top: a return whose call was overwritten counts", "[export]") {
    trace_snapshot trace = sample();
    trace.events.erase(trace.events.begin());
    for (const ftrace::function_profile& f : ftrace::profile(trace))
        if (f.ip == 0x10) {
            CHECK(f.hits == 1);
            CHECK(f.time == 10'000);
            CHECK(f.self == 4'000);
        }
}

TEST_CASE("top: instances that look the same are one row", "[export]") {
    trace_snapshot trace = sample();
    trace.symbols = {{0x10, "_Z4hashIiEvT_"}, {0x20, "_Z4hashIdEvT_"}, {0x30, "_Z4pushv"}};
    ftrace::top_options options;
    options.name_width = 8;
    CHECK(ftrace::top(trace, options).find("hash<dou") != std::string::npos);
    trace.symbols[0x30] = "_Z4hashIdEvT_l";  // another overload: parameters are never shown
    trace.symbols[0x20] = "_Z4hashIdEvT_";
    CHECK(ftrace::top(trace, options).find("hash<dou           4") != std::string::npos);
    options.names.replace = {{"<double>", "<int>"}};
    CHECK(ftrace::top(trace, options).find("hash<int           5") != std::string::npos);
    options.names.replace.clear();
    trace.symbols[0x30] = "_Z4pushv";
    options.names.templates = ftrace::template_arguments::hidden;
    // 10, 2, 4 and 3 us: average 4.75, s^2 = (27.5625 + 7.5625 + 0.5625 + 3.0625) / 3
    CHECK(ftrace::top(trace, options) ==
          "  Function         Hit    Time            Avg             s^2\n"
          "  --------         ---    ----            ---             ---\n"
          "  hash               4    19.000 us       4.750 us        12.916 us   \n"
          "  push               1    0.000 us        0.000 us        0.000 us    \n");
}

TEST_CASE("top: lost events are told, and no time is taken over a gap", "[export]") {
    trace_snapshot trace;
    trace.threads = {{1, "a"}};
    trace.symbols = {{0x10, "outer"}, {0x20, "inner"}};
    add(trace, event_kind::graph_entry, 0, 0x10, 1'000);
    add(trace, event_kind::graph_entry, 1, 0x20, 2'000);
    add(trace, event_kind::graph_return, 1, 0x20, 4'000, 2'000);
    add(trace, event_kind::graph_return, 0, 0x10, 9'000);  // of a call that was lost
    trace.events.back().lost_before = 5;
    trace.overwritten = 5;
    trace.dropped = 2;
    for (const ftrace::function_profile& f : ftrace::profile(trace))
        if (f.ip == 0x10) CHECK(f.returns == 0);
    const std::string text = ftrace::top(trace);
    CHECK(text.substr(text.find("  [")) == "  [LOST 7 EVENTS]\n");
    trace.events.back().duration = 4'000;  // inner was called by an earlier call
    for (const ftrace::function_profile& f : ftrace::profile(trace))
        if (f.ip == 0x10) CHECK(f.self == 4'000);
}
