// What makes the functions of random programs do what a program says.
#pragma once

#include <alloca.h>

#include "random_machine.hpp"

namespace random_programs {

/// How every function is called; in the order of kinds.
using function = unsigned long (*)(machine&, const node&);
extern const function functions[function_count];

#define ADDRESS(function) reinterpret_cast<unsigned long>(&function)

inline void fill(volatile unsigned char* room, std::size_t size, unsigned char value) {
    for (std::size_t i = 0; i < size; i += 16) room[i] = value;
}

inline unsigned long call(machine& m, const node& n) {
    if (m.left == 0) return 0;
    --m.left;
    return functions[n.function](m, n);
}

template <class T>
[[noreturn]] void throw_it(machine& m, const T& exception) {
    m.book.flies(m.on(), &typeid(T));
    throw exception;
}
[[noreturn]] APART inline void throw_any(machine& m, unsigned number) {
    switch (number % 7) {
    case 0: throw_it(m, base());
    case 1: throw_it(m, derived());
    case 2: throw_it(m, far_derived());
    case 3: throw_it(m, 5);
    case 4: throw_it(m, static_cast<const char*>("text"));
    case 5: throw_it(m, std::string("a text that is too long for the object itself"));
    default: throw_it(m, std::runtime_error("error"));
    }
}
/// As a language without C++'s type information would.
APART inline void throw_foreign(machine& m) {
    // The C++ runtime can handle no other exception then.
    if (!m.on().handled.empty() || !m.on().flying.empty()) return;
    m.book.flies(m.on(), nullptr);
    auto* const exception = new _Unwind_Exception{};
    __builtin_memcpy(&exception->exception_class, "FTRCTEST", 8);
    exception->exception_cleanup = [](_Unwind_Reason_Code, _Unwind_Exception* handled) {
        delete handled;
    };
    _Unwind_RaiseException(exception);
    std::abort();
}
APART inline void rethrow(machine& m, bool itself) {
    activity& on = m.on();
    if (on.handled.empty() || (itself && m.book.flies_already(on))) return;
    if (itself) {
        m.book.flies_again(on, true);
        throw;
    }
    if (m.book.flight_of(on.handled.back()).type == nullptr) return;
    m.book.flies_again(on, false);
    std::rethrow_exception(std::current_exception());
}

APART inline void run(machine& m, const actions& list) {
    for (const action& each : list) {
        switch (each.what) {
        case act::calls: m.sum += call(m, *each.callee); break;
        case act::throws: throw_any(m, each.number);
        case act::throws_foreign: throw_foreign(m); break;
        case act::rethrows: rethrow(m, true); break;
        case act::rethrows_pointer: rethrow(m, false); break;
        case act::jumps: m.jump(each.number); break;
        case act::starts_fiber: m.start(each.number, *each.callee); break;
        case act::resumes_fiber:
            if (strand* const fiber = m.waiting(each.number)) m.resume(*fiber);
            break;
        case act::yields: m.yield(); break;
        case act::drops_fiber:
            if (strand* const fiber = m.waiting(each.number)) m.drop(*fiber);
            break;
        case act::exits_thread: m.exit_thread(); break;
        }
    }
}
APART inline void run_in_destructor(machine& m, const node& called) noexcept {
    no_exceptions inside(m);
    try {
        call(m, called);
    } catch (...) {
        handling handler(m, ADDRESS(run_in_destructor));
    }
}

/// Runs a call when its scope ends.
class calls_when_destroyed {
public:
    calls_when_destroyed(machine& m, const node* callee) : m_(m), callee_(callee) {}
    calls_when_destroyed(const calls_when_destroyed&) = delete;
    calls_when_destroyed& operator=(const calls_when_destroyed&) = delete;
    ~calls_when_destroyed() {
        if (callee_ != nullptr) run_in_destructor(m_, *callee_);
    }

private:
    machine& m_;
    const node* callee_;
};

APART inline void before_tail(machine& m, const node& n, unsigned number, unsigned long slot) {
    noted_call call(m, number, slot);
    run(m, n.before);
    call.calls_in_tail();
}

/// A fiber: nothing leaves it.
inline thread_local machine* machine_of_thread;
APART inline void fiber_main() {
    machine& m = *machine_of_thread;
    strand& self = *m.here;
    auto* const room = static_cast<unsigned char*>(alloca(self.root->room + 16));
    fill(room, self.root->room + 16, 6);
    try {
        call(m, *self.root);
    } catch (...) {
        handling handler(m, ADDRESS(fiber_main));
    }
    self.ended = true;
    m.yield();
    std::abort();
}
inline void machine::start(unsigned number, const node& root) {
    auto& fiber = fibers[number % most_fibers];
    if (fiber != nullptr) {
        if (fiber->resumer == nullptr) resume(*fiber);
        return;
    }
    fiber = std::make_unique<strand>();
    fiber->root = &root;
    fiber->on.stack = blocks.take();
    ::getcontext(&fiber->place);
    fiber->place.uc_stack.ss_sp = blocks.at(fiber->on.stack);
    fiber->place.uc_stack.ss_size = stack_blocks::size;
    ::makecontext(&fiber->place, &fiber_main, 0);
    resume(*fiber);
}

/// The whole program, but for what a thread's end leaves out.
APART inline void run_program(machine& m, const program& program) {
    auto* const room = static_cast<unsigned char*>(alloca(program.room + 16));
    fill(room, program.room + 16, 7);
    for (const node* const root : program.roots) {
        try {
            call(m, *root);
        } catch (...) {
            if (m.is_exiting()) throw;
            handling handler(m, ADDRESS(run_program));
        }
    }
    while (program.drains) {
        strand* const fiber = m.waiting(0);
        if (fiber == nullptr) break;
        m.resume(*fiber);
    }
}
/// What is left of it.
inline void end_program(machine& m) {
    while (strand* const fiber = m.waiting(0)) m.drop(*fiber);
}

}  // namespace random_programs
