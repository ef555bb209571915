// A program out of a seed: a tree of calls of the functions in random_functions.hpp, and what each does.
#pragma once

#include <cstdint>
#include <deque>
#include <iterator>
#include <vector>

namespace random_programs {

/// What a function can do besides calling others. Which lists of a node it runs depends on it.
enum class shape : std::uint8_t {
    plain,     // before
    tails,     // before, then it calls in_tail as the last thing it does
    catches,   // before, body; handler if it catches what body throws; after
    jumps,     // before, body; handler if a jump lands; after
    destroys,  // before, and in_destructor when it ends, by whatever
    throws,    // before, then it throws
};

struct function_kind {
    const char* name;
    shape does;
    bool returns_other = false;  // than a number
};
inline constexpr function_kind kinds[] = {
    {"small", shape::plain},
    {"large", shape::plain},
    {"growing", shape::plain},
    {"aligned", shape::plain},
    {"stack_arguments", shape::plain},
    {"in_memory", shape::plain, true},
    {"floating", shape::plain, true},
    {"takes_object", shape::plain},
    {"tail", shape::tails},
    {"other_tail", shape::tails},
    {"tail_in_branch", shape::tails},
    {"catches_base", shape::catches},
    {"catches_number", shape::catches},
    {"catches_text", shape::catches},
    {"catches_all", shape::catches},
    {"nested_tries", shape::catches},
    {"whole_try", shape::catches},
    {"never_throws", shape::catches},
    {"sets_jump", shape::jumps},
    {"sets_jump_in_try", shape::jumps},
    {"tries_in_jump", shape::jumps},
    {"sets_context", shape::jumps},
    {"destroys", shape::destroys},
    {"destroys_aligned", shape::destroys},
    {"throws_number", shape::throws},
    {"throws_derived", shape::throws},
};
inline constexpr unsigned function_count = std::size(kinds);

enum class act : std::uint8_t {
    calls,
    throws,
    throws_foreign,
    rethrows,
    rethrows_pointer,
    jumps,
    starts_fiber,
    resumes_fiber,
    yields,
    drops_fiber,
    exits_thread,
};

struct node;
/// An act that is not possible where it stands (a jump without a place to land, a yield outside of fibers) does nothing.
struct action {
    act what;
    unsigned number;     // which fiber, place, type
    const node* callee;  // of calls and starts_fiber
};
using actions = std::vector<action>;

struct node {
    unsigned function = 0;
    unsigned room = 0;  // bytes of stack, where the function takes some
    actions before, body, handler, after;
    const node* in_destructor = nullptr;
    const node* in_tail = nullptr;
};

/// What programs may do.
struct abilities {
    bool fibers, drops, jumps, exits;
};

struct program {
    unsigned seed = 0;
    unsigned room = 0;    // bytes of stack around the root
    bool drains = false;  // whether fibers run to their ends at last, or are dropped
    std::deque<node> nodes;
    std::vector<const node*> roots;  // one after the other, whatever leaves each
};

class random_numbers {
public:
    explicit random_numbers(std::uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15) {}
    unsigned below(unsigned end) {
        // splitmix64
        std::uint64_t z = state_ += 0x9e3779b97f4a7c15;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
        z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
        return static_cast<unsigned>((z ^ (z >> 31)) >> 33) % end;
    }
    bool percent(unsigned chance) { return below(100) < chance; }

private:
    std::uint64_t state_;
};

class generator {
public:
    generator(unsigned seed, abilities can) : random_(seed), can_(can) { made_.seed = seed; }

    program generate() {
        unsigned all = 10 + random_.below(random_.percent(10) ? 900 : 300);
        deepest_ = 3 + random_.below(20);
        made_.room = 16 * random_.below(64);
        made_.drains = random_.percent(50) || !can_.drops;
        while (all > 0) {
            const unsigned share = 1 + random_.below(all < 40 ? all : 40);
            left_ = share;
            all -= share;
            made_.roots.push_back(&call(0));
        }
        if (can_.exits) put_exit();
        return std::move(made_);
    }

private:
    enum class place : std::uint8_t { anywhere, in_handler };

    node& add(unsigned function) {
        node& one = made_.nodes.emplace_back();
        one.function = function;
        one.room = 16 * random_.below(40);
        if (left_ > 0) --left_;
        return one;
    }
    unsigned any_of(shape wanted) {
        for (;;) {
            const unsigned function = random_.below(function_count);
            if (kinds[function].does == wanted) return function;
        }
    }
    unsigned any_function(unsigned depth) {
        const unsigned roll = random_.below(100);
        if (roll < 8 && depth > 4) return any_of(shape::throws);
        if (roll < 35) return any_of(shape::plain);
        if (roll < 50) return any_of(shape::tails);
        if (roll < 73) return any_of(shape::catches);
        if (roll < 88) return can_.jumps ? any_of(shape::jumps) : any_of(shape::plain);
        return any_of(shape::destroys);
    }

    const node& call(unsigned depth) {
        const unsigned roll = random_.below(100), times = random_.below(40);
        if (roll < 2) return repeated(depth, any_function(depth), times);
        if (roll < 3) return repeated(depth, any_of(shape::tails), times);
        node& one = add(any_function(depth));
        fill(one, depth);
        return one;
    }
    /// A function that calls itself, once or more.
    const node& repeated(unsigned depth, unsigned function, unsigned times) {
        node& one = add(function);
        const node& next =
            times == 0 || left_ == 0 ? call_at_end(depth) : repeated(depth, function, times - 1);
        switch (kinds[function].does) {
        case shape::tails: one.in_tail = &next; break;
        case shape::destroys:
            one.in_destructor = &add(any_of(shape::plain));
            one.before.push_back({act::calls, 0, &next});
            break;
        case shape::catches:
        case shape::jumps:
            one.body.push_back({act::calls, 0, &next});
            one.handler = list(depth, 2, place::in_handler);
            break;
        default: one.before.push_back({act::calls, 0, &next});
        }
        return one;
    }
    const node& call_at_end(unsigned depth) {
        node& one = add(any_function(depth));
        fill(one, deepest_ - 1);
        return one;
    }

    void fill(node& one, unsigned depth) {
        switch (kinds[one.function].does) {
        case shape::plain: one.before = list(depth, 4); break;
        case shape::throws: one.before = list(depth, 2); break;
        case shape::tails:
            one.before = list(depth, 1);
            one.in_tail = depth < deepest_ && left_ > 0 ? &call(depth + 1) : &leaf();
            break;
        case shape::destroys:
            one.before = list(depth, 3);
            one.in_destructor = depth < deepest_ && left_ > 0 ? &call(depth + 1) : &leaf();
            break;
        case shape::catches:
        case shape::jumps:
            one.before = list(depth, 1);
            one.body = list(depth, 4);
            one.handler = list(depth, 3, place::in_handler);
            one.after = list(depth, 2);
        }
    }
    const node& leaf() { return add(any_of(shape::plain)); }

    actions list(unsigned depth, unsigned most, place where = place::anywhere) {
        actions all;
        if (depth >= deepest_) return all;
        for (unsigned n = random_.below(most + 1); n > 0 && left_ > 0; --n) {
            const action next = one_action(depth, where);
            // A fiber that jumps when it goes on.
            if (next.what == act::jumps && can_.fibers && random_.percent(40))
                all.push_back({act::yields, 0, nullptr});
            all.push_back(next);
        }
        return all;
    }
    action one_action(unsigned depth, place where) {
        const unsigned number = random_.below(1000);
        unsigned roll = random_.below(100);
        const auto taken = [&roll](unsigned share) {
            if (roll < share) return true;
            roll -= share;
            return false;
        };
        if (where == place::in_handler) {
            if (taken(15)) return {act::rethrows, number, nullptr};
            if (taken(5)) return {act::rethrows_pointer, number, nullptr};
        }
        if (depth > 2) {
            if (taken(8)) return {act::throws, number, nullptr};
            if (taken(1)) return {act::throws_foreign, number, nullptr};
            if (can_.jumps && taken(8)) return {act::jumps, number, nullptr};
        }
        if (can_.fibers) {
            if (taken(6)) return {act::starts_fiber, number, &call(depth + 1)};
            if (taken(9)) return {act::resumes_fiber, number, nullptr};
            if (taken(9)) return {act::yields, number, nullptr};
            if (can_.drops && taken(2)) return {act::drops_fiber, number, nullptr};
        }
        return {act::calls, number, &call(depth + 1)};
    }

    void put_exit() {
        // Late in the tree, or most programs would do nothing.
        const auto many = static_cast<unsigned>(made_.nodes.size());
        node& at = made_.nodes[many - 1 - random_.below(many / 2 + 1)];
        const bool has_body =
            kinds[at.function].does == shape::catches || kinds[at.function].does == shape::jumps;
        (has_body ? at.body : at.before).push_back({act::exits_thread, 0, nullptr});
    }

    random_numbers random_;
    abilities can_;
    unsigned left_ = 0;     // calls that may still be added to the root
    unsigned deepest_ = 0;  // calls around the innermost, roughly
    program made_;
};

}  // namespace random_programs
