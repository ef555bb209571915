// SIGTRAP while text changes: a thread that ran into an int3 of ours does the instruction's work
// and goes on; every other SIGTRAP is passed to whoever handled it before.
//
// The contract with a program that handles SIGTRAP itself:
//
//   - Its handler, whether it was there first or came later, gets every SIGTRAP that is not ours:
//     raised ones, its own int3, int $3 and icebp, a debugger's. Ours are int3s at a site that is
//     being changed, or was when the trap happened, and the questions of evacuation.hpp.
//   - A transaction puts our handler in front again. A handler that the program installs after that
//     gets our traps too, until the next transaction: it must pass on what it does not know to the
//     handler it replaced, and must not be installed in the middle of a transaction without that.
//   - It may do so although we in turn call it: the same signal that comes back to us goes to the
//     handler which was there before it, and from the first one to the default action.
//   - To take a handler out again, install the one from before it: it is then dropped here, too.
//   - It runs with the mask it asked for, but with SIGTRAP unblocked, since what it calls may be
//     among what is being changed.
#pragma once

#include <errno.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <ftrace/arch/text_poke.hpp>
#include <ftrace/core/config.hpp>
#include <ftrace/core/process.hpp>
#include <ftrace/core/result.hpp>
#include <ftrace/patch/signal_masks.hpp>
#include <ftrace/patch/text_state.hpp>
#include <string>

namespace ftrace::inline v0::detail {

/// The innermost handler of the program that this thread's on_trap() called, and where from.
struct chained_call {
    const void* context;
    std::uintptr_t frame;
    const trap_link* link;
};
FTRACE_LOCAL inline constinit thread_local chained_call chained
    __attribute__((tls_model("initial-exec"))) = {};

/// Hands a signal on to a handler of the program. With none, the process dies of it, as it
/// would have.
FTRACE_NO_INSTRUMENTATION inline void chain_trap(const trap_link* link, std::uintptr_t frame,
                                                 int signal, siginfo_t* info,
                                                 void* context) noexcept {
    const auto handler = link == nullptr ? SIG_DFL : link->action.sa_handler;
    if (handler == SIG_DFL || handler == SIG_IGN) {
        // An int3 cannot be ignored: the kernel ends a process that tries to.
        if (handler == SIG_IGN && !arch::is_breakpoint(*info)) return;
        ::signal(signal, SIG_DFL);
        ::raise(signal);  // blocked until we return; then it ends the process
        return;
    }
    std::uint64_t mask, asked_for, ours;
    __builtin_memcpy(&mask, &static_cast<ucontext_t*>(context)->uc_sigmask, sizeof mask);
    __builtin_memcpy(&asked_for, &link->action.sa_mask, sizeof asked_for);
    mask = (mask | asked_for) & ~trap_bit;
    const chained_call outer = chained;
    chained = {context, frame, link};
    ::syscall(SYS_rt_sigprocmask, SIG_SETMASK, &mask, &ours, sizeof mask);
    if ((link->action.sa_flags & SA_SIGINFO) != 0)
        link->action.sa_sigaction(signal, info, context);
    else
        handler(signal);
    ::syscall(SYS_rt_sigprocmask, SIG_SETMASK, &ours, nullptr, sizeof ours);
    chained = outer;
}

/// Lets a thread that stands at the beginning of an edit go on. The first call of a site with a nop
/// beyond the five bytes is not made: it would return into what is still the middle of that nop.
FTRACE_NO_INSTRUMENTATION inline void pass(ucontext_t& context, const edit_batch& batch,
                                           const arch::text_edit& edit) noexcept {
    if (edit.nops > arch::site_size)
        arch::set_program_counter(context, edit.end());
    else
        arch::emulate(context, edit.site,
                      __atomic_load_n(&batch.decided, __ATOMIC_ACQUIRE) ? edit.after : edit.before);
}

/// The question to this thread that a SIGTRAP is, or may be: without a mark of ours (sent by
/// tgkill, or the limit of queued signals was reached, which loses the mark) one that is
/// outstanding is taken for it. Whether it is one is `is_question`.
struct asked_here {
    bool is_question;
    thread_question* question;
};
FTRACE_NO_INSTRUMENTATION inline asked_here question_in(text_state& text,
                                                        const siginfo_t& info) noexcept {
    const bool marked = info.si_code == SI_QUEUE && info.si_value.sival_ptr == &text;
    const bool mark_lost = info.si_code == SI_USER && info.si_pid == 0;
    const bool unmarked = info.si_code == SI_TKILL && info.si_pid == ::getpid();
    if (!marked && !mark_lost && !unmarked) return {false, nullptr};
    const question_list* const questions = __atomic_load_n(&text.questions, __ATOMIC_ACQUIRE);
    thread_question* const mine =
        questions == nullptr ? nullptr : questions->find(static_cast<pid_t>(::syscall(SYS_gettid)));
    if (marked) return {true, mine};
    const bool outstanding = mine != nullptr &&
                             __atomic_load_n(&mine->answered, __ATOMIC_ACQUIRE) == 0 &&
                             (mark_lost || __atomic_load_n(&mine->by_kill, __ATOMIC_ACQUIRE));
    return {outstanding, outstanding ? mine : nullptr};
}

/// What a SIGTRAP turned out to be.
enum class trap_meaning { emulated, question, stale, foreign };

FTRACE_NO_INSTRUMENTATION inline trap_meaning answer_trap(text_state& text, const siginfo_t& info,
                                                          ucontext_t& context) noexcept {
    // acquire: pairs with the releases that published these.
    const edit_batch* const batch = __atomic_load_n(&text.active, __ATOMIC_ACQUIRE);
    const edited_sites* const edited = __atomic_load_n(&text.edited, __ATOMIC_ACQUIRE);
    if (const asked_here asked = question_in(text, info); asked.is_question) {
        // What is left of the nops does nothing. The question may come late, when nobody waits for
        // the answer.
        const std::uintptr_t pc = arch::program_counter(context);
        const arch::text_edit* const edit = batch == nullptr ? nullptr : batch->find(pc);
        // One SIGTRAP swallows another that is pending: this thread may just have run into an
        // int3, and that signal got lost. Then, too, it stands one byte behind the site.
        if (edit != nullptr && pc == edit->site + 1)
            pass(context, *batch, *edit);
        else if (edit != nullptr && pc != edit->site)
            arch::set_program_counter(context, edit->end());
        else if (edit == nullptr && edited != nullptr && edited->contains(pc - 1))
            arch::set_program_counter(context, pc - 1);
        arch::serialize_core();
        if (asked.question != nullptr)
            __atomic_store_n(&asked.question->answered, 1, __ATOMIC_RELEASE);
        return trap_meaning::question;
    }
    if (!arch::is_breakpoint(info)) return trap_meaning::foreign;
    const std::uintptr_t site = arch::trap_address(context);
    const arch::text_edit* const edit = batch == nullptr ? nullptr : batch->find(site);
    if (edit != nullptr && edit->site == site) {
        pass(context, *batch, *edit);
        return trap_meaning::emulated;
    }
    // The trap was ours, but the transaction ended before this handler began: run what stands there
    // now. Other instructions of the program raise the same signal, so only where we ever wrote.
    if (edited != nullptr && edited->contains(site) && !arch::is_trap(site)) {
        arch::set_program_counter(context, site);
        return trap_meaning::stale;
    }
    return trap_meaning::foreign;
}

FTRACE_NO_INSTRUMENTATION inline void on_trap(int signal, siginfo_t* info, void* context) noexcept {
    const int saved = errno;
    text_state& text = *__atomic_load_n(&shared_state()->text, __ATOMIC_ACQUIRE);
    // seq_cst: either the transaction that ends sees this handler, or this handler sees its
    // batch gone.
    __atomic_add_fetch(&text.handlers, 1, __ATOMIC_SEQ_CST);
    const trap_meaning meaning = answer_trap(text, *info, *static_cast<ucontext_t*>(context));
    __atomic_sub_fetch(&text.handlers, 1, __ATOMIC_SEQ_CST);
    if (meaning == trap_meaning::foreign) {
        // A handler that we called passed the signal on to us: deeper on the stack than we called
        // it from, which tells it from a later signal after a longjmp() out of that handler.
        const auto frame = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
        const bool came_back = chained.context == context && frame < chained.frame;
        const trap_link* const next =
            came_back ? (chained.link == nullptr ? nullptr : chained.link->older)
                      : __atomic_load_n(&text.chain, __ATOMIC_ACQUIRE);
        chain_trap(next, frame, signal, info, context);
    }
    errno = saved;
}

/// The chain with `action` in front: the part from it on if it is in the chain, since what came in
/// front of it was taken out. nullptr: no memory.
FTRACE_NOTRACE inline const trap_link* chain_with(text_state& text,
                                                  const struct sigaction& action) {
    // Of a mask the C library hands out what the kernel has, and leaves the rest as it was.
    const auto same = [&](const trap_link& link) FTRACE_NOTRACE {
        return link.action.sa_flags == action.sa_flags &&
               link.action.sa_handler == action.sa_handler &&
               std::memcmp(&link.action.sa_mask, &action.sa_mask, sizeof trap_bit) == 0;
    };
    const trap_link* older = text.chain;
    for (const trap_link* link = text.chain; link != nullptr; link = link->older) {
        if (same(*link)) return link;
        if (link->action.sa_handler == action.sa_handler) older = link->older;
    }
    // Without a handler there is nobody to pass anything on.
    if (action.sa_handler == SIG_DFL || action.sa_handler == SIG_IGN) older = nullptr;
    for (const trap_link* link = text.links; link != nullptr; link = link->made_before)
        if (same(*link) && link->older == older) return link;
    auto* const made = new (std::nothrow) trap_link{action, older, text.links};
    if (made != nullptr) text.links = made;
    return made;
}

/// Puts our handler in front, also of one that the program installed since: always that of the
/// first object that did, which stays loaded. Call with the process locked.
FTRACE_NOTRACE inline result<void> install_trap_handler(text_state& text) {
    struct sigaction current = {};
    if (::sigaction(SIGTRAP, nullptr, &current) == 0 && text.installed &&
        current.sa_sigaction == text.ours.sa_sigaction)
        return {};
    if (!text.installed) {
        text.ours.sa_sigaction = on_trap;
        // All signals are blocked meanwhile: no handler of the program shall see a thread in ours.
        ::sigfillset(&text.ours.sa_mask);
        text.ours.sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK;
    }
    // The second time what really was replaced, if another thread changed it in between.
    for (int i = 0; i < 2; ++i) {
        const trap_link* const chain = chain_with(text, current);
        if (chain == nullptr) return error{errc::out_of_memory, "no memory for the text patcher"};
        __atomic_store_n(&text.chain, chain, __ATOMIC_RELEASE);
        if (i == 1 || ::sigaction(SIGTRAP, &text.ours, &current) == 0) continue;
        return error{errc::system_failure,
                     std::string("cannot install a SIGTRAP handler (") + std::strerror(errno) +
                         "), without which text cannot change under running threads"};
    }
    __atomic_store_n(&text.installed, true, __ATOMIC_RELEASE);
    return {};
}

}  // namespace ftrace::inline v0::detail
