// A change of text at any number of sites: all of it, or none.
#pragma once

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/single_threaded.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <ftrace/arch/text_poke.hpp>
#include <ftrace/core/config.hpp>
#include <ftrace/core/memory.hpp>
#include <ftrace/core/os.hpp>
#include <ftrace/core/plain_vector.hpp>
#include <ftrace/core/process.hpp>
#include <ftrace/core/result.hpp>
#include <ftrace/patch/evacuation.hpp>
#include <ftrace/patch/signal_masks.hpp>
#include <ftrace/patch/text_state.hpp>
#include <ftrace/patch/trap_handler.hpp>
#include <ftrace/patch/writable_text.hpp>
#include <string>

namespace ftrace::inline v0::detail {

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
FTRACE_NOTRACE inline result<void> verify(const plain_vector<arch::text_edit>& edits) {
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

/// Keeps signal handlers of the program from running on this thread in between. SIGTRAP gets
/// through, even if the program blocked it: what this thread calls may be traced, and run into
/// an int3.
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
    /// A handler that began before, and saw no batch, is through when this returns: it must not take
    /// the next int3 for somebody else's.
    FTRACE_NOTRACE published_batch(text_state& text, edit_batch& batch) noexcept : text_(text) {
        __atomic_store_n(&text_.active, &batch, __ATOMIC_SEQ_CST);
        wait_for_handlers(text_);
    }
    FTRACE_NOTRACE ~published_batch() {
        __atomic_store_n(&text_.active, static_cast<edit_batch*>(nullptr), __ATOMIC_SEQ_CST);
        wait_for_handlers(text_);
    }
    published_batch(const published_batch&) = delete;
    published_batch& operator=(const published_batch&) = delete;

private:
    text_state& text_;
};

/// The first bytes are back unless the change was decided: also if asking threads runs out of
/// memory, which throws.
class undecided_text {
public:
    FTRACE_NOTRACE undecided_text(const arch::text_edit* begin, const arch::text_edit* end) noexcept
        : begin_(begin), end_(end) {}
    FTRACE_NOTRACE ~undecided_text() {
        if (begin_ == nullptr) return;
        for (auto* edit = begin_; edit != end_; ++edit) arch::poke_head(*edit, edit->before);
        synchronize_cores();
    }
    undecided_text(const undecided_text&) = delete;
    undecided_text& operator=(const undecided_text&) = delete;
    FTRACE_NOTRACE void decide() noexcept { begin_ = nullptr; }

private:
    const arch::text_edit* begin_;
    const arch::text_edit* end_;
};

/// What synchronize_cores() does where membarrier() is forbidden.
FTRACE_NOTRACE inline bool serialize_by_questions() {
    text_state* const state = shared_state() == nullptr ? nullptr : shared_state()->text;
    if (__libc_single_threaded != 0) {
        arch::serialize_core();
        return true;
    }
    if (state == nullptr || !state->installed) return false;
    return or_out_of_memory([&]() FTRACE_NOTRACE { return question_round(*state).run(); })
        .has_value();
}

/// Takes note that the sites are ours, before the first of them can trap.
FTRACE_NOTRACE inline result<void> note_sites(text_state& state,
                                              const plain_vector<arch::text_edit>& edits) {
    const edited_sites* const known = state.edited;
    const edited_sites* const next = edited_sites::with(known, edits);
    if (next == nullptr) return error{errc::out_of_memory, "no memory for a list of sites"};
    if (next == known) return {};
    __atomic_store_n(&state.edited, next, __ATOMIC_SEQ_CST);
    wait_for_handlers(state);
    edited_sites::retire(known, next);
    return {};
}

/// Gives pages their protection back that did not get it after an earlier transaction. Error:
/// permission_denied, if they do not get it now either.
FTRACE_NOTRACE inline result<void> restore_protection(process_state& process) {
    if (process.text == nullptr) return {};
    plain_vector<mapping>& left = process.text->left_writable;
    while (!left.empty() && writable_text::restore(left.back())) left.pop_back();
    if (left.empty()) return {};
    return error{errc::permission_denied,
                 "the text at " + hex(left.back().begin) + "-" + hex(left.back().end) +
                     " was changed, but could not be made what it was again (" +
                     std::strerror(errno) +
                     "): it is still writable. Let the sandbox pass mprotect with PROT_EXEC",
                 {},
                 left.back().begin};
}

/// Commits `edits` (sorted by site) on `runs`, the pages that hold them. Order of writes and who
/// may be executing: arch/text_poke.hpp. When it returns without error every thread runs the new
/// text; with an error, nothing was changed, and until then nobody has seen anything of it. Pages
/// that could not be made what they were are reported by restore_protection(), and by the next
/// transaction. Call with the process locked.
FTRACE_NOTRACE inline result<void> commit(process_state& process,
                                          const plain_vector<arch::text_edit>& edits,
                                          const plain_vector<page_run>& runs) {
    serialize_without_membarrier = serialize_by_questions;
    if (edits.empty()) return {};
    text_state* const state = text(process);
    if (state == nullptr) return error{errc::out_of_memory, "no memory for the text patcher"};
    if (const pid_t process_id = ::getpid(); state->process != process_id) {
        state->process = process_id;
        __atomic_store_n(&state->handlers, 0, __ATOMIC_SEQ_CST);
    }
    if (auto restored = restore_protection(process); !restored) return restored;
    writable_text writable;
    if (auto found = writable.find(edits, runs); !found) return found;
    if (auto verified = verify(edits); !verified) return verified;
    if (auto installed = install_trap_handler(*state); !installed) return installed;
    const bool threads = __libc_single_threaded == 0;
    unmasked_handlers handlers;
    if (threads) {
        handlers.unmask();
        if (auto checked = check_masks(); !checked) return checked;
    }
    if (auto noted = note_sites(*state, edits); !noted) return noted;
    state->left_writable.reserve(writable.pieces());
    if (auto opened = writable.open(); !opened) return opened;
    // Again: that may have taken a while.
    if (auto verified = verify(edits); !verified) return verified;

    bool nops_to_leave = false;
    for (const arch::text_edit& edit : edits) nops_to_leave |= edit.several_nops;

    // From here on no function that may be a site: it may be among those that change.
    edit_batch batch{edits.data(), edits.size()};
    {
        const signals_blocked quiet;
        const published_batch published(*state, batch);
        undecided_text undecided(edits.begin(), edits.end());
        for (const arch::text_edit& edit : edits) arch::poke_trap(edit);
        synchronize_cores();
        if (nops_to_leave && threads)
            if (auto left = evacuate(*state); !left) return left;
        undecided.decide();
        __atomic_store_n(&batch.decided, true, __ATOMIC_RELEASE);
        for (const arch::text_edit& edit : edits) arch::poke_tail(edit, edit.after);
        synchronize_cores();
        for (const arch::text_edit& edit : edits) arch::poke_head(edit, edit.after);
        synchronize_cores();
    }
    writable.close(state->left_writable);
    return {};
}

}  // namespace ftrace::inline v0::detail
