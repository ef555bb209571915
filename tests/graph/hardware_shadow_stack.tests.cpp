// Where the processor keeps a shadow stack of its own (CET), return addresses must not be replaced.
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cstdint>
#include <ftrace/ftrace.hpp>
#include <ftrace/graph/fprobe.hpp>

#include "event_log.hpp"

using namespace ftrace;
using Catch::Matchers::ContainsSubstring;

namespace hooked {

HOOKED_FUNCTION int work(int x) {
    KEEP(x);
    return x + 1;
}

}  // namespace hooked

namespace {

std::uint64_t answer = 0;
bool asked = false;
bool answers(std::uint64_t& features) noexcept {
    asked = true;
    features = answer;
    return true;
}

int calls = 0;
void count(unsigned long, unsigned long, ftrace_ops&, ftrace_regs&) noexcept { ++calls; }

}  // namespace

TEST_CASE("hardware shadow stack: return hooks are refused with advice, all else works",
          "[graph]") {
    detail::shadow_stack_features = answers;
    answer = 1 | 2;  // shadow stack, and wrss: <asm/prctl.h>
    fgraph_ops hooks(
        [](const ftrace_graph_ent&, fgraph_ops&, ftrace_regs&) noexcept { return true; },
        [](const ftrace_graph_ret&, fgraph_ops&, ftrace_regs&) noexcept {});
    REQUIRE(hooks.ops.set_filter("hooked::work"));
    const auto refused = register_ftrace_graph(hooks);
    CHECK(asked);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code == errc::permission_denied);
    CHECK_THAT(refused.error().message, ContainsSubstring("hardware shadow stack") &&
                                            ContainsSubstring("GLIBC_TUNABLES") &&
                                            ContainsSubstring("ftrace::probe<&f>"));
    CHECK_FALSE(hooks.ops.registered());
    CHECK(hooked::work(1) == 2);

    fprobe probe(nullptr, [](fprobe&, const fprobe_exit&, ftrace_regs&, void*) noexcept {});
    const auto also_refused = register_fprobe(probe, "hooked::work");
    REQUIRE_FALSE(also_refused);
    CHECK(also_refused.error().code == errc::permission_denied);

    ops<count> entries;
    REQUIRE(entries.set_filter("hooked::work"));
    {
        const auto on = register_ftrace_function(entries);
        REQUIRE(on);
        CHECK(hooked::work(2) == 3);
        CHECK(calls == 1);
    }
    int result = 0;
    {
        const auto typed =
            ftrace::probe<&hooked::work>([](int&) {}, [&](int& returned) { result = returned; });
        REQUIRE(typed);
        CHECK(hooked::work(3) == 4);
        CHECK(result == 4);
    }

    // Entries alone replace nothing.
    int entered = 0;
    fgraph_ops looks(
        [](const ftrace_graph_ent&, fgraph_ops& self, ftrace_regs&) noexcept {
            ++*static_cast<int*>(self.private_data);
            return true;
        },
        nullptr, &entered);
    REQUIRE(looks.ops.set_filter("hooked::work"));
    {
        const auto on = register_ftrace_graph(looks);
        REQUIRE(on);
        CHECK(hooked::work(3) == 4);
        CHECK(entered == 1);
    }
    fprobe looking(
        [](fprobe&, unsigned long, unsigned long, ftrace_regs&, void*) noexcept { return 0; },
        nullptr);
    REQUIRE(register_fprobe(looking, "hooked::work"));

    // A process without: features that are something else do not matter.
    answer = 2;
    const auto allowed = register_ftrace_graph(hooks);
    REQUIRE(allowed);
    CHECK(hooked::work(4) == 5);
}
