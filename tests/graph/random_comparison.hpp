// Compares what a random program noted of itself with what was traced of it.
//
// Both lists agree if without the late ends they are the same, in the same order, and if each late end is told once, after
// the call was left and before the first event that shows it: the entry or the end of a call around it, on its stack.
#pragma once

#include <algorithm>
#include <cstdarg>
#include <map>
#include <span>
#include <string>
#include <string_view>

#include "random_functions.hpp"

namespace random_programs {

/// What a callback was told.
struct event {
    bool entry;
    unsigned long call;  // counts the calls of the thread
    unsigned function;
    int depth;
    unsigned long slot;  // at entries
    way ended;
    const std::type_info* exception;
    unsigned long handler;
    unsigned long value;
};

constexpr bool is_late(way ended) { return ended == way::longjmp || ended == way::abandoned; }

__attribute__((format(printf, 1, 2))) inline std::string text(const char* format, ...) {
    char line[400];
    va_list values;
    va_start(values, format);
    std::vsnprintf(line, sizeof line, format, values);
    va_end(values);
    return line;
}

/// The calls of one thread that are not told to have ended. Lives as long as the thread.
class comparison {
public:
    /// What a program noted, and what was traced of it. Empty: they agree. Else what is wrong first, and both lists.
    std::string compare(const notes& book, std::span<const event> trace) {
        book_ = &book;
        at_ = 0;
        wrong_.clear();
        traced_ = 0;
        for (const event& each : trace) {
            apply_late_notes();
            compare(each);
            if (!wrong_.empty()) break;
            ++traced_;
        }
        if (wrong_.empty()) {
            apply_late_notes();
            if (at_ < book.list().size()) wrong_ = "the trace ends before the program did";
        }
        return wrong_.empty() ? wrong_ : wrong_ + "\n" + both_lists(trace);
    }
    /// The thread has ended: whatever it left is told.
    [[nodiscard]] std::size_t untold() const { return open_.size(); }

private:
    struct open_call {
        unsigned function;
        unsigned stack;
        unsigned long slot;
        bool left;
        way how;
        int depth;
    };

    void apply_late_notes() {
        for (; at_ < book_->list().size(); ++at_) {
            const note& late = book_->list()[at_];
            if (late.entry || !is_late(late.ended)) return;
            open_call& call = open_.at(late.call);
            call.left = true;
            call.how = late.ended;
        }
    }

    void compare(const event& seen) {
        if (!seen.entry && is_late(seen.ended)) return compare_late(seen);
        if (at_ == book_->list().size()) return wrong("the program did no more");
        const note& done = book_->list()[at_++];
        if (seen.entry != done.entry || seen.call != done.call || seen.function != done.function)
            return wrong("this is not what came next");
        show_left_ones(done);
        if (seen.entry) {
            if (seen.slot != done.slot) wrong("the return address is elsewhere");
            // Calls of a fiber that was dropped may be taken for some of the next one on its stack.
            int around = 0;
            bool known = true;
            for (const auto& [number, call] : open_) {
                if (call.stack != done.stack) continue;
                if (call.left && call.how == way::abandoned) known = false;
                if (call.slot >= done.slot) ++around;
            }
            if (known && seen.depth != around) wrong(text("its depth is %d", around));
            open_[done.call] = {done.function, done.stack, done.slot, false, {}, seen.depth};
            return;
        }
        if (seen.ended != done.ended) wrong("it ended otherwise");
        if (seen.depth != open_.at(done.call).depth) wrong("its depth was another");
        open_.erase(done.call);
        if (done.ended == way::exception) {
            const flight& how = book_->flight_of(done.flight);
            if ((how.type == nullptr) != (seen.exception == nullptr) ||
                (how.type != nullptr && *how.type != *seen.exception))
                wrong("the exception has another type");
            // Nobody catches it if its fiber is dropped before.
            if (how.handler != 0 && seen.handler != how.handler) wrong("another function handles it");
        }
        if (done.ended == way::returned && done.value != any_value && seen.value != done.value)
            wrong("the result is another");
    }
    void compare_late(const event& seen) {
        const auto found = open_.find(seen.call);
        if (found == open_.end() || !found->second.left) return wrong("it has not been left");
        const open_call& call = found->second;
        if (seen.function != call.function) wrong("it is another function's");
        // Whether a fiber jumped out of its calls or was dropped and its stack given to another looks the same.
        if (seen.ended != call.how && call.stack == 0) wrong("it was left otherwise");
        if (seen.depth != call.depth) wrong("its depth was another");
        for (auto later = std::next(found); later != open_.end(); ++later)
            if (later->second.left && later->second.stack == call.stack && call.how == way::longjmp)
                wrong(text("call %lu inside it comes first", later->first));
        open_.erase(found);
    }
    // What should have been told before.
    void show_left_ones(const note& by) {
        for (const auto& [number, call] : open_)
            if (call.left && call.stack == by.stack && is_shown(call, by))
                wrong(text("call %lu of %s was left before and should be told by now", number,
                           kinds[call.function].name));
    }
    static bool is_shown(const open_call& call, const note& by) {
        if (call.how == way::abandoned) return false;
        return call.slot < by.slot || (by.entry && call.slot == by.slot);
    }
    void wrong(std::string why) {
        if (wrong_.empty()) wrong_ = std::move(why);
    }

    std::string both_lists(std::span<const event> trace) const {
        std::string all = "--- the program:\n";
        int depth = 0;
        for (std::size_t i = 0; i < book_->list().size(); ++i) {
            const note& each = book_->list()[i];
            if (!each.entry) --depth;
            all += text("%s %*s%s %lu %s, stack %u, slot ..%05lx", i + 1 == at_ ? "->" : "  ", depth * 2,
                        "", each.entry ? "enters" : "leaves", each.call, kinds[each.function].name,
                        each.stack, each.slot & 0xfffff);
            if (each.entry) ++depth;
            if (!each.entry) all += text(": %s", way_names[static_cast<int>(each.ended)]);
            if (!each.entry && each.ended == way::returned) all += text(" %lx", each.value);
            if (each.flight >= 0 && each.ended == way::exception) {
                const flight& how = book_->flight_of(each.flight);
                all += end_text(how.type, how.handler);
            }
            all += '\n';
        }
        all += "--- the trace:\n";
        for (std::size_t i = 0; i < trace.size(); ++i) {
            const event& each = trace[i];
            all += text("%s %*s%s %lu %s, depth %d", i == traced_ ? "->" : "  ", each.depth * 2, "",
                        each.entry ? "enters" : "leaves", each.call,
                        each.function < function_count ? kinds[each.function].name : "?", each.depth);
            if (each.entry) all += text(", slot ..%05lx", each.slot & 0xfffff);
            if (!each.entry) all += text(": %s", way_names[static_cast<int>(each.ended)]);
            if (!each.entry && each.ended == way::returned) all += text(" %lx", each.value);
            if (!each.entry && each.ended == way::exception)
                all += end_text(each.exception, each.handler);
            all += '\n';
        }
        return all;
    }
    static std::string end_text(const std::type_info* type, unsigned long handler) {
        const auto* const known = std::find(addresses, addresses + function_count, handler);
        return text(" of type %s, handler %s", type == nullptr ? "none" : type->name(),
                    known != addresses + function_count ? kinds[known - addresses].name
                    : handler == ADDRESS(run_in_destructor)    ? "run_in_destructor"
                    : handler == ADDRESS(fiber_main)           ? "fiber_main"
                    : handler == ADDRESS(run_program)          ? "run_program"
                    : handler == 0                             ? "none"
                                                               : text("%#lx", handler).c_str());
    }

    std::map<unsigned long, open_call> open_;
    const notes* book_ = nullptr;
    std::size_t at_ = 0, traced_ = 0;
    std::string wrong_;
};

}  // namespace random_programs
