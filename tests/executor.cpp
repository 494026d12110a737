#include <qlib/core/call.hpp>
#include <qlib/core/executor.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <thread>
#include <vector>

using namespace qlib;

namespace {

/// The least that an engine's thread pool does: workers take turns at a shared counter.
struct threads {
    std::size_t count;
    void run(std::size_t tasks, task_ref task) {
        std::atomic<std::size_t> next{0};
        std::vector<std::thread> team;
        for (std::size_t worker = 0; worker < count; ++worker)
            team.emplace_back([&, worker] { for (std::size_t i; (i = next++) < tasks;) task(i, worker); });
        for (auto& t : team) t.join();
    }
    [[nodiscard]] std::size_t workers() const { return count; }
};

struct backwards {
    int workers() const { return 0; }  // not a size_t, and a lie: at least one worker runs
    void run(std::size_t tasks, task_ref task) const { while (tasks-- > 0) task(tasks, 0); }
};

std::vector<int> visits(executor_ref run, std::size_t tasks) {
    std::vector<int> seen(tasks);
    std::vector<std::size_t> by_worker(run.workers());
    run.run(tasks, [&](std::size_t i, std::size_t worker) {
        ++seen[i];
        ++by_worker.at(worker);
    });
    std::size_t sum = 0;
    for (const std::size_t n : by_worker) sum += n;
    CHECK(sum == tasks);
    return seen;
}

}  // namespace

static_assert(executor<threads> && executor<const backwards> && !executor<int> && executor<executor_ref>);

TEST_CASE("executor: every task runs once, on a worker that exists") {
    threads pool{3};
    const backwards reversed;
    for (const std::size_t tasks : {0u, 1u, 2u, 1000u}) {
        const std::vector<int> once(tasks, 1);
        CHECK(visits(serial, tasks) == once);
        CHECK(visits({}, tasks) == once);
        CHECK(visits(pool, tasks) == once);
        CHECK(visits(threads{2}, tasks) == once);
        CHECK(visits(reversed, tasks) == once);
    }
}

TEST_CASE("executor: the calling thread goes through the tasks in order") {
    std::vector<std::size_t> order;
    serial.run(4, [&](std::size_t i, std::size_t worker) { order.push_back(10 * i + worker); });
    CHECK(order == std::vector<std::size_t>{0, 10, 20, 30});
}

TEST_CASE("executor: worker numbers, also of a borrowed reference and of a strange executor") {
    threads pool{3};
    const executor_ref ref = pool, copy = ref;
    CHECK(ref.workers() == 3);
    CHECK(copy.workers() == 3);
    CHECK(serial.workers() == 1);
    CHECK(executor_ref(backwards{}).workers() == 1);
}

TEST_CASE("executor: task_ref calls the object that it was made from") {
    struct counter {
        std::size_t sum = 0;
        void operator()(std::size_t i, std::size_t worker) { sum += i * 100 + worker; }
    } count;
    const task_ref task = count, copy = task;
    task(1, 2);
    copy(3, 4);
    CHECK(count.sum == 406);
    const auto constant = [&](std::size_t i, std::size_t) { count.sum = i; };
    task_ref{constant}(9, 0);
    CHECK(count.sum == 9);
}

TEST_CASE("executor: a call's defaults") {
    const call how;
    CHECK(how.run.workers() == 1);
    CHECK(how.room == isa{});
    CHECK(how.report == nullptr);
}
