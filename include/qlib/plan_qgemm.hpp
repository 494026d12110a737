#pragma once
// plan_qgemm: a product cut into stages of tasks, for engines that already stand in
// a parallel region and bring their own barrier.
#include "qgemm.hpp"

namespace qlib::inline QLIB_ABI {

/// A planned Y = X * W^T. Every worker of the engine does, for each stage in turn: run(stage, task, worker) for
/// its share of the tasks, then waits at a barrier. Tasks of a stage may run in any order, at once, each
/// exactly once; worker < the number planned for. A plan may run again and again: it reads X anew and writes Y
/// each time. Movable; its views must outlive it.
class qgemm_plan {
public:
    QLIB_INLINE qgemm_plan(qgemm_plan&&) noexcept = default;
    QLIB_INLINE qgemm_plan& operator=(qgemm_plan&&) noexcept = default;

    [[nodiscard]] QLIB_INLINE std::size_t stages() const noexcept { return stages_; }
    [[nodiscard]] QLIB_TAGGED std::size_t tasks(std::size_t stage) const noexcept {
        return stages_ == 1 ? 1 : detail::tasks_of(product_, stage);
    }
    QLIB_TAGGED void run(std::size_t stage, std::size_t task, std::size_t worker) const noexcept {
        if (stages_ == 1) detail::set_zero(product_.Y);
        else detail::run_task(product_, stage, task, worker, weights_.view());
    }
    /// The scratch that planning asked for.
    [[nodiscard]] QLIB_INLINE std::size_t scratch_bytes() const noexcept { return detail::workspace::asked(bytes_); }

    /// What plan_qgemm does.
    [[nodiscard]] QLIB_TAGGED static result<qgemm_plan> make(floats_span Y, floats_view X, const weights_ref& W,
                                                             const qgemm_options& options, std::size_t workers,
                                                             const call& how) noexcept {
        if (workers == 0) return error{errc::argument, "a plan needs a worker", "workers", {}};
        const auto s = detail::open_product(Y, X, W, options, workers, how);
        if (!s) return s.error();
        qgemm_plan plan(*s, W);
        if (Y.rows == 0 || Y.cols == 0) return plan;
        plan.stages_ = detail::multiplies(*s) ? 2 : 1;  // over no inputs one task sets Y to zero
        if (plan.stages_ == 1) return plan;
        plan.product_.apart = detail::worker_bytes(*s);
        const std::size_t own = detail::saturating_multiply(plan.product_.apart, workers);
        plan.bytes_ = detail::saturating_add(detail::activation_bytes(*s), own);
        if (const status opened = plan.memory_.open(how, plan.bytes_); !opened) return opened.error();
        plan.product_.workers = plan.memory_.take<std::byte>(own);
        detail::take_activations(plan.product_, plan.memory_);
        return plan;
    }

private:
    QLIB_INLINE qgemm_plan(const detail::planned_product& s, const weights_ref& W) noexcept
        : product_(s),
          weights_(W) {}

    detail::planned_product product_;
    weights_ref weights_;
    std::size_t stages_ = 0, bytes_ = 0;
    detail::workspace memory_;
};

}  // namespace qlib::inline QLIB_ABI

namespace qlib::inline QLIB_ABI::inline QLIB_BASE {

/// Plans Y = X * W^T for `workers` workers of the engine's own; operands, errors and result as qgemm's. call.run and
/// call.progress are not looked at. Scratch given in `how` must live as long as the plan; its size is
/// qgemm_scratch_bytes with an executor of as many workers.
[[nodiscard]] inline result<qgemm_plan> plan_qgemm(floats_span Y, floats_view X, const weights_ref& weights,
                                                   qgemm_options options = {}, std::size_t workers = 1,
                                                   call how = {}) noexcept {
    return qgemm_plan::make(Y, X, weights, options, workers, how);
}

}  // namespace qlib::inline QLIB_ABI::inline QLIB_BASE
