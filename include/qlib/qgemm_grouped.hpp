#pragma once
// qgemm_grouped: many products at once, as one loop over all their tasks: q, k and v
// of one input, or the experts of a layer.
#include "plan_qgemm.hpp"

namespace qlib::inline QLIB_ABI {

/// One product of a group, Y = X * W^T, in any format. Holds views; cheap to copy. Y (n, rows), X (n, k), W rows x
/// k; n may differ from job to job, and may be 0.
struct gemm_job {
    floats_span Y;
    floats_view X;
    weights_ref W;
};

}  // namespace qlib::inline QLIB_ABI

namespace qlib::inline QLIB_ABI::detail {

/// A job with its stages, and where its tasks begin among those of the whole group.
struct grouped_job {
    planned_product stages;  // none where `count` is 0; one, of one task that sets Y to zero, where it is 1
    std::size_t count;
    std::size_t
        packed_by;  // the first job with the same packed activations: itself, or an earlier one, whose copy it uses
    std::size_t first[2];  // in each stage
    std::byte* activations;
};

}  // namespace qlib::inline QLIB_ABI::detail

namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

/// The bytes that a group needs: its jobs' stages, one copy of each distinct input,
/// and what a worker writes, for the hungriest job.
struct grouped_bytes {
    std::size_t jobs, workers, activations = 0, each_worker = 0;
    [[nodiscard]] std::size_t of_workers() const noexcept { return saturating_multiply(workers, each_worker); }
    [[nodiscard]] std::size_t all() const noexcept {
        return saturating_add(jobs, saturating_add(activations, of_workers()));
    }
};

/// Stages of a product: 2, or 1 over no inputs, or none for an empty Y.
inline std::size_t stages_of(const planned_product& s) noexcept {
    return multiplies(s) ? 2 : s.Y.rows != 0 && s.Y.cols != 0 ? 1 : 0;
}

/// Which earlier job packs the activations of job j, in the same way; j itself if none does.
inline result<std::size_t> packed_by(std::span<const gemm_job> jobs, std::size_t j, const planned_product& stages,
                                     const qgemm_options& options, std::size_t workers, const call& how) noexcept {
    if (!multiplies(stages)) return j;
    for (std::size_t i = 0; i < j; ++i) {
        if (!(jobs[i].X == jobs[j].X)) continue;
        const auto other = open_product(jobs[i].Y, jobs[i].X, jobs[i].W, options, workers, how);
        if (!other) return other.error();
        if (multiplies(*other) && packed_as(*other) == packed_as(stages)) return i;
    }
    return j;
}

/// visit(j, stages, packed_by) for all jobs, until one cannot be planned.
template <class Visit>
result<grouped_bytes> plan_group(std::span<const gemm_job> jobs, const qgemm_options& options, call how,
                                 const Visit& visit) noexcept {
    const std::size_t workers = how.run.workers();
    grouped_bytes bytes{workspace::piece<grouped_job>(jobs.size()), workers};
    for (std::size_t j = 0; j < jobs.size(); ++j) {
        const auto stages = open_product(jobs[j].Y, jobs[j].X, jobs[j].W, options, workers, how);
        if (!stages) return stages.error();
        how.report = nullptr;  // the first job's room and mode stand for the group
        const auto from = packed_by(jobs, j, *stages, options, workers, how);
        if (!from) return from.error();
        if (multiplies(*stages)) {
            if (*from == j) bytes.activations = saturating_add(bytes.activations, activation_bytes(*stages));
            bytes.each_worker = larger_size(bytes.each_worker, worker_bytes(*stages));
        }
        visit(j, *stages, *from);
    }
    return bytes;
}

/// Lays out stages and memory of all jobs. Gives the number of tasks in both stages.
inline std::array<std::size_t, 2> open_group(std::span<const gemm_job> jobs, const qgemm_options& options,
                                             const call& how, const grouped_bytes& bytes, workspace& memory,
                                             grouped_job* group) noexcept {
    std::array<std::size_t, 2> total{};
    std::byte* activations = memory.take<std::byte>(bytes.activations);
    std::byte* const workers = memory.take<std::byte>(bytes.of_workers());
    call quiet = how;
    quiet.report = nullptr;
    (void)plan_group(jobs, options, quiet, [&](std::size_t j, const planned_product& stages, std::size_t from) {
        grouped_job& job = group[j];
        job.stages = stages;
        job.count = stages_of(stages);
        job.packed_by = from;
        job.activations = activations;
        if (from != j) job.activations = group[from].activations;
        else if (job.count == 2) activations += activation_bytes(stages);
        for (std::size_t stage = 0; stage < 2; ++stage) {
            job.first[stage] = total[stage];
            const bool runs = stage == 1 ? job.count != 0 : job.count == 2 && from == j;
            if (runs) total[stage] += job.count == 2 ? tasks_of(stages, stage) : 1;
        }
        if (job.count != 2) return;
        workspace packed(job.activations);
        take_activations(job.stages, packed);
        job.stages.workers = workers;
        job.stages.apart = bytes.each_worker;
    });
    return total;
}

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE

namespace qlib::inline QLIB_ABI::inline QLIB_BASE {

/// Bytes of call.scratch that qgemm_grouped asks for. 0 for what it would refuse.
[[nodiscard]] inline std::size_t qgemm_grouped_scratch_bytes(std::span<const gemm_job> jobs, qgemm_options options = {},
                                                             call how = {}) noexcept {
    how.report = nullptr;
    const auto bytes = detail::plan_group(jobs, options, how, [](std::size_t, const auto&, std::size_t) {});
    return bytes ? detail::workspace::asked(bytes->all()) : 0;
}

/// All products of a group: the same bits as qgemm of each, in one parallel loop. Jobs over the same X, whose formats
/// pack it alike, share the packed copy.
///
/// jobs     any number, of any formats; a Y may overlap no other operand
/// options  of all jobs. A format without integer levels refuses compute::integer
/// error    that of the first job which qgemm would refuse: nothing is written then; memory, scratch, cancelled
/// report   the room, mode and path of the first job
[[nodiscard]] inline status qgemm_grouped(std::span<const gemm_job> jobs, qgemm_options options = {},
                                          call how = {}) noexcept {
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
            if (group[j].count == 1) detail::set_zero(jobs[j].Y);
            else detail::run_task(group[j].stages, stage, i - group[j].first[stage], worker, jobs[j].W.view());
            return {};
        });
        if (!s) return s;
    }
    return {};
}

}  // namespace qlib::inline QLIB_ABI::inline QLIB_BASE
