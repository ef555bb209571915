// Combinations of ops as numbers: the same one for the same ops, and nothing made twice.
#include <catch2/catch_test_macros.hpp>
#include <ftrace/ftrace.hpp>
#include <ftrace/ops/dispatch_sets.hpp>
#include <initializer_list>
#include <vector>

using namespace ftrace;
using namespace ftrace::detail;

namespace {

void callback(unsigned long, unsigned long, ftrace_ops&, ftrace_regs&) noexcept {}
void other_callback(unsigned long, unsigned long, ftrace_ops&, ftrace_regs&) noexcept {}
FTRACE_GENERAL_REGS_ONLY void integer_callback(unsigned long, unsigned long, ftrace_ops&,
                                               integer_regs&) noexcept {}

using args = ops<callback>;
using full = ops<other_callback, SAVE_REGS>;
using integers = ops<integer_callback, ARGS_INTEGER>;

/// Kept to the end of the process, as the registry keeps them: stubs may look at their lists.
dispatch_sets& kept_sets() {
    static auto& kept = *new std::vector<dispatch_sets*>;
    kept.push_back(new dispatch_sets(own_list_stubs));
    return *kept.back();
}
const stub_table* list_stubs_of(save_policy policy) { return own_list_stubs.by_policy[policy]; }

/// As the registry has them; ops are registered in the order of their private_data.
struct fixture {
    dispatch_sets& sets = kept_sets();
    std::vector<ftrace_ops*> all;

    template <class... Ops>
    explicit fixture(Ops&... registered) : all{&registered...} {
        for (std::size_t i = 0; i < all.size(); ++i) set_order(*all[i], i);
    }
    /// The slots of the types' own stubs are the process's.
    ~fixture() {
        for (ftrace_ops* const op : all) sets.retire(*op, true);
    }
    fixture(const fixture&) = delete;
    static void set_order(ftrace_ops& op, std::uintptr_t place) {
        op.private_data = reinterpret_cast<void*>(place);
    }
    set_index with(set_index from, ftrace_ops& op) {
        const auto index = sets.with(from, op, [](const ftrace_ops& a, const ftrace_ops& b) {
            return a.private_data < b.private_data;
        });
        REQUIRE(index);
        return *index;
    }
    set_index of(std::initializer_list<ftrace_ops*> members) {
        set_index set = 0;
        for (ftrace_ops* const op : members) set = with(set, *op);
        return set;
    }
    set_index without(set_index from, ftrace_ops& op) {
        const auto index = sets.without(from, op);
        REQUIRE(index);
        return *index;
    }
};

/// What stubs find there.
std::vector<ftrace_ops*> entries_of(const dispatch_set& set) {
    return {set.entries, set.entries + set.entry_count};
}

}  // namespace

TEST_CASE("dispatch sets: the same ops are one set, whichever way they came", "[ops]") {
    static args first;
    static full second;
    static integers third;
    fixture now(first, second, third);
    CHECK(now.of({}) == 0);
    const set_index all = now.of({&first, &second, &third});
    CHECK(now.sets[all].members == plain_vector<ftrace_ops*>{&first, &second, &third});
    CHECK(now.of({&third, &second, &first}) == all);
    CHECK(now.of({&second, &third, &first}) == all);
    const set_index pair = now.of({&first, &third});
    CHECK(pair != all);
    CHECK(now.without(all, second) == pair);
    CHECK(now.without(now.without(now.without(all, second), first), third) == 0);
    CHECK(now.without(pair, second) == pair);
}

TEST_CASE("dispatch sets: a combination that comes back finds its list again", "[ops]") {
    static args first;
    static full second;
    fixture now(first, second);
    const set_index pair = now.of({&first, &second});
    const void* const list = now.sets[pair].context;
    for (int i = 0; i < 100; ++i) {
        const set_index alone = now.without(pair, second);
        now.sets.retire(second, true);
        CHECK(entries_of(now.sets[pair]) == std::vector<ftrace_ops*>{&first, nullptr});
        REQUIRE(now.with(alone, second) == pair);
        REQUIRE(now.sets[pair].context == list);
        REQUIRE(entries_of(now.sets[pair]) == std::vector<ftrace_ops*>{&first, &second});
    }
}

TEST_CASE(
    "dispatch sets: one ops has its own stubs and slot, a second of its type a slot of the set's",
    "[ops]") {
    static args first, second;
    fixture now(first, second);
    const dispatch_set& one = now.sets[now.of({&first})];
    CHECK(one.own != nullptr);
    CHECK(one.enter_directly);
    CHECK(one.stubs == one.own->stubs);
    CHECK(one.entries == one.own->slot);
    CHECK(*one.own->slot == &first);

    const dispatch_set& two = now.sets[now.of({&second})];
    CHECK(two.own == one.own);
    CHECK_FALSE(two.enter_directly);
    CHECK(two.stubs == one.stubs);
    CHECK(two.entries != one.entries);
    CHECK(entries_of(two) == std::vector<ftrace_ops*>{&second});

    // The slot is free once the first is gone, and the second gets it when it comes again.
    now.sets.retire(first, true);
    CHECK(*own_stubs_of<&callback, ARGS, FTRACE_OPS_FL_RECURSION>.slot == nullptr);
    CHECK(now.sets[now.of({&second})].enter_directly);
}

TEST_CASE("dispatch sets: a list saves what its most demanding member needs", "[ops]") {
    static args by_args;
    static full by_regs;
    static integers by_integers, also_integers;
    static ftrace_ops dynamic(callback, SAVE_REGS);
    fixture now(by_args, by_regs, by_integers, also_integers, dynamic);
    const struct {
        std::vector<ftrace_ops*> members;
        save_policy policy;
    } cases[] = {{{&by_args, &by_integers}, ARGS},
                 {{&by_args, &by_regs}, SAVE_REGS},
                 {{&by_regs, &by_integers}, SAVE_REGS},
                 {{&by_args, &by_regs, &by_integers}, SAVE_REGS},
                 {{&by_integers, &dynamic}, SAVE_REGS}};
    for (const auto& each : cases) {
        set_index index = 0;
        for (ftrace_ops* const op : each.members) index = now.with(index, *op);
        const dispatch_set& set = now.sets[index];
        CAPTURE(&each - cases);
        CHECK(set.policy == each.policy);
        CHECK(set.stubs == list_stubs_of(each.policy));
        CHECK(set.own == nullptr);
        CHECK(set.compiled == nullptr);
        CHECK(entries_of(set) == each.members);
        CHECK(static_cast<const ops_list*>(set.context)->count == each.members.size());
    }
    CHECK(now.sets[now.of({&by_integers, &also_integers})].policy == ARGS_INTEGER);
    CHECK(now.sets[now.of({&by_integers, &also_integers})].stubs == list_stubs_of(ARGS_INTEGER));
    // A dynamic ops has no stubs of its own, so it stands in a list even alone.
    const dispatch_set& alone = now.sets[now.of({&dynamic})];
    CHECK(alone.own == nullptr);
    CHECK(alone.stubs == list_stubs_of(SAVE_REGS));
}

TEST_CASE(
    "dispatch sets: members of a compile-time registry need no list, if they stand in its order",
    "[ops]") {
    static registry<args, full> both;
    static args stranger;
    auto& first = both.get<0>();
    auto& second = both.get<1>();
    fixture now(first, second, stranger);
    const dispatch_set& pair = now.sets[now.of({&first, &second})];
    CHECK(pair.compiled == (&static_set_of<args, full>));
    CHECK(pair.stubs == pair.compiled->stubs[SAVE_REGS]);
    CHECK(entries_of(pair) == std::vector<ftrace_ops*>{&first, &second});
    CHECK(now.sets[now.of({&first, &second, &stranger})].compiled == nullptr);

    // Registered the other way round.
    fixture::set_order(first, 10);
    const dispatch_set& reversed = now.sets[now.of({&first, &second})];
    CHECK(reversed.compiled == nullptr);
    CHECK(entries_of(reversed) == std::vector<ftrace_ops*>{&second, &first});
}

TEST_CASE("dispatch sets: an ops that is retired is in no list any more", "[ops]") {
    static args first;
    static full second;
    static integers third;
    fixture now(first, second, third);
    const set_index all = now.of({&first, &second, &third}), pair = now.of({&first, &third}),
                    without = now.of({&second, &third});
    now.sets.retire(first, true);
    CHECK(entries_of(now.sets[all]) == std::vector<ftrace_ops*>{nullptr, &second, &third});
    CHECK(entries_of(now.sets[pair]) == std::vector<ftrace_ops*>{nullptr, &third});
    CHECK(entries_of(now.sets[without]) == std::vector<ftrace_ops*>{&second, &third});
}
