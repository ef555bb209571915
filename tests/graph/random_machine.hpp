// What runs a random program: its fibers, places to jump to and exceptions, each noted as it happens.
#pragma once

#include <cxxabi.h>
#include <pthread.h>
#include <setjmp.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unwind.h>

#include <cstddef>
#include <exception>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>

#include "random_notes.hpp"
#include "sanitizers.hpp"

namespace random_programs {

constexpr bool sanitized = built_with::address_sanitizer || built_with::thread_sanitizer;

#define APART __attribute__((noinline))

// ---- Exceptions -----------------------------------------------------------------------------

struct base {
    base() = default;
    base(const base&) = default;
    virtual ~base() = default;
    unsigned long words[4] = {1, 2, 3, 4};
};
struct derived : base {};
struct far_derived : virtual base, std::runtime_error {
    far_derived() : std::runtime_error("far") {}
};

/// What <cxxabi.h> declares and does not define: whoever switches stacks keeps one for each.
struct exception_globals {
    void* caught;
    unsigned uncaught;
};
inline exception_globals& globals_of_thread() {
    return *reinterpret_cast<exception_globals*>(abi::__cxa_get_globals());
}

// ---- Stacks ---------------------------------------------------------------------------------

/// Stacks for a thread's fibers: every other one a mapping, the rest from the heap.
class stack_blocks {
public:
    static constexpr unsigned most = 6;
    static constexpr std::size_t size = 256 * 1024;

    stack_blocks() = default;
    stack_blocks(const stack_blocks&) = delete;
    stack_blocks& operator=(const stack_blocks&) = delete;
    ~stack_blocks() {
        for (unsigned i = 0; i < most; ++i)
            if (blocks_[i] == nullptr)
                continue;
            else if (mapped(i))
                ::munmap(blocks_[i], size);
            else
                ::operator delete(blocks_[i]);
    }
    /// Its number, from 1 on.
    unsigned take() {
        for (unsigned n = 0; n < most; ++n) {
            const unsigned i = next_++ % most;
            if (taken_[i]) continue;
            taken_[i] = true;
            if (blocks_[i] == nullptr) blocks_[i] = make(i);
            return i + 1;
        }
        std::abort();
    }
    void give_back(unsigned number) {
        taken_[number - 1] = false;
        if (number % 3 == 0) next_ = number - 1;  // the next fiber gets this one
    }
    [[nodiscard]] void* at(unsigned number) const { return blocks_[number - 1]; }

private:
    static bool mapped(unsigned i) { return i % 2 == 0; }
    static void* make(unsigned i) {
        if (!mapped(i)) return ::operator new(size);
        void* const made =
            ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (made == MAP_FAILED) std::abort();
        return made;
    }
    void* blocks_[most]{};
    bool taken_[most]{};
    unsigned next_ = 0;
};

// ---- The machine ----------------------------------------------------------------------------

/// Where a jump lands, and what is pending there.
struct landing {
    jmp_buf buffer;
    ucontext_t context;
    bool by_context, jumped;
    std::size_t calls, flying, handled;
    int noexcepts;
};

/// The thread's own flow of control, or a fiber's.
struct strand {
    activity on;
    std::vector<landing*> landings;
    ucontext_t place{};
    exception_globals globals{};
    strand* resumer = nullptr;  // who goes on when it yields; null: it waits
    const node* root = nullptr;
    bool ended = false;
};

struct machine {
    machine(stack_blocks& stacks, unsigned long calls_before)
        : book(calls_before), blocks(stacks) {}
    machine(const machine&) = delete;
    machine& operator=(const machine&) = delete;

    notes book;
    stack_blocks& blocks;
    strand own;
    strand* here = &own;
    static constexpr unsigned most_fibers = 4;
    std::unique_ptr<strand> fibers[most_fibers];
    unsigned long sum = 0;  // of all that was done
    unsigned left = 2000;   // calls that it may still do: handlers may run twice
    unsigned switches = 0;

    activity& on() { return here->on; }
    unsigned long next_result(unsigned function) { return sum = sum * 31 + function; }

    bool may_jump(const landing& to) {
        if (to.by_context && sanitized) return false;  // they know of longjmp only
        return !to.jumped && to.flying == on().flying.size() && to.handled == on().handled.size();
    }
    /// Jumps to one of those landings that can be jumped to.
    void jump(unsigned number) {
        std::vector<landing*>& all = here->landings;
        std::size_t possible = 0;
        for (const landing* each : all) possible += may_jump(*each) ? 1 : 0;
        if (possible == 0) return;
        for (std::size_t skip = number % possible; skip > 0 || !may_jump(*all.back());
             all.pop_back())
            if (may_jump(*all.back())) --skip;
        landing& to = *all.back();
        book.loses(on(), to.calls, way::longjmp);
        on().noexcepts = to.noexcepts;
        to.jumped = true;
        if (to.by_context) ::setcontext(&to.context);
        ::longjmp(to.buffer, 1);
    }

    void exit_thread() {
        // catch (...) cannot stop what unwinds a thread while it handles an exception of C++.
        if (here != &own || on().noexcepts != 0 || !on().handled.empty()) return;
        book.flies(on(), nullptr, true);
        ::pthread_exit(nullptr);
    }
    /// In a handler of everything: whether it must let go of what it caught.
    bool is_exiting() { return !on().flying.empty() && book.flight_of(on().flying.back()).forced; }

    // Fibers.
    strand* waiting(unsigned number) {
        strand* all[most_fibers];
        unsigned count = 0;
        for (const auto& fiber : fibers)
            if (fiber != nullptr && fiber->resumer == nullptr) all[count++] = fiber.get();
        return count == 0 ? nullptr : all[number % count];
    }
    void start(unsigned number, const node& root);
    void resume(strand& fiber) {
        fiber.resumer = here;
        change_to(fiber);
        if (fiber.ended) drop(fiber);
    }
    void yield() {
        if (here == &own) return;
        strand& to = *here->resumer;
        here->resumer = nullptr;
        change_to(to);
    }
    void drop(strand& fiber) {
        book.loses(fiber.on, 0, way::abandoned);
        blocks.give_back(fiber.on.stack);
        for (auto& each : fibers)
            if (each.get() == &fiber) each.reset();
    }
    void change_to(strand& to) {
        ++switches;
        strand& from = *here;
        from.globals = globals_of_thread();
        globals_of_thread() = to.globals;
        here = &to;
        ::swapcontext(&from.place, &to.place);
    }
};

// ---- What functions note --------------------------------------------------------------------

/// The end of a call, when its scope ends.
class noted_end {
public:
    explicit noted_end(machine& m) : m_(m) {}
    noted_end(const noted_end&) = delete;
    noted_end& operator=(const noted_end&) = delete;
    ~noted_end() {
        if (in_tail_)
            m_.on().calls.back().in_tail = true;
        else if (returns_)
            m_.book.returns(m_.on(), result_);
        else
            m_.book.unwinds(m_.on());
    }
    unsigned long returns(unsigned long result) {
        returns_ = true;
        return result_ = result;
    }
    void calls_in_tail() { in_tail_ = true; }

private:
    machine& m_;
    bool returns_ = false, in_tail_ = false;
    unsigned long result_ = 0;
};

/// A call, from its first statement to the end of its scope.
class noted_call : public noted_end {
public:
    noted_call(machine& m, unsigned function, unsigned long slot) : noted_end(m) {
        m.book.enters(m.on(), function, slot);
    }
};

/// A handler, from its first statement to its end.
class handling {
public:
    handling(machine& m, unsigned long function) : m_(m) { m.book.catches(m.on(), function); }
    handling(const handling&) = delete;
    handling& operator=(const handling&) = delete;
    ~handling() { m_.on().handled.pop_back(); }

private:
    machine& m_;
};

class no_exceptions {
public:
    explicit no_exceptions(machine& m) : m_(m) { ++m.on().noexcepts; }
    no_exceptions(const no_exceptions&) = delete;
    no_exceptions& operator=(const no_exceptions&) = delete;
    ~no_exceptions() { --m_.on().noexcepts; }

private:
    machine& m_;
};

class may_land {
public:
    may_land(machine& m, bool by_context) : m_(m) {
        const activity& on = m.on();
        here.by_context = by_context;
        here.jumped = false;
        here.calls = on.calls.size();
        here.flying = on.flying.size();
        here.handled = on.handled.size();
        here.noexcepts = on.noexcepts;
        m.here->landings.push_back(&here);
    }
    may_land(const may_land&) = delete;
    may_land& operator=(const may_land&) = delete;
    ~may_land() { m_.here->landings.pop_back(); }

    landing here;

private:
    machine& m_;
};

}  // namespace random_programs
