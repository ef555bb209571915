// What the SIGTRAP handler and the thread that changes text tell each other.
#pragma once

#include <sched.h>
#include <signal.h>
#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <ftrace/arch/text_poke.hpp>
#include <ftrace/core/config.hpp>
#include <ftrace/core/plain_vector.hpp>
#include <ftrace/core/process.hpp>
#include <ftrace/patch/edited_sites.hpp>
#include <ftrace/patch/writable_text.hpp>
#include <new>
#include <utility>

namespace ftrace::inline v0::detail {

/// The sites that are being changed right now, sorted by address.
struct edit_batch {
    const arch::text_edit* edits;
    std::size_t count;
    /// Whether a thread that meets an int3 does the new instruction's work, or still the old one's:
    /// until nothing can go wrong any more, nothing has happened.
    bool decided = false;

    /// The edit whose bytes contain `address`, or nullptr. Runs in a signal handler.
    [[nodiscard]] FTRACE_NO_INSTRUMENTATION const arch::text_edit* find(
        std::uintptr_t address) const noexcept {
        std::size_t begin = 0, end = count;
        while (begin < end) {
            const std::size_t middle = begin + (end - begin) / 2;
            if (edits[middle].end() <= address)
                begin = middle + 1;
            else
                end = middle;
        }
        return begin < count && edits[begin].site <= address ? &edits[begin] : nullptr;
    }
};

/// One thread that evacuation.hpp asks where it is.
struct thread_question {
    FTRACE_NOTRACE thread_question() noexcept = default;

    pid_t thread = 0;
    bool asked = false;
    bool waited_for = false;
    bool by_kill = false;        ///< by tgkill(), which carries no mark of ours
    std::uint32_t answered = 0;  ///< by the thread's handler; or nobody waits for it any more
    std::uint32_t times = 0;     ///< how often it was asked
};

/// The threads that were asked last, sorted. Stays published until others are asked, since a
/// question may arrive late.
struct question_list {
    FTRACE_NOTRACE explicit question_list(plain_vector<thread_question>&& asked) noexcept
        : owned(std::move(asked)), threads(owned.data()), count(owned.size()) {}
    FTRACE_NOTRACE ~question_list() = default;
    question_list(const question_list&) = delete;
    question_list& operator=(const question_list&) = delete;

    plain_vector<thread_question> owned;
    // What the handler reads: functions of plain_vector may be checked by a sanitizer.
    thread_question* threads;
    std::size_t count;

    /// The question to `thread`, or nullptr. Runs in a signal handler.
    [[nodiscard]] FTRACE_NO_INSTRUMENTATION thread_question* find(pid_t thread) const noexcept {
        std::size_t begin = 0, end = count;
        while (begin < end) {
            const std::size_t middle = begin + (end - begin) / 2;
            if (threads[middle].thread < thread)
                begin = middle + 1;
            else
                end = middle;
        }
        return begin < count && threads[begin].thread == thread ? &threads[begin] : nullptr;
    }
};

/// A SIGTRAP handler of the program that ours came in front of. Never changes, never freed.
struct trap_link {
    struct sigaction action;
    const trap_link* older;  ///< the one it came in front of; nullptr: the first
    const trap_link* made_before;
};

/// One for the process, never freed.
struct text_state {
    FTRACE_NOTRACE text_state() noexcept = default;
    FTRACE_NOTRACE ~text_state() = default;

    edit_batch* active = nullptr;  ///< published before the first int3, taken back after the last
    const edited_sites* edited = nullptr;
    question_list* questions = nullptr;
    pid_t process = 0;  ///< that this state is of: a child of fork has no handler of its parent's
    std::uint32_t handlers = 0;        ///< threads inside the handler, which may hold the above
    bool installed = false;            ///< `ours` is the process's handler
    const trap_link* chain = nullptr;  ///< where SIGTRAPs go that are not ours
    const trap_link* links = nullptr;  ///< all ever made, by `made_before`
    struct sigaction ours = {};
    plain_vector<mapping> left_writable;  ///< pages that did not get their protection back
};

/// nullptr: no memory. Call with the process locked.
[[nodiscard]] FTRACE_NOTRACE inline text_state* text(process_state& process) {
    if (process.text == nullptr)
        __atomic_store_n(&process.text, new (std::nothrow) text_state, __ATOMIC_RELEASE);
    return process.text;
}

/// Returns when no handler is left that may hold what was published before.
FTRACE_NOTRACE inline void wait_for_handlers(const text_state& text) {
    while (__atomic_load_n(&text.handlers, __ATOMIC_SEQ_CST) != 0) ::sched_yield();
}

}  // namespace ftrace::inline v0::detail
