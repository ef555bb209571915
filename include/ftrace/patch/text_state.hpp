// What the SIGTRAP handler and the thread that changes text tell each other.
#pragma once

#include <signal.h>

#include <cstddef>
#include <cstdint>
#include <ftrace/arch/text_poke.hpp>
#include <ftrace/core/config.hpp>
#include <ftrace/core/process.hpp>
#include <new>

namespace ftrace::inline v0::detail {

/// The sites that are being changed right now, sorted by address.
struct edit_batch {
    const arch::text_edit* edits;
    std::size_t count;

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

/// One for the process, never freed.
struct text_state {
    FTRACE_NOTRACE text_state() noexcept = default;

    edit_batch* active = nullptr;  ///< published before the first int3, taken back after the last
    std::uint32_t handlers = 0;    ///< threads inside the handler, which may hold `active`
    pid_t answered = 0;            ///< the thread that answered evacuation.hpp last
    bool installed = false;        ///< our handler is in place, `previous` is what it chains to
    struct sigaction previous = {};
    struct sigaction ours = {};
};

/// nullptr: no memory. Call with the process locked.
[[nodiscard]] FTRACE_NOTRACE inline text_state* text(process_state& process) {
    if (process.text == nullptr)
        __atomic_store_n(&process.text, new (std::nothrow) text_state, __ATOMIC_RELEASE);
    return process.text;
}

}  // namespace ftrace::inline v0::detail
