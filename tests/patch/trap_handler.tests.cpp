// What the SIGTRAP handler makes of a signal: on frames and transactions made by hand.
#include <sys/syscall.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <cstdint>
#include <cstring>
#include <ftrace/patch/trap_handler.hpp>
#include <utility>
#include <vector>

using namespace ftrace;
using namespace ftrace::detail;

namespace {

/// Two sites with room between them, and a transaction that makes them calls: gcc's five nops, and eight bytes of
/// clang's.
struct scene {
    alignas(16) unsigned char bytes[64];
    arch::text_edit edits[2];
    edit_batch batch{edits, 2};
    question_list questions{plain_vector<thread_question>(1)};
    thread_question& mine = questions.threads[0];
    text_state text;
    std::uint64_t stack[4] = {1, 2, 3, 4};
    ucontext_t context{};
    siginfo_t info{};

    scene() {
        std::memset(bytes, 0xc3, sizeof bytes);
        std::memset(bytes, 0x90, 5);
        std::memcpy(bytes + 32, "\x0f\x1f\x84\x00\x00\x02\x00", 8);
        edits[0].site = at(0);
        edits[0].several_nops = true;
        edits[1].site = at(32);
        edits[1].nops = 8;
        for (arch::text_edit& edit : edits) {
            edit.before = arch::read_site(edit.site);
            edit.after = arch::call_site_at_distance(0x100);
        }
        context.uc_mcontext.gregs[REG_RSP] = reinterpret_cast<greg_t>(&stack[2]);
        info.si_code = SI_KERNEL;
        mine.thread = static_cast<pid_t>(::syscall(SYS_gettid));
    }
    ~scene() { edited_sites::retire(text.edited, nullptr); }
    scene(const scene&) = delete;

    [[nodiscard]] std::uintptr_t at(std::size_t offset) const {
        return reinterpret_cast<std::uintptr_t>(bytes) + offset;
    }
    void begin(bool decided = true) {
        batch.decided = decided;
        text.edited = edited_sites::with(nullptr, {edits[0], edits[1]});
        text.active = &batch;
        for (const arch::text_edit& edit : edits) arch::poke_trap(edit);
    }
    /// The signal is a question of ours.
    void ask() {
        info.si_code = SI_QUEUE;
        info.si_value.sival_ptr = &text;
        text.questions = &questions;
    }
    bool was_answered() { return std::exchange(mine.answered, 0u) == 1; }
    void end() {
        for (const arch::text_edit& edit : edits) {
            arch::poke_tail(edit, edit.after);
            arch::poke_head(edit, edit.after);
        }
        text.active = nullptr;
    }
    /// The thread stands there when the signal comes.
    trap_meaning answer(std::uintptr_t pc) {
        arch::set_program_counter(context, pc);
        return answer_trap(text, info, context);
    }
    [[nodiscard]] std::uintptr_t pc() const { return arch::program_counter(context); }
    [[nodiscard]] bool called_from(std::uintptr_t site) const {
        return context.uc_mcontext.gregs[REG_RSP] == reinterpret_cast<greg_t>(&stack[1]) &&
               stack[1] == site + 5;
    }
    [[nodiscard]] bool stack_untouched() const {
        return context.uc_mcontext.gregs[REG_RSP] == reinterpret_cast<greg_t>(&stack[2]) &&
               stack[1] == 2;
    }
};

}  // namespace

TEST_CASE("trap handler: a thread in our int3 makes the call that will stand there", "[patch]") {
    scene now;
    now.begin();
    CHECK(now.answer(now.at(1)) == trap_meaning::emulated);
    CHECK(now.pc() == now.at(0) + 5 + 0x100);
    CHECK(now.called_from(now.at(0)));
}

TEST_CASE("trap handler: until the change is decided, our int3 does what stood there", "[patch]") {
    scene now;
    now.begin(false);
    CHECK(now.answer(now.at(1)) == trap_meaning::emulated);
    CHECK(now.pc() == now.at(5));
    CHECK(now.stack_untouched());
}

TEST_CASE("trap handler: at a longer nop it passes all of it, this once without the call",
          "[patch]") {
    scene now;
    now.begin();
    CHECK(now.answer(now.at(33)) == trap_meaning::emulated);
    CHECK(now.pc() == now.at(40));
    CHECK(now.stack_untouched());
}

TEST_CASE("trap handler: late for the transaction, it runs what stands there now", "[patch]") {
    scene now;
    now.begin();
    now.end();
    CHECK(now.answer(now.at(1)) == trap_meaning::stale);
    CHECK(now.pc() == now.at(0));
    CHECK(now.stack_untouched());
}

TEST_CASE("trap handler: traps of others are not ours", "[patch]") {
    scene now;
    now.bytes[20] = 0xcc;
    CHECK(now.answer(now.at(21)) == trap_meaning::foreign);
    now.begin();
    CHECK(now.answer(now.at(21)) == trap_meaning::foreign);
    // An int3 of a debugger's among the bytes of our site, but not at its beginning.
    now.bytes[34] = 0xcc;
    CHECK(now.answer(now.at(35)) == trap_meaning::foreign);
    // Sent by a process, by a thread, with a value; or a single step.
    int value = 0;
    now.info.si_value.sival_ptr = &value;
    const int codes[] = {SI_USER, SI_TKILL, SI_QUEUE, TRAP_TRACE};
    for (const int code : codes) {
        now.info.si_code = code;
        CHECK(now.answer(now.at(1)) == trap_meaning::foreign);
        CHECK(now.pc() == now.at(1));
    }
    CHECK_FALSE(now.was_answered());
    CHECK(now.stack_untouched());
}

TEST_CASE("trap handler: asked, a thread leaves the nops of a site", "[patch]") {
    scene now;
    now.begin();
    now.ask();
    for (const std::size_t nop : {2u, 3u, 4u}) {
        CHECK(now.answer(now.at(nop)) == trap_meaning::question);
        CHECK(now.pc() == now.at(5));
        CHECK(now.was_answered());
    }
    CHECK(now.stack_untouched());
    // It has not begun the site, or is elsewhere: it stays.
    for (const std::size_t elsewhere : {0u, 5u, 20u, 32u, 40u}) {
        CHECK(now.answer(now.at(elsewhere)) == trap_meaning::question);
        CHECK(now.pc() == now.at(elsewhere));
        CHECK(now.was_answered());
    }
    CHECK(now.stack_untouched());
    // One byte behind the site it has run into the int3, whose own signal this one replaced.
    CHECK(now.answer(now.at(1)) == trap_meaning::question);
    CHECK(now.pc() == now.at(0) + 5 + 0x100);
    CHECK(now.called_from(now.at(0)));
}

TEST_CASE("trap handler: asked when the transaction is over, it stays and answers", "[patch]") {
    scene now;
    now.ask();
    CHECK(now.answer(now.at(2)) == trap_meaning::question);
    CHECK(now.pc() == now.at(2));
    CHECK(now.was_answered());
}

TEST_CASE("trap handler: a question that lost its mark is known to who was asked", "[patch]") {
    scene now;
    now.begin();
    now.text.questions = &now.questions;
    // The limit of queued signals was reached: the kernel keeps nothing of the question.
    now.info.si_code = SI_USER;
    now.info.si_pid = 0;
    CHECK(now.answer(now.at(2)) == trap_meaning::question);
    CHECK(now.pc() == now.at(5));
    // Answered: the next one of this kind is somebody else's.
    CHECK(now.answer(now.at(2)) == trap_meaning::foreign);
    CHECK(now.was_answered());
    // By tgkill, where it was asked so.
    now.info.si_code = SI_TKILL;
    now.info.si_pid = ::getpid();
    CHECK(now.answer(now.at(2)) == trap_meaning::foreign);
    now.mine.by_kill = true;
    CHECK(now.answer(now.at(2)) == trap_meaning::question);
    CHECK(now.was_answered());
}
