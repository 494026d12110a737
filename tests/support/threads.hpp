#pragma once
// An executor for tests: as much of a thread pool as qlib asks for.
#include <qlib/core/executor.hpp>

#include <atomic>
#include <cstddef>
#include <thread>
#include <vector>

/// `count` threads that take turns at a shared counter, from the last task to the first: another order than serial.
class test_threads {
public:
    explicit test_threads(std::size_t count) : count_(count) {}
    void run(std::size_t tasks, qlib::task_ref task) const {
        std::atomic<std::size_t> taken{0};
        std::vector<std::thread> team;
        for (std::size_t worker = 0; worker < count_; ++worker)
            team.emplace_back([&, worker] { for (std::size_t i; (i = taken++) < tasks;) task(tasks - 1 - i, worker); });
        for (auto& t : team) t.join();
    }
    [[nodiscard]] std::size_t workers() const { return count_; }

private:
    std::size_t count_;
};
