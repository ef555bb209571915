// The functions whose calls are measured, and what hand-written stubs and compilers' hooks call.
#pragma once

#include <cstddef>
#include <cstdint>

// The same function, compiled without sites, with sites, and in the ways of others; and one that calls itself, `more` times
// more.
int plain_work(int x) noexcept;
int traced_work(int x) noexcept;
int instrumented_work(int x) noexcept;
int plain_nested(int x, int more) noexcept;
int traced_nested(int x, int more) noexcept;
// With what a recorder does written into it by hand.
int recorded_in_line(int x) noexcept;
int recorded_in_one_event(int x) noexcept;

#define RETURN_COST_WORK(name) \
    __attribute__((noinline, aligned(64))) int name(int x) noexcept { return x * 5 + 1; }
#define RETURN_COST_NESTED(name)                                                \
    __attribute__((noinline, aligned(64))) int name(int x, int more) noexcept { \
        if (more == 0) return x * 5 + 1;                                        \
        int result = name(x, more - 1);                                         \
        __asm__ volatile("" : "+r"(result)); /* no loop of it */                \
        return result + 1;                                                      \
    }

/// What a recorder writes at a call's begin and end.
struct recorded_event {
    std::uint64_t kind, ticks, function, other;
};
static_assert(sizeof(recorded_event) == 32);

/// A thread's ring buffer, as simple as can be: as large as the tracer's, never read.
struct recorded_ring {
    static constexpr std::size_t size = std::size_t{4} << 20, count = size / sizeof(recorded_event);
    recorded_event* events;
    std::uint64_t next;

    /// When it was.
    __attribute__((always_inline)) std::uint64_t add(std::uint64_t kind, std::uint64_t function,
                                                     std::uint64_t other) noexcept {
        recorded_event& event = events[next++ % count];
        event.kind = kind;
        event.ticks = __builtin_ia32_rdtsc();
        event.function = function;
        event.other = other;
        return event.ticks;
    }
};
extern constinit thread_local recorded_ring ring_by_hand __attribute__((tls_model("initial-exec")));

// What hand-written stubs call: nothing, and nothing within a recursion guard that keeps errno.
extern "C" {
void hijack_empty(unsigned long ip, unsigned long parent_ip, void* context, void* regs) noexcept;
void hijack_within_guard(unsigned long ip, unsigned long parent_ip, void* context,
                         void* regs) noexcept;
}

/// A function whose calls a compiler hooks, in a file of its own that was compiled so.
struct compiler_hooks {
    int (*work)(int) noexcept;
    bool (*attach)(bool records);  ///< hooks that do nothing, or record; false: it cannot be done
    void (*detach)();
};
extern const compiler_hooks instrumented;                // -finstrument-functions
extern const compiler_hooks xray __attribute__((weak));  // clang's XRay, if the program has it
