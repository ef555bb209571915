// fprobe: what its handlers see and when they come; how it is registered.
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <ftrace/args/args.hpp>
#include <ftrace/graph/fprobe.hpp>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "event_log.hpp"
#include "fiber.hpp"

using namespace ftrace;
using Catch::Matchers::ContainsSubstring;
using event_log::note;

namespace plain {

unsigned long return_address;
fprobe_registration* to_unregister = nullptr;
struct failure {};

}  // namespace plain

namespace hooked {

using namespace plain;

HOOKED_FUNCTION int leaf(int x) {
    return_address = reinterpret_cast<unsigned long>(__builtin_return_address(0));
    KEEP(x);
    return x * 2;
}
HOOKED_FUNCTION int middle(int x) {
    int result = leaf(x);
    KEEP(result);
    return result + 1;
}
HOOKED_FUNCTION int other(int x) {
    KEEP(x);
    return -x;
}
HOOKED_FUNCTION int recurses(int x) {
    if (x == 0) return 0;
    int result = recurses(x - 1);
    KEEP(result);
    return result + 1;
}
HOOKED_FUNCTION int throws(int x) {
    KEEP(x);
    throw failure{};
}
HOOKED_FUNCTION int catches(int x) {
    int result = 0;
    try {
        result = throws(x);
    } catch (const failure&) {
        result = 9;
    }
    KEEP(result);
    return result;
}
HOOKED_FUNCTION int unregisters(int x) {
    to_unregister->unregister().value();
    KEEP(x);
    return x;
}
HOOKED_FUNCTION int yields(fiber& self) {
    self.yield();
    int result = 3;
    KEEP(result);
    return result;
}
HOOKED_FUNCTION int yields_inside(fiber& self) {
    int result = yields(self);
    KEEP(result);
    return result;
}
// Jumps to leaf(x).
int jumps_to_leaf(int x);
HOOKED_FUNCTION int calls_jump(int x) {
    int result = jumps_to_leaf(x);
    KEEP(result);
    return result;
}

}  // namespace hooked

__asm__(
    ".pushsection .text.jumps, \"ax\", @progbits\n"
    ".globl _ZN6hooked13jumps_to_leafEi\n"
    ".type _ZN6hooked13jumps_to_leafEi, @function\n"
    "_ZN6hooked13jumps_to_leafEi: .cfi_startproc\n"
    ".Ljumps_site: .skip 5, 0x90\n"
    "jmp _ZN6hooked4leafEi\n"
    ".cfi_endproc\n"
    ".size _ZN6hooked13jumps_to_leafEi, . - _ZN6hooked13jumps_to_leafEi\n"
    ".pushsection __patchable_function_entries, \"awo\", @progbits, .text.jumps\n"
    ".balign 8\n"
    ".quad .Ljumps_site\n"
    ".popsection\n"
    ".popsection\n");

namespace {

// "+leaf(3)" and "-leaf=6", into the log; the entry's addresses must be those of the exit.
struct call_record {
    unsigned long entry_ip, ret_ip;
    int argument;
};
int wrong_addresses = 0;

int see_entry(fprobe&, unsigned long entry_ip, unsigned long ret_ip, ftrace_regs& regs,
              void* entry_data) noexcept {
    const auto argument = static_cast<int>(regs_get_argument<0>(regs));
    note("+");
    event_log::put(event_log::name_of(entry_ip));
    event_log::put("(");
    event_log::put(argument);
    event_log::put(")");
    if (ftrace_graph_ret_addr(ret_ip) != ret_ip) ++wrong_addresses;
    if (entry_data != nullptr)
        *static_cast<call_record*>(entry_data) = {entry_ip, ret_ip, argument};
    return 0;
}
void see_exit(fprobe&, const fprobe_exit& exit, ftrace_regs& regs, void* entry_data) noexcept {
    note("-");
    event_log::put(event_log::name_of(exit.entry_ip));
    if (exit.end == graph_end::returned) {
        event_log::put("=");
        event_log::put(static_cast<int>(regs_get_return_value(regs)));
    } else {
        event_log::put(exit.end == graph_end::exception ? "!" : "?");
        event_log::put(event_log::name_of(exit.exception));
        event_log::put("@");
        event_log::put(event_log::name_of(exit.handler));
    }
    const auto* const record = static_cast<const call_record*>(entry_data);
    if (record != nullptr && (record->entry_ip != exit.entry_ip || record->ret_ip != exit.ret_ip))
        ++wrong_addresses;
}

// A global that is used before main, and before it was constructed, were it not a constant.
extern fprobe early;
struct uses_early {
    std::string seen;
    int result;
    uses_early() : result(0) {
        auto on = register_fprobe_syms(early, {"hooked::middle"});
        if (!on) return;
        event_log::clear();
        result = hooked::middle(2);
        seen = event_log::all();
    }
} const before_main;
constinit fprobe early(
    [](fprobe& self, unsigned long, unsigned long, ftrace_regs&, void*) noexcept {
        note(static_cast<const char*>(self.private_data));
        return 0;
    },
    [](fprobe&, const fprobe_exit&, ftrace_regs&, void*) noexcept { note("exit"); }, 0,
    const_cast<char*>("entry"));

void begin() {
    event_log::first_name = event_log::names().data();
    event_log::name_count = event_log::names().size();
    event_log::types[0] = {&typeid(plain::failure), "failure"};
    event_log::clear();
}
/// What `probe` says of one call of each function.
std::string said() {
    begin();
    hooked::middle(1);
    hooked::other(2);
    return event_log::all();
}

}  // namespace

TEST_CASE("fprobe: entry and exit, with the true addresses", "[graph]") {
    begin();
    fprobe probe(see_entry, see_exit, sizeof(call_record));
    auto on = register_fprobe(probe, "hooked::leaf; hooked::middle");
    REQUIRE(on);
    CHECK(probe.registered());
    CHECK(hooked::middle(3) == 7);
    CHECK(event_log::all() == "+middle(3) +leaf(3) -leaf=6 -middle=7");
    CHECK(wrong_addresses == 0);
    CHECK(ftrace_graph_ret_addr(plain::return_address) != plain::return_address);
    CHECK(probe.nmissed() == 0);
    REQUIRE(on->unregister());
    CHECK_FALSE(probe.registered());
    CHECK(said() == "");
    CHECK(on->unregister().error().code == errc::not_registered);
}

TEST_CASE("fprobe: calls in tails return to the caller of the first one", "[graph]") {
    begin();
    static std::vector<unsigned long> at_entry, at_exit;
    fprobe probe(
        [](fprobe&, unsigned long, unsigned long ret_ip, ftrace_regs&, void*) noexcept {
            at_entry.push_back(ret_ip);
            return 0;
        },
        [](fprobe&, const fprobe_exit& exit, ftrace_regs&, void*) noexcept {
            at_exit.push_back(exit.ret_ip);
        });
    const auto on = register_fprobe(probe, "hooked::leaf; hooked::jumps_to_leaf");
    REQUIRE(on);
    CHECK(hooked::calls_jump(4) == 8);
    REQUIRE(at_entry.size() == 2);
    REQUIRE(at_exit.size() == 2);
    const auto caller = reinterpret_cast<unsigned long>(&hooked::calls_jump);
    for (const auto* seen : {&at_entry, &at_exit})
        for (const unsigned long ret_ip : *seen) {
            CHECK(ret_ip - caller < 300);
            CHECK(ret_ip == at_entry[0]);
        }
}

TEST_CASE("fprobe: an exception is an exit", "[graph]") {
    begin();
    fprobe probe(see_entry, see_exit, sizeof(call_record));
    const auto on = register_fprobe(probe, "hooked::throws");
    REQUIRE(on);
    CHECK(hooked::catches(1) == 9);
    CHECK(event_log::all() == "+throws(1) -throws!failure@catches");
    CHECK(wrong_addresses == 0);
}

TEST_CASE("fprobe: data of each call, of any size", "[graph]") {
    begin();
    struct sized {
        std::size_t size;
        int calls = 0, exits = 0, wrong = 0;
    };
    for (const std::size_t size :
         {std::size_t{1}, std::size_t{120}, std::size_t{4000}, std::size_t{65536}}) {
        CAPTURE(size);
        sized seen{size};
        fprobe probe(
            [](fprobe& self, unsigned long, unsigned long, ftrace_regs& regs,
               void* entry_data) noexcept {
                auto& mine = *static_cast<sized*>(self.private_data);
                auto* const bytes = static_cast<unsigned char*>(entry_data);
                ++mine.calls;
                if (reinterpret_cast<std::uintptr_t>(bytes) % 16 != 0) ++mine.wrong;
                for (std::size_t i = 0; i < mine.size; ++i)
                    if (bytes[i] != 0) ++mine.wrong;
                std::memset(bytes, static_cast<int>(regs_get_argument<0>(regs)) + 1, mine.size);
                return 0;
            },
            [](fprobe& self, const fprobe_exit&, ftrace_regs& regs, void* entry_data) noexcept {
                auto& mine = *static_cast<sized*>(self.private_data);
                const auto* const bytes = static_cast<const unsigned char*>(entry_data);
                ++mine.exits;
                // recurses() returns its argument.
                const auto wanted = static_cast<unsigned char>(regs_get_return_value(regs) + 1);
                for (std::size_t i = 0; i < mine.size; ++i)
                    if (bytes[i] != wanted) ++mine.wrong;
            },
            size, &seen);
        const auto on = register_fprobe(probe, "hooked::recurses");
        REQUIRE(on);
        for (int again = 0; again < 2; ++again) CHECK(hooked::recurses(30) == 30);
        CHECK(seen.calls == 62);
        CHECK(seen.exits == 62);
        CHECK(seen.wrong == 0);
    }
    fprobe too_large(see_entry, see_exit, 65537);
    const auto refused = register_fprobe(too_large, "hooked::leaf");
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code == errc::invalid_argument);
}

TEST_CASE("fprobe: no data without a size or an exit handler", "[graph]") {
    static void* entry_data = nullptr;
    static int calls = 0;
    const auto looks = [](fprobe&, unsigned long, unsigned long, ftrace_regs&,
                          void* data) noexcept {
        entry_data = data;
        ++calls;
        return 0;
    };
    const auto exits = [](fprobe&, const fprobe_exit&, ftrace_regs&, void* data) noexcept {
        if (data != nullptr) entry_data = data;
        ++calls;
    };
    fprobe no_size(looks, exits), no_exit(looks, nullptr, 64);
    for (fprobe* probe : {&no_size, &no_exit}) {
        calls = 0;
        entry_data = &calls;
        const auto on = register_fprobe(*probe, "hooked::leaf");
        REQUIRE(on);
        CHECK(hooked::leaf(1) == 2);
        CHECK(calls == (probe == &no_size ? 2 : 1));
        CHECK(entry_data == nullptr);
        // Without an exit handler the return address is the caller's own.
        CHECK((ftrace_graph_ret_addr(plain::return_address) == plain::return_address) ==
              (probe == &no_exit));
    }
}

TEST_CASE("fprobe: the entry handler cancels the exit of its call", "[graph]") {
    begin();
    fprobe probe(
        [](fprobe& self, unsigned long entry_ip, unsigned long ret_ip, ftrace_regs& regs,
           void* entry_data) noexcept {
            see_entry(self, entry_ip, ret_ip, regs, entry_data);
            const auto argument = static_cast<int>(regs_get_argument<0>(regs));
            return argument % 2 == 0 ? 0 : -argument;
        },
        see_exit, sizeof(call_record));
    const auto on = register_fprobe(probe, "hooked::recurses; hooked::throws");
    REQUIRE(on);
    CHECK(hooked::recurses(3) == 3);
    CHECK(hooked::catches(1) == 9);
    CHECK(event_log::all() ==
          "+recurses(3) +recurses(2) +recurses(1) +recurses(0) -recurses=0 -recurses=2 +throws(1)");
    CHECK(probe.nmissed() == 0);
}

TEST_CASE("fprobe: an exit handler alone", "[graph]") {
    begin();
    fprobe probe(nullptr, see_exit);
    const auto on = register_fprobe(probe, "hooked::middle");
    REQUIRE(on);
    hooked::middle(1);
    CHECK(event_log::all() == "-middle=3");
}

TEST_CASE("fprobe: no handler at all is refused", "[graph]") {
    fprobe probe(nullptr, nullptr);
    const auto refused = register_fprobe(probe, "hooked::leaf");
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code == errc::invalid_argument);
    CHECK_THAT(refused.error().message, ContainsSubstring("no handler"));
}

TEST_CASE("fprobe: two on one function, in both orders", "[graph]") {
    for (const bool entry_only_first : {false, true}) {
        begin();
        fprobe both(see_entry, see_exit, sizeof(call_record));
        fprobe entry_only(
            [](fprobe&, unsigned long, unsigned long ret_ip, ftrace_regs&, void*) noexcept {
                note("entry-only");
                if (ftrace_graph_ret_addr(ret_ip) != ret_ip) ++wrong_addresses;
                return 1;  // cancels nothing of the other one
            },
            nullptr);
        fprobe& first = entry_only_first ? entry_only : both;
        fprobe& second = entry_only_first ? both : entry_only;
        const auto first_on = register_fprobe(first, "hooked::leaf");
        REQUIRE(first_on);
        auto second_on = register_fprobe(second, "hooked::leaf");
        REQUIRE(second_on);
        CHECK(hooked::leaf(3) == 6);
        CHECK(event_log::all() ==
              (entry_only_first ? "entry-only +leaf(3) -leaf=6" : "+leaf(3) entry-only -leaf=6"));
        REQUIRE(second_on->unregister());
        begin();
        CHECK(hooked::leaf(3) == 6);
        CHECK(event_log::all() == (entry_only_first ? "entry-only" : "+leaf(3) -leaf=6"));
    }
    CHECK(wrong_addresses == 0);
}

TEST_CASE("fprobe: filters, and what is forgotten when it is registered again", "[graph]") {
    fprobe probe(see_entry, see_exit);
    {
        const auto on = register_fprobe(probe, "hooked::*", "hooked::middle; hooked::other");
        REQUIRE(on);
        CHECK(said() == "+leaf(1) -leaf=2");
    }
    {
        const auto on = register_fprobe(probe, "hooked::middle");
        REQUIRE(on);
        CHECK(said() == "+middle(1) -middle=3");
    }
    {
        const auto on = register_fprobe(probe, "hooked::*", "hooked::leaf");
        REQUIRE(on);
        CHECK(said() == "+middle(1) -middle=3 +other(2) -other=-2");
    }
    {
        const auto on = register_fprobe_syms(probe, {"hooked::leaf"});
        REQUIRE(on);
        CHECK(said() == "+leaf(1) -leaf=2");
    }
    {
        const auto on = register_fprobe(probe, "hooked::*", "hooked::leaf; hooked::middle");
        REQUIRE(on);
        CHECK(said() == "+other(2) -other=-2");
    }
    const unsigned long middle = reinterpret_cast<unsigned long>(&hooked::middle);
    {
        const auto on = register_fprobe_ips(probe, &middle, 1);
        REQUIRE(on);
        CHECK(said() == "+middle(1) -middle=3");
    }
    CHECK(said() == "");
}

TEST_CASE("fprobe: wrong filters register nothing", "[graph]") {
    begin();
    fprobe probe(see_entry, see_exit);
    for (const auto& [filter, notfilter] :
         std::initializer_list<std::pair<const char*, const char*>>{
             {"hooked::laef", ""},
             {"hooked::middle; hooked::laef", ""},
             {"hooked::middle", "hooked::laef"},
             {"hooked::middle", "hooked::*"}}) {
        CAPTURE(filter, notfilter);
        const auto refused = register_fprobe(probe, filter, notfilter);
        REQUIRE_FALSE(refused);
        CHECK(refused.error().code == errc::no_match);
        CHECK_FALSE(probe.registered());
    }
    CHECK_THAT(register_fprobe(probe, "hooked::laef").error().message,
               ContainsSubstring("hooked::leaf"));
    CHECK(register_fprobe(probe, "").error().code == errc::invalid_argument);
    CHECK(said() == "");
    // Nothing of them stays.
    const auto on = register_fprobe(probe, "hooked::leaf");
    REQUIRE(on);
    CHECK(said() == "+leaf(1) -leaf=2");
}

TEST_CASE("fprobe: addresses", "[graph]") {
    fprobe probe(see_entry, see_exit);
    const unsigned long other = reinterpret_cast<unsigned long>(&hooked::other);
    unsigned long leaf = 0;
    begin();
    for (const auto& each : event_log::names())
        if (each.name == "leaf") leaf = each.site;
    REQUIRE(leaf != 0);
    {
        const std::vector<unsigned long> addresses{leaf, other};
        const auto on = register_fprobe_ips(probe, addresses);
        REQUIRE(on);
        CHECK(said() == "+leaf(1) -leaf=2 +other(2) -other=-2");
    }
    const unsigned long one_wrong[] = {leaf, other + 7};
    const auto refused = register_fprobe_ips(probe, one_wrong);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code == errc::not_a_site);
    CHECK(refused.error().address == other + 7);
    CHECK(register_fprobe_ips(probe, nullptr, 0).error().code == errc::invalid_argument);
    CHECK_FALSE(probe.registered());
    CHECK(said() == "");
}

TEST_CASE("fprobe: names", "[graph]") {
    fprobe probe(see_entry, see_exit);
    {
        const auto on = register_fprobe_syms(probe, {"hooked::leaf", "_ZN6hooked5otherEi"});
        REQUIRE(on);
        CHECK(said() == "+leaf(1) -leaf=2 +other(2) -other=-2");
    }
    for (const std::string_view wrong : {"hooked::laef", "hooked::lea*", "leaf"}) {
        CAPTURE(wrong);
        const std::vector<std::string_view> names{"hooked::other", wrong};
        const auto refused = register_fprobe_syms(probe, names);
        REQUIRE_FALSE(refused);
        CHECK(refused.error().code == errc::no_match);
        CHECK_THAT(refused.error().message,
                   ContainsSubstring(std::string(wrong)) && ContainsSubstring("hooked::leaf"));
        CHECK_FALSE(probe.registered());
        CHECK(said() == "");
    }
    CHECK(register_fprobe_syms(probe, {}).error().code == errc::invalid_argument);
}

TEST_CASE("fprobe: disabled, its handlers do not come; its functions stay hooked", "[graph]") {
    fprobe probe(see_entry, see_exit);
    disable_fprobe(probe);
    const auto on = register_fprobe(probe, "hooked::middle");
    REQUIRE(on);
    CHECK(said() == "");
    CHECK(probe.registered());
    enable_fprobe(probe);
    CHECK(said() == "+middle(1) -middle=3");
    disable_fprobe(probe);
    CHECK(said() == "");
    enable_fprobe(probe);

    // A call that ends while it is disabled is not told of, nor counted as missed.
    static fprobe* disabled = &probe;
    fprobe disables(
        [](fprobe&, unsigned long, unsigned long, ftrace_regs&, void*) noexcept {
            disable_fprobe(*disabled);
            return 1;
        },
        nullptr);
    const auto disables_on = register_fprobe(disables, "hooked::leaf");
    REQUIRE(disables_on);
    CHECK(said() == "+middle(1)");
    CHECK(probe.nmissed() == 0);
}

TEST_CASE("fprobe: ends while a callback runs on the thread are missed, and counted", "[graph]") {
    static int exits = 0;
    fprobe probe(nullptr,
                 [](fprobe&, const fprobe_exit&, ftrace_regs&, void*) noexcept { ++exits; });
    plain::fiber one(hooked::yields_inside);
    // A callback in which a fiber goes on, whose calls then return.
    fprobe resumes(
        [](fprobe& self, unsigned long, unsigned long, ftrace_regs&, void*) noexcept {
            static_cast<plain::fiber*>(self.private_data)->resume();
            return 1;
        },
        nullptr, 0, &one);
    auto on = register_fprobe(probe, "hooked::yields*");
    REQUIRE(on);
    const auto resumes_on = register_fprobe(resumes, "hooked::other");
    REQUIRE(resumes_on);
    one.resume();
    CHECK(probe.nmissed() == 0);
    CHECK(hooked::other(1) == -1);
    CHECK(one.result == 3);
    CHECK(exits == 0);
    CHECK(probe.nmissed() == 2);
    CHECK(resumes.nmissed() == 0);
    // They are counted from each registration on.
    REQUIRE(on->unregister());
    CHECK(probe.nmissed() == 2);
    on = register_fprobe(probe, "hooked::leaf");
    REQUIRE(on);
    CHECK(probe.nmissed() == 0);
    hooked::leaf(1);
    CHECK(exits == 1);
}

TEST_CASE("fprobe: registered twice is refused, and changes nothing", "[graph]") {
    fprobe probe(see_entry, see_exit);
    const unsigned long other = reinterpret_cast<unsigned long>(&hooked::other);
    {
        auto on = register_fprobe(probe, "hooked::leaf");
        REQUIRE(on);
        CHECK(register_fprobe(probe, "hooked::*").error().code == errc::already_registered);
        CHECK(register_fprobe_ips(probe, &other, 1).error().code == errc::already_registered);
        CHECK(register_fprobe_syms(probe, {"hooked::middle"}).error().code ==
              errc::already_registered);
        CHECK(said() == "+leaf(1) -leaf=2");
        // The registration moves.
        fprobe_registration moved = std::move(on).value();
        CHECK(moved.registered());
        CHECK(said() == "+leaf(1) -leaf=2");
    }
    CHECK(said() == "");
    auto on = register_fprobe(probe, "hooked::other");
    REQUIRE(on);
    CHECK(said() == "+other(2) -other=-2");
}

TEST_CASE("fprobe: it may go while registered, and while its calls are open", "[graph]") {
    begin();
    {
        auto probe = std::make_unique<fprobe>(see_entry, see_exit, sizeof(call_record));
        auto on = register_fprobe(*probe, "hooked::middle");
        REQUIRE(on);
        probe.reset();
        CHECK(said() == "");
    }
    fprobe probe(see_entry, see_exit, sizeof(call_record));
    auto on = register_fprobe(probe, "hooked::unregisters");
    REQUIRE(on);
    plain::to_unregister = &*on;
    begin();
    CHECK(hooked::unregisters(5) == 5);
    CHECK(event_log::all() == "+unregisters(5)");
}

TEST_CASE("fprobe: a global is there before main", "[graph]") {
    CHECK(before_main.result == 5);
    CHECK(before_main.seen == "entry exit");
    CHECK_FALSE(early.registered());
}

TEST_CASE("fprobe: on many threads", "[graph]") {
    static long entries = 0, exits = 0, wrong = 0;
    fprobe probe(
        [](fprobe&, unsigned long, unsigned long, ftrace_regs& regs, void* entry_data) noexcept {
            *static_cast<int*>(entry_data) = static_cast<int>(regs_get_argument<0>(regs));
            __atomic_fetch_add(&entries, 1, __ATOMIC_RELAXED);
            return 0;
        },
        [](fprobe&, const fprobe_exit&, ftrace_regs& regs, void* entry_data) noexcept {
            __atomic_fetch_add(&exits, 1, __ATOMIC_RELAXED);
            if (static_cast<int>(regs_get_return_value(regs)) != *static_cast<int*>(entry_data))
                __atomic_fetch_add(&wrong, 1, __ATOMIC_RELAXED);
        },
        sizeof(int));
    const auto on = register_fprobe(probe, "hooked::recurses");
    REQUIRE(on);
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t)
        threads.emplace_back([] {
            for (int i = 0; i < 100; ++i) hooked::recurses(i);
        });
    for (auto& thread : threads) thread.join();
    CHECK(entries == 4 * 5050);  // 1 + 2 + ... + 100 in each thread
    CHECK(exits == entries);
    CHECK(wrong == 0);
    CHECK(probe.nmissed() == 0);
}
