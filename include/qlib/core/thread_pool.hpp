#pragma once
// thread_pool: a small executor for programs that have none. Not part of qlib.hpp:
// the library itself starts no threads.
#include "executor.hpp"

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

namespace qlib::inline QLIB_ABI {

/// Threads that wait between loops. The thread that calls run() works along as
/// worker 0; one loop at a time, loops may not nest.
class thread_pool {
public:
    /// `workers` in all, the caller's thread included; 0: one per hardware thread.
    /// Throws std::system_error, as std::thread does, when the system gives no thread.
    QLIB_TAGGED explicit thread_pool(std::size_t workers = 0) : thread_pool(no_threads{}) {
        if (workers == 0) workers = std::thread::hardware_concurrency();
        for (std::size_t i = 1; i < workers; ++i) threads_.emplace_back([this, i] { serve(i); });
    }
    QLIB_TAGGED ~thread_pool() {
        {
            const std::lock_guard lock(mutex_);
            stop_ = true;
        }
        wake_.notify_all();
        for (std::thread& t : threads_) t.join();
    }
    thread_pool(const thread_pool&) = delete;
    thread_pool& operator=(const thread_pool&) = delete;

    [[nodiscard]] QLIB_INLINE std::size_t workers() const noexcept { return threads_.size() + 1; }

    /// task(i, worker) for all i < count; returns when all are done.
    QLIB_TAGGED void run(std::size_t count, task_ref task) {
        if (threads_.empty() || count < 2) {
            for (std::size_t i = 0; i < count; ++i) task(i, 0);
            return;
        }
        {
            const std::lock_guard lock(mutex_);
            task_ = &task;
            count_ = count;
            next_.store(0, std::memory_order_relaxed);
            busy_ = threads_.size();
            ++loop_;
        }
        wake_.notify_all();
        work(task, 0);
        std::unique_lock lock(mutex_);
        idle_.wait(lock, [this] { return busy_ == 0; });
        task_ = nullptr;
    }

private:
    /// A pool that is whole: when a thread cannot be started, the destructor ends those that were.
    struct no_threads {};
    QLIB_TAGGED explicit thread_pool(no_threads) noexcept {}

    QLIB_TAGGED void work(const task_ref& task, std::size_t worker) {
        for (std::size_t i = next_.fetch_add(1, std::memory_order_relaxed); i < count_;
             i = next_.fetch_add(1, std::memory_order_relaxed))
            task(i, worker);
    }
    QLIB_TAGGED void serve(std::size_t worker) {
        for (std::size_t seen = 0;;) {
            const task_ref* task = nullptr;
            {
                std::unique_lock lock(mutex_);
                wake_.wait(lock, [&] { return stop_ || loop_ != seen; });
                if (stop_) return;
                seen = loop_;
                task = task_;
            }
            work(*task, worker);
            const std::lock_guard lock(mutex_);
            if (--busy_ == 0) idle_.notify_one();
        }
    }

    std::vector<std::thread> threads_;
    std::mutex mutex_;
    std::condition_variable wake_, idle_;
    std::atomic<std::size_t> next_{0};
    const task_ref* task_ = nullptr;
    std::size_t count_ = 0, busy_ = 0, loop_ = 0;
    bool stop_ = false;
};

}  // namespace qlib::inline QLIB_ABI
