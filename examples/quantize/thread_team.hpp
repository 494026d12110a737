#pragma once
// thread_team: what qlib wants of an engine's threads, in its simplest form. An engine passes its own pool instead.
#include <qlib/core/executor.hpp>

#include <atomic>
#include <thread>
#include <vector>

/// Runs a loop on `count` threads, the caller's among them. They take turns at one counter, so that slow threads take fewer tasks.
class thread_team {
public:
    explicit thread_team(std::size_t count) : count_(count != 0 ? count : 1) {}

    void run(std::size_t tasks, qlib::task_ref task) const {
        std::atomic<std::size_t> next{0};
        const auto work = [&](std::size_t worker) {
            for (std::size_t i = next++; i < tasks; i = next++) task(i, worker);
        };
        std::vector<std::thread> others;
        for (std::size_t worker = 1; worker < count_ && worker < tasks; ++worker) others.emplace_back(work, worker);
        work(0);
        for (std::thread& t : others) t.join();
    }
    [[nodiscard]] std::size_t workers() const { return count_; }

private:
    std::size_t count_;
};
static_assert(qlib::executor<const thread_team>);
