#pragma once
// Defines the functions of any.hpp, by what detail::operations_of() says of a format; compiles no kernels. For one
// source file of a program.
#include "../gptq.hpp"
#include "../qgemm_grouped.hpp"
#include "operations.hpp"

namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

/// operation(arguments...) of a format.
template <class R, class... Parameters, class... Arguments>
R operate(format_id id, R (*any_operations::*operation)(Parameters...) noexcept,
          const Arguments&... arguments) noexcept {
    const any_operations* const o = operations_of(id);
    if (o != nullptr && o->*operation != nullptr) return (o->*operation)(arguments...);
    const char* const rule = o == nullptr ? "format number {0} was not instantiated"
                                          : "this operation was not instantiated for format number {0}";
    return error{errc::unsupported, rule, "format", {static_cast<std::uint64_t>(id)}};
}

/// use(typed jobs), which lie in `memory`.
template <class Use>
status with_typed_jobs(std::span<const any_gemm_job> jobs, workspace& memory, const Use& use) noexcept {
    auto* const typed = memory.take<gemm_job>(jobs.size());
    for (std::size_t j = 0; j < jobs.size(); ++j) {
        const auto weights = operate(jobs[j].weights.format, &any_operations::weights_of, jobs[j].weights);
        if (!weights) return weights.error();
        const gemm_job job{jobs[j].Y, jobs[j].X, *weights};
        std::memcpy(static_cast<void*>(typed + j), &job, sizeof job);
    }
    return use(std::span<const gemm_job>(typed, jobs.size()));
}

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE

namespace qlib::inline QLIB_ABI {

result<std::size_t> wire_size(format_id format, std::size_t rows, std::size_t cols) noexcept {
    return detail::operate(format, &detail::any_operations::wire_size, rows, cols);
}

status quantize_into(format_id format, matrix_view<const float> W, std::span<std::byte> bytes, quantize_options options,
                     call how) noexcept {
    return detail::operate(format, &detail::any_operations::quantize_into, W, bytes, options, how);
}
result<any_matrix> quantize(format_id format, matrix_view<const float> W, quantize_options options, call how) noexcept {
    auto q = any_matrix::make(format, W.rows, W.cols);
    if (!q) return q.error();
    if (const status s = quantize_into(format, W, q->bytes(), options, how); !s) return s.error();
    return q;
}

status dequantize(const any_view& weights, matrix_view<float> out, call how) noexcept {
    return detail::operate(weights.format, &detail::any_operations::dequantize, weights, out, how);
}
status dequantize_rows(const any_view& weights, std::span<const std::uint32_t> ids, matrix_view<float> out,
                       call how) noexcept {
    return detail::operate(weights.format, &detail::any_operations::dequantize_rows, weights, ids, out, how);
}

status qgemm(matrix_view<float> Y, matrix_view<const float> X, const any_view& weights, qgemm_options options,
             call how) noexcept {
    const auto W = detail::operate(weights.format, &detail::any_operations::weights_of, weights);
    return W ? qlib::qgemm(Y, X, *W, options, how) : status(W.error());
}
result<std::size_t> qgemm_scratch_bytes(format_id format, std::size_t n, std::size_t rows, std::size_t k,
                                        qgemm_options options, const call& how) noexcept {
    return detail::operate(format, &detail::any_operations::qgemm_scratch_bytes, n, rows, k, options, how);
}

status qgemm_grouped(std::span<const any_gemm_job> jobs, qgemm_options options, call how) noexcept {
    const std::size_t own = detail::workspace::asked(detail::workspace::piece<gemm_job>(jobs.size()));
    detail::workspace memory;
    if (const status s = memory.open(how, detail::workspace::piece<gemm_job>(jobs.size())); !s) return s;
    if (!how.scratch.empty()) how.scratch = how.scratch.subspan(own);
    return detail::with_typed_jobs(jobs, memory, [&](std::span<const gemm_job> typed) {
        const bool given = how.scratch.data() != nullptr;
        if (given && how.scratch.empty() && qlib::qgemm_grouped_scratch_bytes(typed, options, how) != 0)
            return status(error{errc::scratch, "{0} bytes of scratch hold the jobs alone", "call.scratch", {own}});
        return qlib::qgemm_grouped(typed, options, how);
    });
}
std::size_t qgemm_grouped_scratch_bytes(std::span<const any_gemm_job> jobs, qgemm_options options, call how) noexcept {
    const std::size_t piece = detail::workspace::piece<gemm_job>(jobs.size());
    std::size_t asked = 0;
    detail::workspace memory;
    if (!memory.open({}, piece)) return 0;
    const status s = detail::with_typed_jobs(jobs, memory, [&](std::span<const gemm_job> typed) -> status {
        asked = qlib::qgemm_grouped_scratch_bytes(typed, options, how);
        return {};
    });
    return s.ok() && asked != 0 ? detail::saturating_add(detail::workspace::asked(piece), asked) : 0;
}

result<std::size_t> gptq_scratch_bytes(format_id format, std::size_t rows, std::size_t cols,
                                       std::size_t workers) noexcept {
    return detail::operate(format, &detail::any_operations::gptq_scratch_bytes, rows, cols, workers);
}
result<gptq_report> gptq(format_id format, matrix_view<const float> W, const hessian& h, std::span<std::byte> bytes,
                         gptq_options options, call how) noexcept {
    if (const auto known = wire_size(format, W.rows, W.cols); !known) return known.error();
    const auto factor = detail::factor_copy(h, {options.damping, options.strict}, how);
    return factor ? gptq(format, W, *factor, bytes, options, how) : result<gptq_report>(factor.error());
}
result<gptq_report> gptq(format_id format, matrix_view<const float> W, const hessian_factor& factor,
                         std::span<std::byte> bytes, gptq_options options, call how) noexcept {
    return detail::operate(format, &detail::any_operations::gptq, W, factor, bytes, options, how);
}

}  // namespace qlib::inline QLIB_ABI
