// A file that took fmt in its compiled form before the library's headers: one of many forms must not
// keep another from compiling or linking. The build links -lfmt, as such a program does.
#include <fmt/format.h>

#ifdef FMT_HEADER_ONLY
#error "this file is about the compiled form"
#endif

#include <ftrace/export/text.hpp>
#include <ftrace/export/top.hpp>

#include <catch2/catch_test_macros.hpp>
#include <string>

#ifdef FMT_HEADER_ONLY
#error "the library changed the form that the program had chosen"
#endif

TEST_CASE("fmt: a file that included its compiled form first uses that", "[export]") {
    const ftrace::trace_snapshot nothing;
    CHECK(fmt::format("{:.2f}", 2.5) == "2.50");
    CHECK(to_text(nothing).find("0/0   #P:1\n") != std::string::npos);
    CHECK(top(nothing).find("Hit\n") != std::string::npos);
}
