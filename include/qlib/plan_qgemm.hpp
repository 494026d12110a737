#pragma once
// plan_qgemm: a product cut into stages of tasks, for engines that already stand in a parallel region and bring their own barrier.
#include "qgemm.hpp"

namespace qlib::inline v0 {

/// A planned Y = X * W^T. Every worker of the engine does, for each stage in turn: run(stage, task, worker) for its share of the tasks, then
/// waits at a barrier. Tasks of a stage may run in any order, at once, each exactly once; worker < the number planned for. A plan may run again
/// and again: it reads X anew and writes Y each time. Movable; its views must outlive it.
template <block_format F, weight_source XT = float, weight_source YT = float> class qgemm_plan {
public:
    [[nodiscard]] std::size_t stages() const noexcept { return stages_; }
    [[nodiscard]] std::size_t tasks(std::size_t stage) const noexcept { return tasks_(state_, stage); }
    void run(std::size_t stage, std::size_t task, std::size_t worker) const noexcept { run_(state_, stage, task, worker, Y_, X_, W_); }
    /// The scratch that planning asked for.
    [[nodiscard]] std::size_t scratch_bytes() const noexcept { return scratch_; }

    /// What plan_qgemm does.
    [[nodiscard]] static result<qgemm_plan> make(matrix_view<YT> Y, matrix_view<const XT> X, qview<F> W, gemm_options options, std::size_t workers, const call& how) noexcept {
        const auto span = detail::check_product<F>(Y.rows, Y.cols, X.rows, X.cols, W, options, how);
        if (!span) return span.error();
        if (workers == 0) return error{errc::argument, "a plan needs a worker", "workers", {}};
        qgemm_plan plan;
        plan.Y_ = Y;
        plan.X_ = X;
        plan.W_ = W;
        if (Y.rows == 0 || Y.cols == 0) return plan;
        if (X.cols == 0) {
            plan.stages_ = 1;
            plan.tasks_ = [](const std::byte*, std::size_t) noexcept { return std::size_t{1}; };
            plan.run_ = [](const std::byte*, std::size_t, std::size_t, std::size_t, const matrix_view<YT>& y, const matrix_view<const XT>&, const qview<F>&) noexcept {
                for (std::size_t j = 0; j < y.rows; ++j) std::memset(static_cast<void*>(y.row(j)), 0, y.cols * sizeof(YT));
            };
            return plan;
        }
        const bool integer = detail::uses_integers<F>(options.mode);
        const status planned = detail::with_room(how.room, [&](auto room) -> status {
            using Room = decltype(room);
            if (how.report != nullptr) *how.report = {Room::id, integer ? "integer" : "exact", detail::path_of<Room, F>};
            return detail::with_stages<Room, F, XT, YT>(integer, X.rows, W.rows(), X.cols, *span, workers, [&](auto stages) { return plan.keep(stages, how); });
        });
        if (!planned) return planned.error();
        return plan;
    }

private:
    qgemm_plan() noexcept = default;
    template <class Stages> status keep(Stages& stages, const call& how) noexcept {
        static_assert(std::is_trivially_copyable_v<Stages> && sizeof(Stages) <= sizeof state_);
        scratch_ = detail::workspace::asked(stages.scratch());
        if (const status s = memory_.open(how, stages.scratch()); !s) return s;
        stages.take(memory_);
        std::memcpy(state_, &stages, sizeof stages);
        stages_ = 2;
        tasks_ = [](const std::byte* state, std::size_t stage) noexcept { return reinterpret_cast<const Stages*>(state)->tasks(stage); };
        run_ = [](const std::byte* state, std::size_t stage, std::size_t task, std::size_t worker, const matrix_view<YT>& y, const matrix_view<const XT>& x,
                  const qview<F>& w) noexcept { reinterpret_cast<const Stages*>(state)->run(stage, task, worker, y, x, w); };
        return {};
    }

    alignas(8) std::byte state_[320] = {};
    std::size_t (*tasks_)(const std::byte*, std::size_t) noexcept = [](const std::byte*, std::size_t) noexcept { return std::size_t{0}; };
    void (*run_)(const std::byte*, std::size_t, std::size_t, std::size_t, const matrix_view<YT>&, const matrix_view<const XT>&, const qview<F>&) noexcept = nullptr;
    std::size_t stages_ = 0, scratch_ = 0;
    matrix_view<YT> Y_;
    matrix_view<const XT> X_;
    qview<F> W_;
    detail::workspace memory_;
};

}  // namespace qlib::inline v0

namespace qlib::inline v0::inline QLIB_BASE {

/// Plans Y = X * W^T for `workers` workers of the engine's own; operands, errors and result as qgemm's. call.run and call.progress are not looked at.
/// Scratch given in `how` must live as long as the plan; its size is qgemm_scratch_bytes with an executor of as many workers.
template <block_format F, weight_source YT, class XT>
    requires weight_source<std::remove_const_t<XT>>
[[nodiscard]] result<qgemm_plan<F, std::remove_const_t<XT>, YT>> plan_qgemm(matrix_view<YT> Y, matrix_view<XT> X, qview<F> weights, gemm_options options = {},
                                                                            std::size_t workers = 1, call how = {}) noexcept {
    return qgemm_plan<F, std::remove_const_t<XT>, YT>::make(Y, X, weights, options, workers, how);
}
template <block_format F, weight_source YT, class XT>
    requires weight_source<std::remove_const_t<XT>>
[[nodiscard]] result<qgemm_plan<F, std::remove_const_t<XT>, YT>> plan_qgemm(matrix_view<YT> Y, matrix_view<XT> X, const qmatrix<F>& weights, gemm_options options = {},
                                                                            std::size_t workers = 1, call how = {}) noexcept {
    return qgemm_plan<F, std::remove_const_t<XT>, YT>::make(Y, X, weights.view(), options, workers, how);
}

}  // namespace qlib::inline v0::inline QLIB_BASE
