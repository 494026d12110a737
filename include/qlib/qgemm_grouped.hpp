#pragma once
// qgemm_grouped: many products at once, as one loop over all their tasks: q, k and v of one input, or the experts of a layer.
#include "plan_qgemm.hpp"

namespace qlib::inline QLIB_ABI {

/// One product of a group, Y = X * W^T, in any format. Holds views; cheap to copy.
class gemm_job {
public:
    /// Y (n, rows), X (n, k), W rows x k; n may differ from job to job, and may be 0.
    template <block_format F>
    QLIB_INLINE QLIB_TAGGED gemm_job(matrix_view<float> Y, matrix_view<const float> X, qview<F> W) noexcept : Y_(Y), X_(X) {
        static_assert(std::is_trivially_copyable_v<qview<F>> && sizeof W <= sizeof weights_);
        std::memcpy(weights_, &W, sizeof W);
        plan_ = [](const gemm_job& job, const gemm_options& options, std::size_t workers, const call& how) noexcept {
            return detail::stages_of<F, float, float>(job.Y_, job.X_, *reinterpret_cast<const qview<F>*>(job.weights_), options, workers, how);
        };
    }
    template <block_format F>
    QLIB_INLINE gemm_job(matrix_view<float> Y, matrix_view<const float> X, const qmatrix<F>& W) noexcept : gemm_job(Y, X, W.view()) {}

    // For qgemm_grouped.
    [[nodiscard]] QLIB_INLINE auto plan(const gemm_options& options, std::size_t workers, const call& how) const noexcept { return plan_(*this, options, workers, how); }
    QLIB_INLINE void run(const detail::any_stages<float, float>& stages, std::size_t stage, std::size_t task, std::size_t worker) const noexcept {
        stages.run_task(stages.state, stage, task, worker, Y_, X_, weights_);
    }
    [[nodiscard]] QLIB_INLINE bool same_input(const gemm_job& other) const noexcept {
        return X_.data == other.X_.data && X_.rows == other.X_.rows && X_.cols == other.X_.cols && X_.stride == other.X_.stride;
    }

private:
    matrix_view<float> Y_;
    matrix_view<const float> X_;
    alignas(8) std::byte weights_[128] = {};
    result<detail::any_stages<float, float>> (*plan_)(const gemm_job&, const gemm_options&, std::size_t, const call&) noexcept = nullptr;
};

}  // namespace qlib::inline QLIB_ABI

namespace qlib::inline QLIB_ABI::detail {

/// A job with its stages, and where its tasks begin among those of the whole group.
struct grouped_job {
    any_stages<float, float> stages;
    std::size_t packed_by;    // the first job with the same packed activations: itself, or an earlier one, whose copy it uses
    std::size_t first[2];     // in each stage
    std::byte* activations;
};

}  // namespace qlib::inline QLIB_ABI::detail

namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

/// The bytes that a group needs: its jobs' stages, one copy of each distinct input, and what a worker writes, for the hungriest job.
struct grouped_bytes {
    std::size_t jobs, workers, activations = 0, each_worker = 0;
    [[nodiscard]] std::size_t of_workers() const noexcept { return saturating_multiply(workers, each_worker); }
    [[nodiscard]] std::size_t all() const noexcept { return saturating_add(jobs, saturating_add(activations, of_workers())); }
};

/// Which earlier job packs the activations of job j, in the same way; j itself if none does.
inline result<std::size_t> packed_by(std::span<const gemm_job> jobs, std::size_t j, const any_stages<float, float>& stages, const gemm_options& options,
                                     std::size_t workers, const call& how) noexcept {
    for (std::size_t i = 0; i < j; ++i) {
        if (!jobs[i].same_input(jobs[j])) continue;
        const auto other = jobs[i].plan(options, workers, how);
        if (!other) return other.error();
        if (other->stages == stages.stages && other->packing == stages.packing) return i;
    }
    return j;
}

/// visit(j, stages, packed_by) for all jobs, until one cannot be planned.
template <class Visit>
result<grouped_bytes> plan_group(std::span<const gemm_job> jobs, const gemm_options& options, call how, const Visit& visit) noexcept {
    const std::size_t workers = how.run.workers();
    grouped_bytes bytes{workspace::piece<grouped_job>(jobs.size()), workers};
    for (std::size_t j = 0; j < jobs.size(); ++j) {
        const auto stages = jobs[j].plan(options, workers, how);
        if (!stages) return stages.error();
        how.report = nullptr;  // the first job's room and mode stand for the group
        const auto from = packed_by(jobs, j, *stages, options, workers, how);
        if (!from) return from.error();
        if (*from == j) bytes.activations = saturating_add(bytes.activations, stages->activation_bytes);
        bytes.each_worker = larger_size(bytes.each_worker, stages->worker_bytes);
        visit(j, *stages, *from);
    }
    return bytes;
}

/// Lays out stages and memory of all jobs. Gives the number of tasks in both stages.
inline std::array<std::size_t, 2> open_group(std::span<const gemm_job> jobs, const gemm_options& options, const call& how, const grouped_bytes& bytes,
                                             workspace& memory, grouped_job* group) noexcept {
    std::array<std::size_t, 2> total{};
    std::byte* activations = memory.take<std::byte>(bytes.activations);
    std::byte* const workers = memory.take<std::byte>(bytes.of_workers());
    call quiet = how;
    quiet.report = nullptr;
    (void)plan_group(jobs, options, quiet, [&](std::size_t j, const any_stages<float, float>& stages, std::size_t from) {
        grouped_job& job = group[j];
        job.stages = stages;
        job.packed_by = from;
        job.activations = from == j ? std::exchange(activations, activations + stages.activation_bytes) : group[from].activations;
        for (std::size_t stage = 0; stage < 2; ++stage) {
            job.first[stage] = total[stage];
            const bool runs = stage == 1 ? stages.stages != 0 : stages.stages == 2 && from == j;
            if (runs) total[stage] += stages.tasks_of(stages.state, stage);
        }
        workspace packed(job.activations);
        if (stages.stages != 0) job.stages.take_memory(job.stages.state, packed, workers, bytes.each_worker);
    });
    return total;
}

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE

namespace qlib::inline QLIB_ABI::inline QLIB_BASE {

/// Bytes of call.scratch that qgemm_grouped asks for. 0 for what it would refuse.
[[nodiscard]] inline std::size_t qgemm_grouped_scratch_bytes(std::span<const gemm_job> jobs, gemm_options options = {}, call how = {}) noexcept {
    how.report = nullptr;
    const auto bytes = detail::plan_group(jobs, options, how, [](std::size_t, const auto&, std::size_t) {});
    return bytes ? detail::workspace::asked(bytes->all()) : 0;
}

/// All products of a group: the same bits as qgemm of each, in one parallel loop. Jobs over the same X, whose formats pack it alike, share the packed copy.
///
/// jobs     any number, of any formats; a Y may overlap no other operand
/// options  of all jobs. A format without integer levels refuses compute::integer
/// error    that of the first job which qgemm would refuse: nothing is written then; memory, scratch, cancelled
/// report   the room, mode and path of the first job
[[nodiscard]] inline status qgemm_grouped(std::span<const gemm_job> jobs, gemm_options options = {}, call how = {}) noexcept {
    const auto bytes = detail::plan_group(jobs, options, how, [](std::size_t, const auto&, std::size_t) {});
    if (!bytes) return bytes.error();
    detail::workspace memory;
    if (const status s = memory.open(how, bytes->all()); !s) return s;
    detail::grouped_job* const group = memory.take<detail::grouped_job>(jobs.size());
    const auto tasks = detail::open_group(jobs, options, how, *bytes, memory, group);
    for (std::size_t stage = 0; stage < 2; ++stage) {
        call part = how;
        if (stage == 0) part.progress = {};
        const status s = detail::for_each_task(part, tasks[stage], [&](std::size_t i, std::size_t worker) -> status {
            std::size_t j = jobs.size() - 1;  // the last that begins at or before task i: it has tasks
            while (group[j].first[stage] > i) --j;
            jobs[j].run(group[j].stages, stage, i - group[j].first[stage], worker);
            return {};
        });
        if (!s) return s;
    }
    return {};
}

}  // namespace qlib::inline QLIB_ABI::inline QLIB_BASE
