#include <ftrace/core/hash_index.hpp>

#include <catch2/catch_test_macros.hpp>
#include <vector>

using ftrace::detail::hash_index;
using ftrace::detail::hash_with;

TEST_CASE("hash_index: finds each of many elements, and nothing else", "[core]") {
    hash_index index;
    CHECK(index.find(1, [](std::uint32_t) { return true; }) == hash_index::none);
    std::vector<std::uint64_t> values;
    const auto find = [&](std::uint64_t value) {
        return index.find(hash_with(0, value),
                          [&](std::uint32_t element) { return values[element] == value; });
    };
    for (std::uint32_t i = 0; i < 10'000; ++i) {
        values.push_back(3 * i);
        REQUIRE(find(3 * i) == hash_index::none);
        index.insert(hash_with(0, 3 * i), i);
    }
    for (std::uint32_t i = 0; i < 10'000; ++i) REQUIRE(find(3 * i) == i);
    CHECK(find(1) == hash_index::none);
}

TEST_CASE("hash_index: elements with one hash are told apart by their values", "[core]") {
    hash_index index;
    for (std::uint32_t i = 0; i < 100; ++i) index.insert(7, i);
    for (std::uint32_t wanted : {0u, 50u, 99u})
        CHECK(index.find(7, [&](std::uint32_t element) { return element == wanted; }) == wanted);
    CHECK(index.find(7, [](std::uint32_t) { return false; }) == hash_index::none);
    CHECK(index.find(8, [](std::uint32_t) { return true; }) == hash_index::none);
}

TEST_CASE("hash_index: an element that is inserted often is held once", "[core]") {
    hash_index index;
    for (int i = 0; i < 1000; ++i) index.insert(7, 3);
    index.insert(7, 4);
    std::vector<std::uint32_t> held;
    CHECK(index.find(7, [&](std::uint32_t element) {
        held.push_back(element);
        return false;
    }) == hash_index::none);
    CHECK(held == std::vector<std::uint32_t>{3, 4});
}

TEST_CASE("hash_with: order matters", "[core]") {
    CHECK(hash_with(hash_with(0, 1), 2) != hash_with(hash_with(0, 2), 1));
    CHECK(hash_with(0, 0) != 0);
}
