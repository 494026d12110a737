#pragma once
// The one parallel loop: tasks over the caller's executor, with errors, progress and cancellation.
#include "call.hpp"
#include "result.hpp"

#include <limits>

namespace qlib::inline v0::detail {

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
    /// Counts a finished task and tells the caller, unless another worker is just telling.
    QLIB_INLINE void done(const progress_ref& progress, std::size_t total) {
        const std::size_t count = __atomic_add_fetch(&done_, 1, __ATOMIC_RELAXED);
        if (!progress || __atomic_test_and_set(&telling_, __ATOMIC_ACQUIRE)) return;
        if (!progress(count, total)) __atomic_store_n(&cancelled_, true, __ATOMIC_RELAXED);
        __atomic_clear(&telling_, __ATOMIC_RELEASE);
    }
    [[nodiscard]] QLIB_INLINE status result() const noexcept {
        if (first_ != none) return error_;
        if (cancelled_) return error{errc::cancelled, "cancelled after {0} parts of the work", "call.progress", {done_}};
        return {};
    }

private:
    static constexpr std::size_t none = (std::numeric_limits<std::size_t>::max)();
    bool busy_ = false, telling_ = false, cancelled_ = false;
    std::size_t first_ = none, done_ = 0;
    error error_{};
};

}  // namespace qlib::inline v0::detail

namespace qlib::inline v0::detail::inline QLIB_BASE {

/// Runs body(i, worker) -> status for all i < count on the call's executor. The error of the lowest i wins.
template <class Body> status for_each_task(const call& how, std::size_t count, const Body& body) {
    loop_state state;
    how.run.run(count, [&](std::size_t i, std::size_t worker) {
        if (!state.wants(i)) return;
        if (const status s = body(i, worker); !s) state.fail(i, s.error());
        state.done(how.progress, count);
    });
    return state.result();
}

}  // namespace qlib::inline v0::detail::inline QLIB_BASE
