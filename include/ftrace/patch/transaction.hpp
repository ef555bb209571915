// A change of text at any number of sites: all of it, or none.
#pragma once

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/single_threaded.h>

#include <cstddef>
#include <cstdint>
#include <ftrace/arch/text_poke.hpp>
#include <ftrace/core/config.hpp>
#include <ftrace/core/os.hpp>
#include <ftrace/core/process.hpp>
#include <ftrace/core/result.hpp>
#include <ftrace/patch/evacuation.hpp>
#include <ftrace/patch/text_state.hpp>
#include <ftrace/patch/trap_handler.hpp>
#include <string>
#include <vector>

namespace ftrace::inline v0::detail {

/// Pages of one mapping that hold edits: made writable together, by one call.
struct page_run {
    std::uintptr_t begin;
    std::uintptr_t end;
};

FTRACE_NOTRACE inline std::string bytes_text(const arch::site_bytes& bytes) {
    std::string text;
    for (const std::uint8_t byte : bytes.byte) {
        text += text.empty() ? "" : " ";
        text += "0123456789abcdef"[byte >> 4];
        text += "0123456789abcdef"[byte & 15];
    }
    return text;
}

/// Every site must hold what is about to be replaced. Error: unexpected_bytes, with both.
FTRACE_NOTRACE inline result<void> verify(const std::vector<arch::text_edit>& edits) {
    for (const arch::text_edit& edit : edits) {
        const arch::site_bytes found = arch::read_site(edit.site);
        if (found == edit.before) continue;
        return error{
            errc::unexpected_bytes,
            "the text at " + hex(edit.site) + " is " + bytes_text(found) + ", expected " +
                bytes_text(edit.before) +
                ": somebody else (a debugger, another patcher) changed it. Nothing was changed",
            {},
            edit.site};
    }
    return {};
}

/// While it lives, the pages are writable. They stay executable, since threads run on them.
class writable_text {
public:
    FTRACE_NOTRACE explicit writable_text(const std::vector<page_run>& runs) : runs_(runs) {}
    writable_text(const writable_text&) = delete;
    writable_text& operator=(const writable_text&) = delete;

    FTRACE_NOTRACE result<void> open() {
        while (opened_ < runs_.size()) {
            const page_run& run = runs_[opened_++];  // also where it fails: a part may be open
            auto changed =
                change_protection(run.begin, run.end, PROT_READ | PROT_WRITE | PROT_EXEC);
            if (!changed) return changed;
        }
        return {};
    }
    FTRACE_NOTRACE ~writable_text() {
        while (opened_ > 0) {
            --opened_;
            ::mprotect(reinterpret_cast<void*>(runs_[opened_].begin),
                       runs_[opened_].end - runs_[opened_].begin, PROT_READ | PROT_EXEC);
        }
    }

private:
    const std::vector<page_run>& runs_;
    std::size_t opened_ = 0;
};

/// Keeps signal handlers of the program from running on this thread in between. SIGTRAP gets
/// through, even if the program blocked it: what this thread calls may be traced, and run into an
/// int3.
class signals_blocked {
public:
    FTRACE_NOTRACE signals_blocked() noexcept {
        sigset_t all;
        ::sigfillset(&all);
        ::sigdelset(&all, SIGTRAP);
        ::pthread_sigmask(SIG_SETMASK, &all, &before_);
    }
    FTRACE_NOTRACE ~signals_blocked() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
    signals_blocked(const signals_blocked&) = delete;
    signals_blocked& operator=(const signals_blocked&) = delete;

private:
    sigset_t before_;
};

/// Publishes a batch to the SIGTRAP handler; takes it back when no handler can hold it any more.
class published_batch {
public:
    FTRACE_NOTRACE published_batch(text_state& text, edit_batch& batch) noexcept : text_(text) {
        __atomic_store_n(&text_.active, &batch, __ATOMIC_SEQ_CST);
    }
    FTRACE_NOTRACE ~published_batch() {
        __atomic_store_n(&text_.active, static_cast<edit_batch*>(nullptr), __ATOMIC_SEQ_CST);
        while (__atomic_load_n(&text_.handlers, __ATOMIC_SEQ_CST) != 0) ::sched_yield();
    }
    published_batch(const published_batch&) = delete;
    published_batch& operator=(const published_batch&) = delete;

private:
    text_state& text_;
};

/// Commits `edits` (sorted by site) on `runs`, the pages that hold them. Order of writes and who
/// may be executing: arch/text_poke.hpp. When it returns without error every thread runs the new
/// text; with an error, nothing was changed. Call with the process locked.
FTRACE_NOTRACE inline result<void> commit(process_state& process,
                                          const std::vector<arch::text_edit>& edits,
                                          const std::vector<page_run>& runs) {
    if (edits.empty()) return {};
    text_state* const state = text(process);
    if (state == nullptr) return error{errc::out_of_memory, "no memory for the text patcher"};
    if (auto verified = verify(edits); !verified) return verified;
    if (auto installed = install_trap_handler(*state); !installed) return installed;
    writable_text writable(runs);
    if (auto opened = writable.open(); !opened) return opened;

    // Plain pointers from here on: functions of std::vector may be among those that change.
    const arch::text_edit* const begin = edits.data();
    const arch::text_edit* const end = begin + edits.size();
    bool nops_to_leave = false;
    for (auto* edit = begin; edit != end; ++edit) nops_to_leave |= edit->several_nops;

    edit_batch batch{begin, edits.size()};
    const signals_blocked quiet;
    const published_batch published(*state, batch);
    for (auto* edit = begin; edit != end; ++edit) arch::poke_trap(*edit);
    synchronize_cores();
    if (nops_to_leave && __libc_single_threaded == 0) {
        if (auto left = evacuate(*state); !left) {
            for (auto* edit = begin; edit != end; ++edit) arch::poke_head(*edit, edit->before);
            synchronize_cores();
            return left;
        }
    }
    for (auto* edit = begin; edit != end; ++edit) arch::poke_tail(*edit, edit->after);
    synchronize_cores();
    for (auto* edit = begin; edit != end; ++edit) arch::poke_head(*edit, edit->after);
    synchronize_cores();
    return {};
}

}  // namespace ftrace::inline v0::detail
