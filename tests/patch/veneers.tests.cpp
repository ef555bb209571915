// Veneers: within reach of what calls them, with their context, and the same again for the same.
#include <ftrace/patch/veneers.hpp>

#include <sys/mman.h>

#include <catch2/catch_test_macros.hpp>
#include <cstdint>
#include <set>
#include <vector>

#include "text.hpp"

using namespace ftrace;
using ftrace::detail::veneer_pool;

namespace {

/// Where a veneer jumps to in these tests: pops its context into rax and returns to the caller.
__attribute__((naked)) FTRACE_NOTRACE void return_context() { __asm__("popq %rax\n  ret"); }

std::uintptr_t seventeen() { return 17; }

/// Calls a veneer as a site would.
std::uintptr_t call(std::uintptr_t veneer) {
    return reinterpret_cast<std::uintptr_t (*)()>(veneer)();
}

/// Memory where the loader puts shared libraries: far from the executable's own.
class far_text {
public:
    far_text() {
        void* const memory =
            ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        REQUIRE(memory != MAP_FAILED);
        begin = reinterpret_cast<std::uintptr_t>(memory);
    }
    ~far_text() { ::munmap(reinterpret_cast<void*>(begin), size); }
    far_text(const far_text&) = delete;
    far_text& operator=(const far_text&) = delete;

    static constexpr std::size_t size = std::size_t{1} << 20;
    std::uintptr_t begin = 0;
};

const void* target() { return reinterpret_cast<const void*>(&return_context); }

}  // namespace

TEST_CASE("veneer: pushes its context and jumps to its target", "[patch][veneer]") {
    veneer_pool pool;
    const auto near = reinterpret_cast<std::uintptr_t>(&call);
    int first = 0, second = 0;
    const auto veneer = pool.get(near, near, &first, target());
    REQUIRE(veneer);
    CHECK(text::is_veneer(*veneer));
    CHECK(text::veneer_at(*veneer).context == &first);
    CHECK(text::veneer_at(*veneer).target == target());
    const auto other = pool.get(near, near, &second, target());
    REQUIRE(other);
    CHECK(*other != *veneer);
    CHECK(arch::call_reaches(near, *veneer));
    // What it pushes is what lies at its context.
    first = 17;
    CHECK(call(*veneer) == reinterpret_cast<std::uintptr_t>(&first));
    CHECK(call(*other) == reinterpret_cast<std::uintptr_t>(&second));
}

TEST_CASE("veneer: of a jump pushes nothing, and lies in a page of its kind", "[patch][veneer]") {
    veneer_pool calls, jumps(arch::veneer_kind::jump);
    const auto near = reinterpret_cast<std::uintptr_t>(&call);
    const auto by_call = calls.get(near, near, nullptr, target());
    const auto by_jump = jumps.get(near, near, nullptr, reinterpret_cast<const void*>(&seventeen));
    REQUIRE(by_call);
    REQUIRE(by_jump);
    CHECK(call(*by_call) == 0);
    CHECK(call(*by_jump) == 17);
    CHECK(jumps.get(near, near, nullptr, reinterpret_cast<const void*>(&seventeen)).value() ==
          *by_jump);
}

TEST_CASE("veneer: the same context and target get the same one", "[patch][veneer]") {
    veneer_pool pool;
    const auto near = reinterpret_cast<std::uintptr_t>(&call);
    int context = 0;
    const std::uintptr_t first = pool.get(near, near, &context, target()).value();
    CHECK(pool.get(near, near, &context, target()).value() == first);
    CHECK(pool.get(near, near, &context, &context).value() != first);
    CHECK(pool.get(near, near, &context, target()).value() == first);
}

TEST_CASE("veneer: more than fit into a page, all of them right", "[patch][veneer]") {
    veneer_pool pool;
    const auto near = reinterpret_cast<std::uintptr_t>(&call);
    constexpr std::size_t many = 2 * arch::veneers_per_page + 3;
    std::vector<char> contexts(many);
    std::vector<std::uintptr_t> veneers;
    for (const char& context : contexts) {
        const auto veneer = pool.get(near, near, &context, target());
        REQUIRE(veneer);
        veneers.push_back(*veneer);
    }
    CHECK(std::set<std::uintptr_t>(veneers.begin(), veneers.end()).size() == many);
    std::size_t wrong = 0;
    for (std::size_t i = 0; i < many; ++i)
        wrong += call(veneers[i]) != reinterpret_cast<std::uintptr_t>(&contexts[i]);
    CHECK(wrong == 0);
}

TEST_CASE("veneer: an object's own come first, then pages", "[patch][veneer]") {
    const arch::object_veneers& own = arch::own_call_veneers;
    REQUIRE(*own.taken == 0);
    veneer_pool pool(arch::veneer_kind::call, &own);
    const auto near = reinterpret_cast<std::uintptr_t>(&call);
    std::vector<char> contexts(own.count + 2);
    std::vector<std::uintptr_t> veneers;
    for (const char& context : contexts) {
        const auto veneer = pool.get(near, near, &context, target());
        REQUIRE(veneer);
        veneers.push_back(*veneer);
    }
    CHECK(own.count == 256);
    CHECK(*own.taken == own.count);
    const std::uintptr_t end = own.begin() + own.count * sizeof(arch::veneer_code);
    std::size_t wrong = 0, in_object = 0;
    for (std::size_t i = 0; i < contexts.size(); ++i) {
        in_object += veneers[i] >= own.begin() && veneers[i] < end;
        wrong += !text::is_veneer(veneers[i]) ||
                 text::veneer_at(veneers[i]).context != &contexts[i] ||
                 call(veneers[i]) != reinterpret_cast<std::uintptr_t>(&contexts[i]) ||
                 pool.get(near, near, &contexts[i], target()).value() != veneers[i];
    }
    CHECK(wrong == 0);
    CHECK(in_object == own.count);
    CHECK(veneers.front() == own.begin());
    // Where they are out of reach pages serve, also for what has one.
    const far_text text;
    const auto there = pool.get(text.begin, text.begin + text.size, contexts.data(), target());
    REQUIRE(there);
    CHECK(*there != veneers.front());
    CHECK(call(*there) == reinterpret_cast<std::uintptr_t>(contexts.data()));
}

TEST_CASE("veneer: two pools share an object's own, and neither writes into the other's",
          "[patch][veneer]") {
    const arch::object_veneers& own = arch::own_jump_veneers;
    REQUIRE(*own.taken == 0);
    veneer_pool first(arch::veneer_kind::jump, &own), second(arch::veneer_kind::jump, &own);
    const auto near = reinterpret_cast<std::uintptr_t>(&call);
    const void* const to = reinterpret_cast<const void*>(&seventeen);
    const std::uintptr_t a = first.get(near, near, nullptr, to).value();
    const std::uintptr_t b = second.get(near, near, nullptr, to).value();
    CHECK(a == own.begin());
    CHECK(b == a + sizeof(arch::jump_veneer_code));
    CHECK(first.get(near, near, nullptr, to).value() == a);
    CHECK(second.get(near, near, nullptr, to).value() == b);
    CHECK(call(a) == 17);
    CHECK(call(b) == 17);
    CHECK(*own.taken == 2);
}

TEST_CASE("veneer: text far away gets veneers within its own reach", "[patch][veneer]") {
    veneer_pool pool;
    const far_text text;
    const auto near = reinterpret_cast<std::uintptr_t>(&call);
    REQUIRE_FALSE(arch::call_reaches(text.begin, near));
    int context = 0;
    const auto here = pool.get(near, near, &context, target());
    const auto there = pool.get(text.begin, text.begin + text.size, &context, target());
    REQUIRE(here);
    REQUIRE(there);
    CHECK(arch::call_reaches(near, *here));
    CHECK(arch::call_reaches(text.begin, *there));
    CHECK(arch::call_reaches(text.begin + text.size, *there));
    CHECK_FALSE(arch::call_reaches(near, *there));
    CHECK(call(*here) == reinterpret_cast<std::uintptr_t>(&context));
    CHECK(call(*there) == reinterpret_cast<std::uintptr_t>(&context));
}

TEST_CASE("veneer: text too large for one is an error", "[patch][veneer]") {
    veneer_pool pool;
    int context = 0;
    const auto begin = reinterpret_cast<std::uintptr_t>(&call);
    const auto none = pool.get(begin, begin + (std::uintptr_t{6} << 30), &context, target());
    REQUIRE_FALSE(none);
    CHECK(none.error().code == errc::out_of_reach);
    CHECK(none.error().address == begin);
}

TEST_CASE("veneer: how far a call reaches", "[patch][veneer]") {
    constexpr std::uintptr_t site = std::uintptr_t{1} << 40;
    constexpr std::uintptr_t next = site + arch::site_size;
    CHECK(arch::call_reaches(site, next + 0x7fffffff));
    CHECK_FALSE(arch::call_reaches(site, next + 0x80000000));
    CHECK(arch::call_reaches(site, next - 0x80000000));
    CHECK_FALSE(arch::call_reaches(site, next - 0x80000001));
}
