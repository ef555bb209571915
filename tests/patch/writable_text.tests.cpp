// Pages get back the protection they had, and those without an edit are left alone.
#include <ftrace/patch/writable_text.hpp>

#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_all.hpp>
#include <cstddef>
#include <cstdint>
#include <ftrace/ftrace.hpp>
#include <string>

#include "child.hpp"
#include "text.hpp"

using namespace ftrace;
using Catch::Matchers::ContainsSubstring;

// Four pages of text: a function on the first and on the third, and pages that are nobody's behind
// both.
__asm__(
    ".pushsection .text.four_pages, \"ax\", @progbits\n"
    ".balign 4096\n"
    ".type page_first, @function\n"
    ".globl page_first\n"
    "page_first: nop; nop; nop; nop; nop; ret\n"
    ".size page_first, 6\n"
    ".balign 4096\n"
    ".fill 4096, 1, 0xcc\n"
    ".type page_third, @function\n"
    ".globl page_third\n"
    "page_third: nop; nop; nop; nop; nop; ret\n"
    ".size page_third, 6\n"
    ".balign 4096\n"
    ".fill 4096, 1, 0xcc\n"
    ".popsection\n"
    ".pushsection __patchable_function_entries, \"awo\", @progbits, page_first\n"
    ".balign 8\n"
    ".quad page_first, page_third\n"
    ".popsection\n");
extern "C" void page_first();
extern "C" void page_third();

namespace {

int calls;
void count(unsigned long, unsigned long, ftrace_ops&, ftrace_regs&) noexcept { ++calls; }

constexpr std::size_t page = 4096;
std::uintptr_t page_at(int number) {
    return reinterpret_cast<std::uintptr_t>(&page_first) + static_cast<std::size_t>(number) * page;
}
void protect(int number, int protection) {
    REQUIRE(::mprotect(reinterpret_cast<void*>(page_at(number)), page, protection) == 0);
}
int protection_of(int number) {
    return detail::mappings().at(page_at(number), page_at(number + 1)).protection;
}
constexpr int text_protection = PROT_READ | PROT_EXEC;
constexpr int everything = PROT_READ | PROT_WRITE | PROT_EXEC;

/// mprotect(.., .., PROT_READ | PROT_EXEC) ends with EPERM; pages can become writable all the same.
bool forbid_restoring() {
    sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mprotect, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args[2])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, text_protection, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const sock_fprog filter{static_cast<unsigned short>(std::size(program)), program};
    return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0) == 0;
}

void trace_both() {
    ops<count> op;
    REQUIRE(op.set_filter("page_*").value() == 2);
    auto handle = register_ftrace_function(op);
    if (!handle) FAIL(handle.error().message);
    calls = 0;
    page_first();
    page_third();
    CHECK(calls == 2);
    REQUIRE(handle->unregister());
}

}  // namespace

TEST_CASE("writable text: pages are what they were, before and after", "[patch][text]") {
    trace_both();
    for (int i = 0; i < 4; ++i) CHECK(protection_of(i) == text_protection);
    // The program's own doing.
    protect(0, everything);
    protect(1, PROT_READ);
    protect(3, PROT_READ | PROT_WRITE);
    trace_both();
    CHECK(protection_of(0) == everything);
    CHECK(protection_of(1) == PROT_READ);
    CHECK(protection_of(2) == text_protection);
    CHECK(protection_of(3) == (PROT_READ | PROT_WRITE));
    for (int i = 0; i < 4; ++i) protect(i, text_protection);
}

TEST_CASE("writable text: what the kernel says of one mapping, and the list of all, agree",
          "[patch][text]") {
    detail::mappings by_question;
    const detail::mapping asked = by_question.at(page_at(1), page_at(2));
    const child::outcome seen = child::run([&](int) -> std::string {
        if (!child::forbid({SYS_ioctl})) return "unsupported";
        detail::mappings by_list;
        const detail::mapping listed = by_list.at(page_at(1), page_at(2));
        return listed.begin == asked.begin && listed.end == asked.end &&
                       listed.protection == asked.protection
                   ? "the same"
                   : "another";
    });
    CHECK(asked.protection == text_protection);
    CHECK(seen.text == "the same");
}

TEST_CASE("writable text: text that cannot be read is an error, not a crash", "[patch][text]") {
    const child::outcome seen = child::run([](int) -> std::string {
        ops<count> op;
        if (!op.set_filter("page_*")) return "filters do not work";
        {
            const auto once = register_ftrace_function(op);
        }
        if (::mprotect(reinterpret_cast<void*>(page_at(2)), page, PROT_NONE) != 0)
            return "mprotect";
        const auto refused = register_ftrace_function(op);
        if (refused) return "registered";
        calls = 0;
        page_first();
        return (calls == 0 ? "" : "called, ") + refused.error().message;
    });
    CHECK(seen.status == 0);
    CHECK_THAT(seen.text, ContainsSubstring("cannot be read"));
}

TEST_CASE(
    "writable text: pages that do not get their protection back are reported, and registered "
    "is nothing",
    "[patch][text]") {
    const child::outcome seen = child::run([](int) -> std::string {
        ops<count> op;
        if (!op.set_filter("page_*")) return "filters do not work";
        if (!forbid_restoring()) return "unsupported";
        const auto refused = register_ftrace_function(op);
        if (refused) return "registered";
        calls = 0;
        page_first();
        page_third();
        if (calls != 0) return "traced";
        return std::string(to_string(refused.error().code)) + ": " + refused.error().message;
    });
    CHECK(seen.status == 0);
    CHECK_THAT(seen.text, ContainsSubstring("permission_denied: "));
    CHECK_THAT(seen.text, ContainsSubstring("still writable"));
}

TEST_CASE("writable text: and of unregistering, which stops the callbacks all the same",
          "[patch][text]") {
    const child::outcome seen = child::run([](int) -> std::string {
        ops<count> op;
        if (!op.set_filter("page_*")) return "filters do not work";
        auto handle = register_ftrace_function(op);
        if (!handle) return "not registered: " + handle.error().message;
        if (!forbid_restoring()) return "unsupported";
        const auto ended = handle->unregister();
        if (ended) return "unregistered";
        calls = 0;
        page_first();
        page_third();
        if (calls != 0) return "traced";
        return std::string(to_string(ended.error().code)) + ": " + ended.error().message;
    });
    CHECK(seen.status == 0);
    CHECK_THAT(seen.text, ContainsSubstring("permission_denied: "));
    CHECK_THAT(seen.text, ContainsSubstring("still writable"));
}
