#pragma once
// The one parallel loop: tasks over the caller's executor, with errors, progress and cancellation.
#include "call.hpp"
#include "float_environment.hpp"
#include "result.hpp"

#include <limits>

namespace qlib::inline QLIB_ABI::detail {

[[nodiscard]] QLIB_INLINE constexpr error cancelled(std::size_t parts) noexcept {
    return {errc::cancelled, "cancelled after {0} parts of the work", "call.progress", {parts}};
}

/// What the tasks of a loop share.
class loop_state {
public:
    /// Whether task i is still worth running: not after a cancellation, nor beyond the lowest error.
    [[nodiscard]] QLIB_INLINE bool wants(std::size_t i) const noexcept {
        return !__atomic_load_n(&cancelled_, __ATOMIC_RELAXED) && i < __atomic_load_n(&first_, __ATOMIC_RELAXED);
    }
    /// Keeps the error of the lowest task, so that what is reported does not depend on threads.
    QLIB_INLINE void fail(std::size_t i, const error& e) noexcept {
        while (__atomic_test_and_set(&busy_, __ATOMIC_ACQUIRE)) {}
        if (i < first_) {
            __atomic_store_n(&first_, i, __ATOMIC_RELAXED);
            error_ = e;
        }
        __atomic_clear(&busy_, __ATOMIC_RELEASE);
    }
    /// Counts a finished task and tells the caller. While another worker is telling, that one tells of this task too,
    /// so the counts ascend and the last is of all tasks: in the one order of all these steps, whoever finds
    /// `telling_` set has counted before the other looks again.
    QLIB_INLINE void done(const progress_ref& progress, std::size_t total) {
        __atomic_add_fetch(&done_, 1, __ATOMIC_SEQ_CST);
        if (!progress) return;
        while (__atomic_load_n(&done_, __ATOMIC_SEQ_CST) != __atomic_load_n(&told_, __ATOMIC_SEQ_CST)) {
            if (__atomic_exchange_n(&telling_, true, __ATOMIC_SEQ_CST)) return;
            const std::size_t count = __atomic_load_n(&done_, __ATOMIC_SEQ_CST);
            if (count != told_ && !progress(count, total)) __atomic_store_n(&cancelled_, true, __ATOMIC_RELAXED);
            __atomic_store_n(&told_, count, __ATOMIC_SEQ_CST);
            __atomic_store_n(&telling_, false, __ATOMIC_SEQ_CST);
        }
    }
    [[nodiscard]] QLIB_INLINE status result() const noexcept {
        if (first_ != none) return error_;
        if (cancelled_) return cancelled(done_);
        return {};
    }

private:
    static constexpr std::size_t none = (std::numeric_limits<std::size_t>::max)();
    bool busy_ = false, telling_ = false, cancelled_ = false;
    std::size_t first_ = none, done_ = 0, told_ = 0;
    error error_{};
};

}  // namespace qlib::inline QLIB_ABI::detail

namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

/// An executor for functions that run many loops: it tells of each loop as a part of the work, and after a cancellation
/// runs no more, so that their results are void. When there are more than `parts` of them, the last waits for finish().
class told_loops {
public:
    QLIB_INLINE told_loops(const call& how, std::size_t parts) noexcept : how_(how), parts_(parts) {}
    void run(std::size_t count, task_ref task) {
        if (cancelled_) return;
        how_.run.run(count, task);
        done_ += done_ + 1 < parts_ ? 1 : 0;
        cancelled_ = !how_.progress(done_, parts_);
    }
    [[nodiscard]] std::size_t workers() const { return how_.run.workers(); }
    /// The call for those functions.
    [[nodiscard]] call inner() noexcept {
        call c = how_;
        c.run = *this;
        c.progress = {};
        return c;
    }
    [[nodiscard]] status so_far() const { return cancelled_ ? status(cancelled(done_)) : status{}; }
    /// All is done.
    [[nodiscard]] status finish() {
        done_ = parts_;
        cancelled_ = cancelled_ || !how_.progress(done_, parts_);
        return so_far();
    }

private:
    const call& how_;
    std::size_t parts_, done_ = 0;
    bool cancelled_ = false;
};

/// Runs body(i, worker) -> status for all i < count on the call's executor, in the default float environment. The error
/// of the lowest i wins.
template <class Body> status for_each_task(const call& how, std::size_t count, const Body& body) {
    loop_state state;
    how.run.run(count, [&](std::size_t i, std::size_t worker) {
        if (!state.wants(i)) return;
        {
            const default_float_environment floats;
            if (const status s = body(i, worker); !s) state.fail(i, s.error());
        }
        state.done(how.progress, count);
    });
    return state.result();
}

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE
