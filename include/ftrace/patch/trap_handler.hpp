// SIGTRAP while text changes: a thread that ran into an int3 of ours does the new instruction's
// work and goes on; every other SIGTRAP is passed to whoever handled it before.
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
#include <ftrace/patch/text_state.hpp>
#include <string>

namespace ftrace::inline v0::detail {

/// Hands a signal on to the handler that was there before ours. With none, the process dies of it,
/// as it would have.
FTRACE_NO_INSTRUMENTATION inline void chain_trap(const struct sigaction& previous, int signal,
                                                 siginfo_t* info, void* context) noexcept {
    if ((previous.sa_flags & SA_SIGINFO) != 0) {
        previous.sa_sigaction(signal, info, context);
    } else if (previous.sa_handler == SIG_DFL || previous.sa_handler == SIG_IGN) {
        // An int3 cannot be ignored: the kernel ends a process that tries to.
        if (previous.sa_handler == SIG_IGN && !arch::is_breakpoint(*info)) return;
        ::signal(signal, SIG_DFL);
        ::raise(signal);  // blocked until we return; then it ends the process
    } else {
        previous.sa_handler(signal);
    }
}

/// Lets a thread that stands at the beginning of an edit go on. The first call of a site with a nop
/// beyond the five bytes is not made: it would return into what is still the middle of that nop.
FTRACE_NO_INSTRUMENTATION inline void pass(ucontext_t& context,
                                           const arch::text_edit& edit) noexcept {
    if (edit.nops > arch::site_size)
        arch::set_program_counter(context, edit.end());
    else
        arch::emulate(context, edit.site, edit.after);
}

/// What a SIGTRAP turned out to be.
enum class trap_meaning { emulated, evacuated, stale, foreign };

FTRACE_NO_INSTRUMENTATION inline trap_meaning answer_trap(text_state& text, const siginfo_t& info,
                                                          ucontext_t& context) noexcept {
    // acquire: pairs with the release that published the batch.
    edit_batch* const batch = __atomic_load_n(&text.active, __ATOMIC_ACQUIRE);
    if (info.si_code == SI_QUEUE && info.si_value.sival_ptr == &text) {
        // Asked by evacuation.hpp whether it stands between the nops of a site: what is left of
        // them does nothing. The question may come late, when nobody waits for the answer.
        const std::uintptr_t pc = arch::program_counter(context);
        const arch::text_edit* const edit = batch == nullptr ? nullptr : batch->find(pc);
        // One SIGTRAP swallows another that is pending: this thread may just have run into the
        // int3, and that signal got lost. Then, too, it stands one byte behind the site.
        if (edit != nullptr && pc == edit->site + 1)
            pass(context, *edit);
        else if (edit != nullptr && pc != edit->site)
            arch::set_program_counter(context, edit->end());
        __atomic_store_n(&text.answered, static_cast<pid_t>(::syscall(SYS_gettid)),
                         __ATOMIC_RELEASE);
        return trap_meaning::evacuated;
    }
    if (!arch::is_breakpoint(info)) return trap_meaning::foreign;
    const std::uintptr_t site = arch::trap_address(context);
    const arch::text_edit* const edit = batch == nullptr ? nullptr : batch->find(site);
    if (edit != nullptr && edit->site == site) {
        pass(context, *edit);
        return trap_meaning::emulated;
    }
    // The trap was ours, but the transaction ended before this handler began: run what stands there
    // now.
    if (!arch::is_trap(site)) {
        arch::set_program_counter(context, site);
        return trap_meaning::stale;
    }
    return trap_meaning::foreign;
}

FTRACE_NO_INSTRUMENTATION inline void on_trap(int signal, siginfo_t* info, void* context) noexcept {
    const int saved = errno;
    text_state& text = *__atomic_load_n(&shared_state()->text, __ATOMIC_ACQUIRE);
    // seq_cst: either the transaction that ends sees this handler, or this handler sees its batch
    // gone.
    __atomic_add_fetch(&text.handlers, 1, __ATOMIC_SEQ_CST);
    const trap_meaning meaning = answer_trap(text, *info, *static_cast<ucontext_t*>(context));
    __atomic_sub_fetch(&text.handlers, 1, __ATOMIC_SEQ_CST);
    if (meaning == trap_meaning::foreign) chain_trap(text.previous, signal, info, context);
    errno = saved;
}

/// Puts our handler in front, also of one that the program installed since. Call with the process
/// locked.
FTRACE_NOTRACE inline result<void> install_trap_handler(text_state& text) {
    struct sigaction current;
    if (::sigaction(SIGTRAP, nullptr, &current) == 0 && text.installed &&
        current.sa_sigaction == text.ours.sa_sigaction)
        return {};
    struct sigaction ours = {};
    ours.sa_sigaction = on_trap;
    // All signals are blocked meanwhile: a handler of the program that runs into an int3 while
    // SIGTRAP is blocked would be the end of the process.
    ::sigfillset(&ours.sa_mask);
    ours.sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK;
    text.previous = current;
    if (::sigaction(SIGTRAP, &ours, nullptr) != 0)
        return error{errc::system_failure,
                     std::string("cannot install a SIGTRAP handler (") + std::strerror(errno) +
                         "), without which text cannot change under running threads"};
    text.ours = ours;
    __atomic_store_n(&text.installed, true, __ATOMIC_RELEASE);
    return {};
}

}  // namespace ftrace::inline v0::detail
