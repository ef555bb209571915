// Compares what a random program noted of itself with what was traced of it.
//
// Both lists agree if without the late ends they are the same, in the same order, and if each late end is told once, after
// the call was left and before the first event that shows it: the entry or the end of a call around it, on its stack.
#pragma once

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
    [[nodiscard]] std::string both_lists(std::span<const event> trace) const {
        std::string all = "--- the program:\n";
        int depth = 0;
        for (std::size_t i = 0; i < book_->list().size(); ++i) {
            const note& each = book_->list()[i];
            if (!each.entry) --depth;
            all += text("%s %*s%s %lu %s, stack %u, slot ..%05lx", i + 1 == at_ ? "->" : "  ",
                        depth * 2, "", each.entry ? "enters" : "leaves", each.call,
                        kinds[each.function].name, each.stack, each.slot & 0xfffff);
            if (each.entry) ++depth;
            const flight none{}, &how = each.flight < 0 ? none : book_->flight_of(each.flight);
            all +=
                (each.entry ? "" : end_text(each.ended, each.value, how.type, how.handler)) + '\n';
        }
        all += "--- the trace:\n";
        for (std::size_t i = 0; i < trace.size(); ++i)
            all += (i == traced_ ? "-> " : "   ") + event_text(trace[i]) + '\n';
        return all;
    }

    static std::string event_text(const event& each) {
        const std::string line =
            text("%*s%s %lu %s, depth %d", each.depth * 2, "", each.entry ? "enters" : "leaves",
                 each.call, each.function < function_count ? kinds[each.function].name : "?",
                 each.depth);
        if (each.entry) return line + text(", slot ..%05lx", each.slot & 0xfffff);
        return line + end_text(each.ended, each.value, each.exception, each.handler);
    }

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
            // Calls of a fiber that was dropped may be taken for calls around those of the next one on its stack.
            int around = 0, dropped = 0;
            for (const auto& [number, call] : open_)
                if (call.stack == done.stack && call.slot >= done.slot)
                    ++(call.left && call.how == way::abandoned ? dropped : around);
            if (seen.depth < around || seen.depth > around + dropped)
                wrong(text("its depth is %d", around));
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
            if (how.handler != 0 && seen.handler != how.handler)
                wrong("another function handles it");
        }
        if (done.ended == way::returned && done.value != any_value && seen.value != done.value)
            wrong("the result is another");
    }
    void compare_late(const event& seen) {
        const auto found = open_.find(seen.call);
        if (found == open_.end() || !found->second.left) return wrong("it has not been left");
        const open_call& call = found->second;
        if (seen.function != call.function) wrong("it is another function's");
        // A dropped fiber's calls look like ones that were jumped out of, if the next fiber's are taken to be inside them.
        if (seen.ended != call.how && call.how != way::abandoned) wrong("it was left otherwise");
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
        // Of the next fiber's first calls not all are known to be on the same stack.
        if (call.how == way::abandoned) return false;
        return call.slot < by.slot || (by.entry && call.slot == by.slot);
    }
    void wrong(std::string why) {
        if (wrong_.empty()) wrong_ = std::move(why);
    }

    static std::string end_text(way ended, unsigned long value, const std::type_info* type,
                                unsigned long handler) {
        std::string line = text(": %s", way_names[static_cast<int>(ended)]);
        if (ended == way::returned) line += text(" %lx", value);
        if (ended == way::exception)
            line += text(" of type %s, handled by %s", type == nullptr ? "none" : type->name(),
                         name_of(handler).c_str());
        return line;
    }
    static std::string name_of(unsigned long address) {
        for (unsigned i = 0; i < function_count; ++i)
            if (addresses[i] == address) return kinds[i].name;
        if (address == ADDRESS(run_in_destructor)) return "run_in_destructor";
        if (address == ADDRESS(fiber_main)) return "fiber_main";
        if (address == ADDRESS(run_program)) return "run_program";
        return text("%#lx", address);
    }

    std::map<unsigned long, open_call> open_;
    const notes* book_ = nullptr;
    std::size_t at_ = 0, traced_ = 0;
    std::string wrong_;
};

/// Two ops saw the same of those functions that the second one hooks. Empty: yes.
template <class IsHooked>
std::string first_difference(std::span<const event> wide, std::span<const event> narrow,
                             IsHooked is_hooked) {
    std::size_t at = 0;
    for (const event& each : wide) {
        if (!is_hooked(each.function)) continue;
        if (at == narrow.size())
            return "the second ops saw less: not " + comparison::event_text(each);
        const event& other = narrow[at++];
        if (each.entry != other.entry || each.function != other.function ||
            each.depth != other.depth || each.slot != other.slot || each.ended != other.ended ||
            each.exception != other.exception || each.handler != other.handler ||
            each.value != other.value)
            return "the second ops saw " + comparison::event_text(other) + "\ninstead of " +
                   comparison::event_text(each);
    }
    return at == narrow.size() ? ""
                               : "the second ops saw more: " + comparison::event_text(narrow[at]);
}

}  // namespace random_programs
