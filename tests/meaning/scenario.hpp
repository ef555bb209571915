// What every scenario includes. Its functions live in namespace scenario, which is what the tree
// lists; recorder.cpp, linked to it, does the rest.
#pragma once

#include <cstdio>

/// A function that is called as the source says: neither inlined, copied nor merged with an equal
/// one. (The file is compiled with sites.)
#if defined(__clang__)
#define TRACED __attribute__((noinline))
#else
#define TRACED __attribute__((noinline, noclone, no_icf))
#endif

/// Has no site.
#define UNTRACED __attribute__((patchable_function_entry(0, 0)))

/// The compiler knows nothing of the value afterwards: a call that made it stays, is no tail call,
/// and its function is not taken for a pure one.
#define KEEP(value) __asm__ volatile("" : "+r"(value) : : "memory")

namespace recorder {

/// Writes the tree now and records no more. Comes by itself at exit(), quick_exit() and abort();
/// before _exit() a scenario calls it. Does nothing in a run without tree.
void finish() noexcept;

/// A child of fork calls it: the name of its tree.
void process(const char* name) noexcept;

/// What the tree tells of calls that begin from now on.
enum class mode {
    listed,   ///< each one
    counted,  ///< how many of each function there were, and how they ended
    left_out  ///< nothing; they are hooked none the less
};
void set_mode(mode) noexcept;

/// Whether every call that was left out has ended.
bool all_ended() noexcept;

/// The next `times` that a callback of the recorder runs, the signal is raised in it. Returns how
/// often it will be: never without a tree.
int raise_in_callbacks(int signal, int times) noexcept;

/// A scenario says what went wrong. The runner takes it for a failure.
inline void expect(bool right, const char* what) {
    if (!right) std::printf("WRONG: %s\n", what);
}

}  // namespace recorder
