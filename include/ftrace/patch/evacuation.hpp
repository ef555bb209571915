// Asking every thread that runs user code where it stands, and moving it out from between the nops
// of a site.
//
// gcc leaves five one-byte nops. A thread may stand at the second, third, ... when the first
// becomes an int3, and would go on into the middle of the call that is written next. So before
// bytes behind the first change, the threads that run in user mode are asked, by a SIGTRAP of their
// own each, where they are; the handler moves them behind the nops.
//
//   look, several times   a thread seen inside a system call, or ended, needs no question: when it
//                         comes back it meets the int3. Who is asked inside a call gets EINTR from
//                         some of them, so only threads that are seen running all the time are.
//   ask                   all of them, then
//   wait                  for all of them together: the time is that of the slowest, not the sum.
//
// Where membarrier() is forbidden the same question makes every core serialise: the handler does.
//
// Not found are a thread whose signal handler interrupted it between the nops and runs on
// meanwhile, and the child of a vfork(), which runs in this memory as another process.
#pragma once

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <ftrace/core/config.hpp>
#include <ftrace/core/plain_vector.hpp>
#include <ftrace/core/result.hpp>
#include <ftrace/patch/text_state.hpp>
#include <ftrace/patch/threads.hpp>
#include <string>
#include <utility>

namespace ftrace::inline v0::detail {

[[nodiscard]] FTRACE_NOTRACE inline std::int64_t milliseconds_now() noexcept {
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    return std::int64_t{now.tv_sec} * 1000 + now.tv_nsec / 1'000'000;
}
FTRACE_NOTRACE inline void pause_microseconds(long microseconds) noexcept {
    const timespec pause{0, microseconds * 1000};
    ::nanosleep(&pause, nullptr);
}

/// One round of questions. Call with the process locked.
class question_round {
public:
    FTRACE_NOTRACE explicit question_round(text_state& text) noexcept : text_(text) {}
    FTRACE_NOTRACE ~question_round() = default;
    question_round(const question_round&) = delete;
    question_round& operator=(const question_round&) = delete;

    /// Returns when every thread that was running user code has been through our handler, or into
    /// the kernel. Errors: system_failure, if threads cannot be found or asked; busy, if one does
    /// not answer, with the reason.
    FTRACE_NOTRACE result<void> run() {
        auto threads = other_threads(true);
        if (!threads) return std::move(threads).error();
        // Where CPUs are scarce a pause takes long, and a few looks tell as much.
        constexpr int fewest = 3;
        constexpr std::int64_t long_enough = 4;
        const std::int64_t begin = milliseconds_now();
        for (int look = 0; look < fewest || milliseconds_now() - begin < long_enough; ++look) {
            if (look != 0) pause_microseconds(250);
            keep_running(*threads);
            if (threads->empty()) return {};
        }
        publish(*threads);
        if (auto asked = ask_all(); !asked) return asked;
        return wait();
    }

private:
    /// Whether the thread may be where it must not be.
    [[nodiscard]] FTRACE_NOTRACE bool must_answer(pid_t thread) const {
        const whereabouts place = look_at(thread);
        if (place.where == whereabouts::at_pc) {
            const arch::text_edit* const edit =
                text_.active == nullptr ? nullptr : text_.active->find(place.pc);
            return edit != nullptr && edit->site != place.pc;
        }
        return place.where == whereabouts::user_code;
    }

    FTRACE_NOTRACE void keep_running(plain_vector<pid_t>& threads) const {
        std::size_t kept = 0;
        for (std::size_t i = 0; i < threads.size(); ++i)
            if (must_answer(threads[i])) threads[kept++] = threads[i];
        threads.resize(kept);
    }

    /// Questions of earlier rounds that nobody answered stay in the list: they may still arrive.
    FTRACE_NOTRACE void publish(const plain_vector<pid_t>& threads) {
        question_list* const old = text_.questions;
        plain_vector<thread_question> all;
        std::size_t o = 0;
        const auto keep_older_than = [&](pid_t thread) FTRACE_NOTRACE {
            for (; old != nullptr && o < old->count && old->threads[o].thread < thread; ++o)
                if (old->threads[o].asked && !answered(old->threads[o]) &&
                    !thread_file(old->threads[o].thread, "stat").gone()) {
                    all.push_back(old->threads[o]);
                    all.back().waited_for = false;
                }
        };
        for (const pid_t thread : threads) {
            keep_older_than(thread);
            if (old != nullptr && o < old->count && old->threads[o].thread == thread) ++o;
            thread_question question{};
            question.thread = thread;
            question.waited_for = true;
            all.push_back(question);
        }
        constexpr pid_t behind_all = 0x7fffffff;
        keep_older_than(behind_all);

        auto* const list = new question_list(std::move(all));
        __atomic_store_n(&text_.questions, list, __ATOMIC_SEQ_CST);
        wait_for_handlers(text_);
        delete old;
    }

    [[nodiscard]] FTRACE_NOTRACE static bool answered(const thread_question& question) noexcept {
        return __atomic_load_n(&question.answered, __ATOMIC_ACQUIRE) != 0;
    }

    /// A SIGTRAP that carries the address of our state: no raise() of the program looks so. Where
    /// that call is forbidden, an ordinary one to a thread that is known to have been asked.
    FTRACE_NOTRACE result<void> ask(thread_question& question) {
        siginfo_t info = {};
        info.si_code = SI_QUEUE;
        info.si_pid = ::getpid();
        info.si_uid = ::getuid();
        info.si_value.sival_ptr = &text_;
        question.asked = true;
        ++question.times;
        if (::syscall(SYS_rt_tgsigqueueinfo, ::getpid(), question.thread, SIGTRAP, &info) == 0)
            return {};
        if (errno != ESRCH) {
            __atomic_store_n(&question.by_kill, true, __ATOMIC_RELEASE);
            if (::syscall(SYS_tgkill, ::getpid(), question.thread, SIGTRAP) == 0) return {};
        }
        if (errno == ESRCH) {
            question.waited_for = false;
            return {};
        }
        const int number = errno;
        question.asked = question.waited_for = false;
        return error{errc::system_failure,
                     "cannot send SIGTRAP to " +
                         thread_text(question.thread, status_of(question.thread)) + " (" +
                         std::strerror(number) +
                         "), which has to be asked whether it stands where text changes: let the "
                         "sandbox pass rt_tgsigqueueinfo or tgkill, or register the ops while the "
                         "program has one thread. Nothing was changed"};
    }

    FTRACE_NOTRACE result<void> ask_all() {
        for (std::size_t i = 0; i < text_.questions->count; ++i) {
            thread_question& question = text_.questions->threads[i];
            if (!question.waited_for) continue;
            if (auto asked = ask(question); !asked) return asked;
        }
        return {};
    }

    /// A question must not outlive its round if it can be helped: it could swallow the signal of an
    /// int3 that the thread runs into meanwhile. Two may be on their way to who was asked twice.
    [[nodiscard]] FTRACE_NOTRACE static bool settled(const thread_question& question) {
        return answered(question) &&
               (question.times < 2 || !status_of(question.thread).trap_pending);
    }

    FTRACE_NOTRACE result<void> wait() {
        constexpr std::int64_t patience = 1000, look_again = 5, ask_again = 20;
        std::int64_t progress = milliseconds_now(), looked = progress, asked = progress;
        for (unsigned tries = 0;; ++tries) {
            const std::int64_t now = milliseconds_now();
            const bool look = now - looked >= look_again, ask_too = now - asked >= ask_again;
            thread_question* missing = nullptr;
            for (std::size_t i = 0; i < text_.questions->count; ++i) {
                thread_question& question = text_.questions->threads[i];
                if (!question.waited_for) continue;
                if (settled(question) || (look && !must_answer(question.thread))) {
                    question.waited_for = false;
                    progress = now;
                    continue;
                }
                missing = &question;
                // It is lost if the thread had another SIGTRAP pending.
                if (ask_too && !answered(question))
                    if (auto again = ask(question); !again) return again;
            }
            if (missing == nullptr) return {};
            if (look) looked = now;
            if (ask_too) asked = now;
            if (now - progress > patience) return no_answer(missing->thread);
            // No sched_yield(): with more threads than CPUs each would cost a turn of all of them.
            pause_microseconds(tries < 10 ? 20 : 200);
        }
    }

    FTRACE_NOTRACE static error no_answer(pid_t thread) {
        const thread_status status = status_of(thread);
        const char* const why =
            status.trap_blocked
                ? " blocks SIGTRAP: let it not, by pthread_sigmask(), or register the ops before "
                  "it starts"
            : status.state == 'T' || status.state == 't'
                ? " is stopped at a function's entry: let it go on"
                : " did not run for a second: give it a CPU, or register the ops before it starts";
        return {errc::busy, thread_text(thread, status) + why +
                                ". It has to be asked once whether it stands between gcc's five "
                                "nops before they become one. Nothing was changed"};
    }

    text_state& text_;
};

/// Returns when no thread stands between the nops of the published batch's sites, whose first bytes
/// are int3. Errors: busy and system_failure, as above.
FTRACE_NOTRACE inline result<void> evacuate(text_state& text) { return question_round(text).run(); }

}  // namespace ftrace::inline v0::detail
