#pragma once
// qgemm: activations times a quantized matrix.
#include "format/format.hpp"
#include "kernel/weights_ref.hpp"

namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

/// What qgemm asks of its operands; the product for some workers, still without memory.
inline result<planned_product> open_product(floats_span Y, floats_view X, const weights_ref& W,
                                            const qgemm_options& options, std::size_t workers,
                                            const call& how) noexcept {
    const std::size_t k = W.cols();
    const gemm_format& f = W.format();
    if (X.cols != k || Y.rows != X.rows || Y.cols != W.rows())
        return error{errc::shape,
                     "X has {0} columns for {1} x {2} weights, or Y is not {3} rows of one value per row of weights",
                     "X",
                     {X.cols, W.rows(), k, X.rows}};
    if (const status s = check_view(X, "X"); !s) return s.error();
    if (const status s = check_view(Y, "Y"); !s) return s.error();
    if (!W.sliceable())
        return error{errc::unsliceable, "blocks of {0} run over the ends of rows of {1}", "weights", {f.block, k}};
    if (options.mode == compute::integer && !f.integer)
        return error{errc::unsupported, "the levels of this format have no 8-bit integer form", "mode", {}};
    if (const status s = check_room(how.room); !s) return s.error();
    const auto span = activation_span(f, options.activation_group, k);
    if (!span) return span.error();
    const product_kernels& kernels = f.in_room(how.room);
    const bool integer = f.integer && options.mode != compute::exact;
    planned_product s{};
    if (Y.rows != 0 && Y.cols != 0 && k != 0)
        s = plan_product(f, kernels, integer, X.rows, W.rows(), k, *span, workers);
    if (how.report != nullptr)
        *how.report = {kernels.room, integer ? "integer" : "exact", kernels.path, kernels.why,
                       s.dots ? "rows" : "panels"};
    s.Y = Y;
    s.X = X;
    return s;
}
/// Whether there is anything to multiply.
inline bool multiplies(const planned_product& s) noexcept { return s.kernels != nullptr; }

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE

namespace qlib::inline QLIB_ABI::inline QLIB_BASE {

/// Y = X * W^T.
///
/// Y        (n, rows) of float, f16 or bf16, row-major, any row stride; may overlap neither X nor the weights
/// X        (n, k) of float, f16 or bf16, row-major, any row stride
/// weights  rows x k in any format: a qmatrix<F> or a qview<F>
/// error    shape; unsliceable when blocks run over row ends; unsupported when call.room cannot
///          be had or integers are asked of levels that are none; argument for an activation
///          group that cuts groups; memory, scratch, cancelled
/// exact    the same bits for any number of threads, and for a row of X among any others that the same kernel of the
///          room multiplies. Integer: each activation group is rounded to round_even(x * (127 / abs-max)) *
///          (abs-max / 127), below 2^-100 to zero; dot products of 4 to 256 neighbours are exact, their sums f32. A
///          NaN or an infinity in row i of X makes row i of Y NaN; where those sums overflow, with weights from some
///          1e29 on, an element is what Exact makes of it. Exact: dequantize's weights and X in f32, NaN and
///          infinities as IEEE 754 has them.
/// report   room, mode, path, and the kernel: "rows" up to 3 rows of X with AVX2 and 4 with AVX-512, else "panels"
[[nodiscard]] inline status qgemm(floats_span Y, floats_view X, const weights_ref& weights, qgemm_options options = {},
                                  call how = {}) noexcept {
    const std::size_t workers = how.run.workers();
    auto s = detail::open_product(Y, X, weights, options, workers, how);
    if (!s) return s.error();
    if (!detail::multiplies(*s)) {
        detail::set_zero(Y);
        return {};
    }
    s->apart = detail::worker_bytes(*s);
    const std::size_t own = detail::saturating_multiply(s->apart, workers);
    detail::workspace memory;
    if (const status opened = memory.open(how, detail::saturating_add(detail::activation_bytes(*s), own)); !opened)
        return opened;
    s->workers = memory.take<std::byte>(own);
    detail::take_activations(*s, memory);
    for (std::size_t stage = 0; stage < 2; ++stage) {
        call part = how;
        if (stage == 0) part.progress = {};  // a small part of the work: its progress is not told
        const status done =
            detail::for_each_task(part, detail::tasks_of(*s, stage), [&](std::size_t i, std::size_t worker) -> status {
                detail::run_task(*s, stage, i, worker, weights.view());
                return {};
            });
        if (!done) return done;
    }
    return {};
}
/// The same where the format is named: qgemm<q4_k>(Y, X, view).
template <block_format F>
[[nodiscard]] status qgemm(floats_span Y, floats_view X, const qview<F>& weights, qgemm_options options = {},
                           call how = {}) noexcept {
    return qgemm(Y, X, weights_ref(weights), options, how);
}
template <block_format F>
[[nodiscard]] status qgemm(floats_span Y, floats_view X, const qmatrix<F>& weights, qgemm_options options = {},
                           call how = {}) noexcept {
    return qgemm(Y, X, weights_ref(weights), options, how);
}

/// The bytes of call.scratch that qgemm asks for, with n rows of X (elements XT), rows x k weights and results YT. 0
/// for what qgemm would refuse.
template <block_format F, weight_source XT = float, weight_source YT = float>
[[nodiscard]] std::size_t qgemm_scratch_bytes(std::size_t n, std::size_t rows, std::size_t k,
                                              qgemm_options options = {}, const call& how = {}) noexcept {
    const detail::gemm_format& f = detail::gemm_format_of<F>;
    const auto span = detail::activation_span(f, options.activation_group, k);
    if (!span || !has_room(how.room) || n == 0 || rows == 0 || k == 0) return 0;
    const std::size_t workers = how.run.workers();
    detail::planned_product s = detail::plan_product(
        f, f.in_room(how.room), f.integer && options.mode != compute::exact, n, rows, k, *span, workers);
    s.X.type = element_of<XT>;
    s.Y.type = element_of<YT>;
    return detail::workspace::asked(detail::saturating_add(
        detail::activation_bytes(s), detail::saturating_multiply(detail::worker_bytes(s), workers)));
}

}  // namespace qlib::inline QLIB_ABI::inline QLIB_BASE
