// What a random program notes of itself while it runs: every call, and how it really ended.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <typeinfo>
#include <utility>
#include <vector>

#include "random_program.hpp"

namespace random_programs {

enum class way : std::uint8_t { returned, exception, longjmp, thread_exit, tail_call, abandoned };
inline constexpr int way_count = 6;
inline constexpr const char* way_names[way_count] = {"returned",    "exception", "longjmp",
                                                     "thread_exit", "tail_call", "abandoned"};

/// A value that is not compared.
inline constexpr unsigned long any_value = 0xa11;

struct note {
    bool entry;
    unsigned long call;  // counts the calls of the thread
    unsigned function;
    unsigned stack;      // 0: the thread's own
    unsigned long slot;  // where its return address is
    way ended;
    int flight;           // ended by an exception: which
    unsigned long value;  // returned: what
};

/// An exception on its way from throw to handler, or the forced unwinding of a thread's end.
struct flight {
    const std::type_info* type;  // null: none of C++
    int exception;               // the same for all flights of one
    bool forced;
    unsigned long handler;  // the function whose handler caught it; 0: none did
};

/// Calls that are under way on one stack, and what the C++ runtime and jumps have pending there.
struct activity {
    struct call {
        unsigned long number;
        unsigned function;
        unsigned long slot;
        bool in_tail;  // all that it still has to do is the call that follows
    };
    unsigned stack = 0;
    std::vector<call> calls;
    std::vector<int> flying, handled;  // exceptions
    int noexcepts = 0;
};

class notes {
public:
    explicit notes(unsigned long calls_before) : next_(calls_before) {}

    void enters(activity& on, unsigned function, unsigned long slot) {
        if (on.calls.size() >= chain && is_chain_full(on, slot)) {
            add(on, on.calls.back(), way::tail_call);
            on.calls.pop_back();
        }
        on.calls.push_back({++next_, function, slot, false});
        list_.push_back({true, next_, function, on.stack, slot, way::returned, -1, 0});
    }
    void returns(activity& on, unsigned long value) { ends(on, way::returned, -1, value); }
    void unwinds(activity& on) {
        const int last = on.flying.back();
        const bool forced = flights_[static_cast<std::size_t>(last)].forced;
        ends(on, forced ? way::thread_exit : way::exception, last, 0);
    }
    /// All but the first `stay` are left by a jump, or with their stack.
    void loses(activity& on, std::size_t stay, way how) {
        while (on.calls.size() > stay) {
            add(on, on.calls.back(), how);
            on.calls.pop_back();
        }
    }
    void flies(activity& on, const std::type_info* type, bool forced = false) {
        on.flying.push_back(static_cast<int>(flights_.size()));
        flights_.push_back({type, on.flying.back(), forced, 0});
    }
    /// The exception that is handled flies again: it itself, or another one that shares its object.
    void flies_again(activity& on, bool itself) {
        flight again = flight_of(on.handled.back());
        on.flying.push_back(static_cast<int>(flights_.size()));
        if (!itself) again.exception = on.flying.back();
        again.handler = 0;
        flights_.push_back(again);
    }
    /// Whether the exception that is handled is on its way already: destructors see this.
    [[nodiscard]] bool flies_already(const activity& on) const {
        for (const int flying : on.flying)
            if (flight_of(flying).exception == flight_of(on.handled.back()).exception) return true;
        return false;
    }
    void catches(activity& on, unsigned long handler) {
        flights_[static_cast<std::size_t>(on.flying.back())].handler = handler;
        on.handled.push_back(on.flying.back());
        on.flying.pop_back();
    }

    [[nodiscard]] const flight& flight_of(int number) const {
        return flights_[static_cast<std::size_t>(number)];
    }
    [[nodiscard]] const std::vector<note>& list() const { return list_; }
    [[nodiscard]] unsigned long calls() const { return next_; }

private:
    /// Calls with one return address that are kept apart.
    static constexpr std::size_t chain = 16;

    static bool is_chain_full(const activity& on, unsigned long slot) {
        for (std::size_t i = 1; i <= chain; ++i) {
            const activity::call& before = on.calls[on.calls.size() - i];
            if (!before.in_tail || before.slot != slot) return false;
        }
        return true;
    }
    void ends(activity& on, way how, int flight, unsigned long value) {
        do {
            add(on, on.calls.back(), how, flight, value);
            if (kinds[on.calls.back().function].returns_other) value = any_value;
            on.calls.pop_back();
        } while (!on.calls.empty() && on.calls.back().in_tail);
    }
    void add(const activity& on, const activity::call& call, way how, int flight = -1,
             unsigned long value = 0) {
        list_.push_back(
            {false, call.number, call.function, on.stack, call.slot, how, flight, value});
    }

    unsigned long next_;
    std::vector<note> list_;
    std::vector<flight> flights_;
};

}  // namespace random_programs
