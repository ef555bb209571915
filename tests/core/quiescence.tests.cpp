#include <ftrace/core/quiescence.hpp>

#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <thread>

using namespace ftrace::detail;

namespace {

/// A thread that is in a section until it is told to leave.
class thread_in_section {
public:
    thread_in_section()
        : thread_([this] {
              state_ = this_thread();
              const std::uint64_t outside = section_of(*state_);
              enter_section(*state_, outside, in_no_frame);
              inside_ = true;
              while (!leave_) std::this_thread::yield();
              leave_section(*state_, outside);
          }) {
        while (!inside_) std::this_thread::yield();
    }
    ~thread_in_section() { leave(); }
    void leave() {
        leave_ = true;
        if (thread_.joinable()) thread_.join();
    }
    /// Whether somebody has noted the section, to wait for its end.
    bool is_awaited() const {
        return __atomic_load_n(&state_->awaited, __ATOMIC_ACQUIRE) == state_->section;
    }

private:
    thread_state* state_ = nullptr;
    std::atomic<bool> inside_{false}, leave_{false};
    std::thread thread_;
};

void some_time() {
    for (int i = 0; i < 200; ++i) std::this_thread::yield();
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
}

}  // namespace

TEST_CASE("quiescence: a thread in a section is waited for", "[core][quiescence]") {
    REQUIRE(process() != nullptr);
    thread_in_section other;
    std::atomic<bool> done{false};
    std::thread waiting([&done] {
        synchronize_callbacks(*process());
        done = true;
    });
    some_time();
    CHECK_FALSE(done);
    other.leave();
    waiting.join();
    CHECK(done);
}

TEST_CASE("quiescence: sections that begin later are not waited for", "[core][quiescence]") {
    thread_in_section first;
    std::atomic<bool> done{false};
    std::thread waiting([&done] {
        synchronize_callbacks(*process());
        done = true;
    });
    while (!first.is_awaited()) std::this_thread::yield();
    thread_in_section later;  // stays inside to the end
    CHECK_FALSE(later.is_awaited());
    CHECK_FALSE(done);
    first.leave();
    waiting.join();
    CHECK(done);
}

TEST_CASE("quiescence: a thread that enters again and again does not hold it up",
          "[core][quiescence]") {
    REQUIRE(process() != nullptr);
    std::atomic<bool> stop{false};
    std::atomic<long> rounds{0};
    std::thread hot([&] {
        thread_state& mine = *this_thread();
        while (!stop) {
            const std::uint64_t outside = section_of(mine);
            enter_section(mine, outside, in_no_frame);
            ++rounds;
            leave_section(mine, outside);
        }
    });
    while (rounds < 10) std::this_thread::yield();
    for (int i = 0; i < 200; ++i) synchronize_callbacks(*process());
    CHECK(rounds >= 10);
    stop = true;
    hot.join();
}

TEST_CASE("quiescence: one's own section is not waited for", "[core][quiescence]") {
    REQUIRE(process() != nullptr);
    thread_state& mine = *this_thread();
    CHECK_FALSE(in_section(mine));
    {
        const internal_section section;
        CHECK(in_section(mine));
        {
            const internal_section nested;
            synchronize_callbacks(*process());
        }
        CHECK(in_section(mine));
    }
    CHECK_FALSE(in_section(mine));
}

TEST_CASE("quiescence: a thread that died in a section is not waited for", "[core][quiescence]") {
    REQUIRE(process() != nullptr);
    thread_state* left = nullptr;
    std::thread([&left] {
        left = this_thread();
        enter_section(*left, section_of(*left), in_no_frame);
    }).join();
    CHECK(in_section(*left));
    synchronize_callbacks(*process());
    process()->threads.release_dead();
    CHECK_FALSE(in_section(*left));
}
