#include <ftrace/core/plain_vector.hpp>

#include <catch2/catch_test_macros.hpp>
#include <numeric>
#include <random>
#include <utility>
#include <vector>

#include "sanitizers.hpp"

using ftrace::detail::plain_vector;

TEST_CASE("plain_vector: does what std::vector does", "[core]") {
    // Twelve bytes, with a value that is not all zeros.
    struct plain {
        int number = -1;
        short more[4] = {1, 2, 3, 4};
        bool operator==(const plain&) const = default;
    };
    plain_vector<plain> mine;
    std::vector<plain> model;
    std::mt19937 random(20261124);
    const auto same = [&] {
        return mine.size() == model.size() && mine.empty() == model.empty() &&
               mine.capacity() >= mine.size() &&
               std::equal(mine.begin(), mine.end(), model.begin(), model.end());
    };
    for (int step = 0; step < 20'000; ++step) {
        const int value = static_cast<int>(random() % 1000);
        switch (random() % 10) {
        case 0: mine.resize(random() % 40), model.resize(mine.size()); break;
        case 1: mine.reserve(random() % 60); break;
        case 2:
            if (!model.empty()) mine.pop_back(), model.pop_back();
            break;
        case 3:
            if (!model.empty()) {  // one of its own, as the memory moves
                mine.push_back(mine.front());
                model.push_back(plain(model.front()));
            }
            break;
        case 4:
            if (value < 20) mine.clear(), model.clear();
            break;
        case 5: mine = plain_vector<plain>(mine); break;
        case 6:
            mine = plain_vector<plain>(mine.size(), plain{value}),
            model.assign(model.size(), plain{value});
            break;
        default: mine.push_back({value}), model.push_back({value}); break;
        }
        REQUIRE(same());
        if (!model.empty()) REQUIRE(mine.back() == model.back());
    }
}

TEST_CASE("plain_vector: copies are separate, moved ones are empty", "[core]") {
    plain_vector<int> numbers{1, 2, 3};
    plain_vector<int> copy = numbers;
    CHECK(copy == numbers);
    copy[1] = 20;
    CHECK(copy != numbers);
    CHECK(numbers == plain_vector<int>{1, 2, 3});
    CHECK(numbers != plain_vector<int>{1, 2});

    const plain_vector<int> taken = std::move(copy);
    CHECK(taken == plain_vector<int>{1, 20, 3});
    CHECK(copy.empty());
    CHECK(copy.begin() == copy.end());
    copy.push_back(4);
    numbers = std::move(copy);
    CHECK(numbers == plain_vector<int>{4});
    auto& itself = numbers;
    numbers = itself;
    CHECK(numbers == plain_vector<int>{4});
    numbers = std::move(itself);
    CHECK(numbers == plain_vector<int>{4});
}

TEST_CASE("plain_vector: what it is given may be its own; too much is bad_alloc", "[core]") {
    plain_vector<int> numbers{7, 8};
    numbers.resize(1000, numbers[0]);
    CHECK(numbers.back() == 7);
    // Under sanitizers a wish that cannot be ends the program.
    if (built_with::address_sanitizer || built_with::thread_sanitizer) return;
    for (const std::size_t too_much :
         {~std::size_t{0}, (std::size_t{1} << 62) + 2, std::size_t{1} << 60})
        CHECK_THROWS_AS(numbers.reserve(too_much), std::bad_alloc);
    CHECK(numbers.size() == 1000);
    CHECK(numbers.capacity() < 2000);
}

TEST_CASE("plain_vector: many elements cost few allocations", "[core]") {
    plain_vector<int> numbers;
    int moves = 0;
    for (int i = 0; i < 100'000; ++i) {
        const int* const before = numbers.data();
        numbers.push_back(i);
        moves += numbers.data() != before;
    }
    CHECK(moves < 20);
    CHECK(std::accumulate(numbers.begin(), numbers.end(), 0L) == 99'999L * 100'000 / 2);
}
