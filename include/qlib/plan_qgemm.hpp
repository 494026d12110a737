#pragma once
// plan_qgemm: a product cut into stages of tasks, for engines that already stand in a parallel region and bring their own barrier.
#include "qgemm.hpp"

namespace qlib::inline QLIB_ABI::detail {

/// The stages of a product, of whatever format, mode and room: what a plan and a job in a group hold. Trivially copyable.
template <weight_source XT, weight_source YT> struct any_stages {
    alignas(8) std::byte state[320] = {};
    std::size_t (*tasks_of)(const std::byte* state, std::size_t stage) noexcept = nullptr;
    void (*run_task)(const std::byte* state, std::size_t stage, std::size_t task, std::size_t worker, const matrix_view<YT>& Y, const matrix_view<const XT>& X,
                     const void* W) noexcept = nullptr;
    void (*take_memory)(std::byte* state, workspace& activations, std::byte* workers, std::size_t apart) noexcept = nullptr;
    std::size_t stages = 0, activation_bytes = 0, worker_bytes = 0;  // worker_bytes: of each worker
    packed_like packing{};
};

}  // namespace qlib::inline QLIB_ABI::detail

namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

template <block_format F, weight_source XT, weight_source YT, class Stages> any_stages<XT, YT> erase(const Stages& stages) noexcept {
    static_assert(std::is_trivially_copyable_v<Stages> && sizeof(Stages) <= sizeof(any_stages<XT, YT>::state));
    any_stages<XT, YT> any;
    std::memcpy(any.state, &stages, sizeof stages);
    any.tasks_of = [](const std::byte* state, std::size_t stage) noexcept { return reinterpret_cast<const Stages*>(state)->tasks(stage); };
    any.run_task = [](const std::byte* state, std::size_t stage, std::size_t task, std::size_t worker, const matrix_view<YT>& Y, const matrix_view<const XT>& X,
                      const void* W) noexcept { reinterpret_cast<const Stages*>(state)->run(stage, task, worker, Y, X, *static_cast<const qview<F>*>(W)); };
    any.take_memory = [](std::byte* state, workspace& activations, std::byte* workers, std::size_t apart) noexcept {
        reinterpret_cast<Stages*>(state)->take(activations, workers, apart);
    };
    any.stages = 2;
    any.activation_bytes = stages.activation_bytes();
    any.worker_bytes = stages.worker_bytes();
    any.packing = stages.packing();
    return any;
}

/// The stages of Y = X * W^T for some workers. None where Y is empty; over no inputs one, of one task.
template <block_format F, weight_source XT, weight_source YT>
result<any_stages<XT, YT>> stages_of(matrix_view<YT> Y, matrix_view<const XT> X, const qview<F>& W, const gemm_options& options, std::size_t workers, const call& how) noexcept {
    const auto span = check_product<F>(Y.rows, Y.cols, X.rows, X.cols, W, options, how);
    if (!span) return span.error();
    if (const status s = check_view(X, "X"); !s) return s.error();
    if (const status s = check_view(Y, "Y"); !s) return s.error();
    any_stages<XT, YT> none;
    if (Y.rows == 0 || Y.cols == 0) return none;
    if (X.cols == 0) {
        none.stages = 1;
        none.tasks_of = [](const std::byte*, std::size_t) noexcept { return std::size_t{1}; };
        none.run_task = [](const std::byte*, std::size_t, std::size_t, std::size_t, const matrix_view<YT>& y, const matrix_view<const XT>&, const void*) noexcept { set_zero(y); };
        none.take_memory = [](std::byte*, workspace&, std::byte*, std::size_t) noexcept {};
        return none;
    }
    const bool integer = uses_integers<F>(options.mode);
    return with_room(how.room, [&](auto room) -> result<any_stages<XT, YT>> {
        using Room = decltype(room);
        if (how.report != nullptr) *how.report = {Room::id, integer ? "integer" : "exact", path_of<Room, F>};
        return with_stages<Room, F, XT, YT>(integer, X.rows, W.rows(), X.cols, *span, workers, [](const auto& stages) { return erase<F, XT, YT>(stages); });
    });
}

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE

namespace qlib::inline QLIB_ABI {

/// A planned Y = X * W^T. Every worker of the engine does, for each stage in turn: run(stage, task, worker) for its share of the tasks, then
/// waits at a barrier. Tasks of a stage may run in any order, at once, each exactly once; worker < the number planned for. A plan may run again
/// and again: it reads X anew and writes Y each time. Movable; its views must outlive it.
template <block_format F, weight_source XT = float, weight_source YT = float> class qgemm_plan {
public:
    QLIB_INLINE qgemm_plan(qgemm_plan&&) noexcept = default;
    QLIB_INLINE qgemm_plan& operator=(qgemm_plan&&) noexcept = default;

    [[nodiscard]] QLIB_INLINE std::size_t stages() const noexcept { return stages_.stages; }
    [[nodiscard]] QLIB_INLINE std::size_t tasks(std::size_t stage) const noexcept { return stages_.tasks_of(stages_.state, stage); }
    QLIB_INLINE void run(std::size_t stage, std::size_t task, std::size_t worker) const noexcept {
        stages_.run_task(stages_.state, stage, task, worker, Y_, X_, &W_);
    }
    /// The scratch that planning asked for.
    [[nodiscard]] QLIB_INLINE std::size_t scratch_bytes() const noexcept { return detail::workspace::asked(bytes()); }

    /// What plan_qgemm does.
    [[nodiscard]] QLIB_TAGGED static result<qgemm_plan> make(matrix_view<YT> Y, matrix_view<const XT> X, qview<F> W, gemm_options options, std::size_t workers, const call& how) noexcept {
        if (workers == 0) return error{errc::argument, "a plan needs a worker", "workers", {}};
        const auto stages = detail::stages_of<F, XT, YT>(Y, X, W, options, workers, how);
        if (!stages) return stages.error();
        qgemm_plan plan;
        plan.Y_ = Y;
        plan.X_ = X;
        plan.W_ = W;
        plan.stages_ = *stages;
        plan.workers_ = workers;
        if (plan.stages() == 0) return plan;
        if (const status s = plan.memory_.open(how, plan.bytes()); !s) return s.error();
        std::byte* const own = plan.memory_.template take<std::byte>(plan.of_workers());
        plan.stages_.take_memory(plan.stages_.state, plan.memory_, own, plan.stages_.worker_bytes);
        return plan;
    }

private:
    QLIB_INLINE qgemm_plan() noexcept = default;
    [[nodiscard]] QLIB_INLINE std::size_t of_workers() const noexcept { return detail::saturating_multiply(stages_.worker_bytes, workers_); }
    [[nodiscard]] QLIB_INLINE std::size_t bytes() const noexcept { return detail::saturating_add(stages_.activation_bytes, of_workers()); }

    detail::any_stages<XT, YT> stages_;
    std::size_t workers_ = 0;
    matrix_view<YT> Y_;
    matrix_view<const XT> X_;
    qview<F> W_;
    detail::workspace memory_;
};

}  // namespace qlib::inline QLIB_ABI

namespace qlib::inline QLIB_ABI::inline QLIB_BASE {

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

}  // namespace qlib::inline QLIB_ABI::inline QLIB_BASE
