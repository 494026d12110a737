#pragma once
// gptq: rounding with second-order error feedback, into any format.
// Source: Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers" (2022).
#include "calibrate/gptq_strip.hpp"
#include "quantize.hpp"

namespace qlib::inline QLIB_ABI {

template <block_format F> struct gptq_result {
    qmatrix<F> weights;
    gptq_report report;

    QLIB_INLINE gptq_result() noexcept = default;
    QLIB_INLINE gptq_result(gptq_result&&) noexcept = default;
    QLIB_INLINE gptq_result& operator=(gptq_result&&) noexcept = default;
};

}  // namespace qlib::inline QLIB_ABI

QLIB_EXACT_BEGIN
namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

// What gptq_kernels point to, for F in a room.

template <block_format F> void gptq_round(const gptq_column& c) noexcept {
    for (std::size_t r = 0; r < c.rows; ++r) {
        auto& e = *reinterpret_cast<encoded<F>*>(c.blocks + r * c.apart);
        if (c.place % F::group == 0) c.map[r] = F::at(e.params, c.place / F::group);
        float decoded[F::vec];
        e.code[c.place / F::vec] = choose_code<F>(c.map[r], c.outer_scale[r], to_levels<F>(c.map[r], c.outer_scale[r]),
                                                  c.x.row(r), c.importance, c.lanes, decoded);
        for (std::size_t i = 0; i < c.lanes; ++i) c.decoded(r, i) = decoded[i];
    }
}
template <block_format F>
bool gptq_storable(const encode_job& job, std::size_t r, std::size_t b, std::size_t n,
                   const std::byte* block) noexcept {
    const auto& to = *static_cast<const qspan<F>*>(job.out);
    return stays_finite<F>(*reinterpret_cast<const encoded<F>*>(block), to.outer(r, b * block_size<F>), n);
}
template <block_format F>
void gptq_store(const encode_job& job, std::size_t r, std::size_t b, std::size_t n, const std::byte* block) noexcept {
    const auto& e = *reinterpret_cast<const encoded<F>*>(block);
    F::store(e.params, {e.code.data(), divide_up(n, F::vec)}, static_cast<const qspan<F>*>(job.out)->block(r, b));
}
template <class Room, block_format F>
void gptq_fit(const encode_job& job, std::size_t first, std::size_t c, matrix_view<const float> x,
              std::span<const float> importance, std::byte* blocks, std::size_t apart, float* outer_scale,
              float* space) noexcept {
    const auto& to = *static_cast<const qspan<F>*>(job.out);
    typename F::outer outer[gptq_strip_rows];
    typename F::params params[gptq_strip_rows];
    for (std::size_t r = 0; r < x.rows; ++r) {
        outer[r] = to.outer(first + r, c);
        outer_scale[r] = F::outer_scale(outer[r]);
    }
    if (x.cols == block_size<F>) {
        Room::template fit_rows<F>(*job.kernels, job.fit, x, importance, outer, params, space);
    } else {
        for (std::size_t r = 0; r < x.rows; ++r) {
            const site<F> s{{x.row(r), x.cols}, importance, 0, outer[r], job.kernels->room};
            job.kernels->fit_site(job.fit, &s, params + r);
        }
    }
    for (std::size_t r = 0; r < x.rows; ++r) reinterpret_cast<encoded<F>*>(blocks + r * apart)->params = params[r];
}
template <class Room, block_format F> void gptq_decode(const encode_job& job, std::size_t r, float* out) noexcept {
    const qview<F> q = *static_cast<const qspan<F>*>(job.out);
    Room::template decode_view<F, float>(&q, r, 0, divide_up(q.cols(), block_size<F>), q.cols(), out);
}
template <class Room, block_format F>
inline constexpr gptq_kernels gptq_kernels_in{block_size<F>,         F::group,           F::vec,
                                              sizeof(encoded<F>),    &gptq_fit<Room, F>, &gptq_round<F>,
                                              &gptq_decode<Room, F>, &gptq_storable<F>,  &gptq_store<F>};

inline result<hessian_factor> factor_copy(const hessian& h, const factor_options& options, const call& how) noexcept {
    auto copy = h.copy();
    if (!copy) return copy.error();
    return factorize(std::move(*copy), options, how);
}

/// GPTQ into baseline.out, which still lacks its importances.
inline result<gptq_report> gptq_matrix(encode_job& baseline, const gptq_kernels& kernels, const outer_rule& outer,
                                       const hessian_factor& factor, const call& how) noexcept {
    const default_float_environment environment;
    const floats_view& W = baseline.W;
    gptq_report report;
    report.factor = factor.report();
    if (how.report != nullptr) how.report->room = baseline.kernels->room;
    if (W.rows == 0) return report;
    const gptq_memory memory(kernels, W.rows, W.cols, how.run.workers());
    workspace space;
    if (const status s = space.open(how, memory.bytes()); !s) return s.error();
    float* const weigh = space.take<float>(2 * W.cols);     // diag(H), then 1 / U_jj^2
    double* const losses = space.take<double>(2 * W.rows);  // of each row, then of its baseline
    float* const floats = space.take<float>(memory.floats());
    float* const fits = space.take<float>(memory.fits());
    std::byte* const blocks = space.take<std::byte>(memory.blocks());
    for (std::size_t j = 0; j < W.cols; ++j) {
        weigh[j] = factor.diagonal(j);
        weigh[W.cols + j] = factor.dead(j) ? 0.0f : 1.0f / product(factor.pivot(j), factor.pivot(j));
    }
    baseline.importance = {weigh, W.rows, W.cols, 0};
    baseline.importance_unit = importance_unit_of({weigh, W.cols});
    if (const status s = fit_outer_values(baseline, outer, how); !s) return s.error();
    const row_kernels rows = rows_of(baseline.kernels->room);
    const status ran = for_each_task(how, divide_up(W.rows, gptq_strip_rows), [&](std::size_t i, std::size_t worker) {
        const std::size_t first = i * gptq_strip_rows, count = smaller_size(gptq_strip_rows, W.rows - first);
        const gptq_strip strip{baseline,       kernels, factor,
                               weigh + W.cols, rows,    memory.worker(floats, fits, blocks, worker, count),
                               first,          count};
        return strip.run(losses + first, losses + W.rows + first);
    });
    if (!ran) return ran.error();
    for (std::size_t r = 0; r < W.rows; ++r) {
        report.loss += losses[r];
        report.loss_rtn += losses[W.rows + r];
        report.rows_rounded += losses[r] < losses[W.rows + r] ? 0 : 1;
    }
    if (how.report != nullptr && baseline.kernels->fit_name != nullptr) how.report->mode = baseline.kernels->fit_name;
    return report;
}

/// Whether GPTQ can serve a matrix with `sliceable` rows in a format of so large blocks.
inline status check_gptq(const floats_view& W, const hessian_factor& factor, bool sliceable, std::size_t block,
                         const call& how) noexcept {
    if (const status s = check_view(W, "W"); !s) return s;
    if (W.cols != factor.cols())
        return error{errc::shape, "weights of {0} columns, a Hessian of {1}", "W", {W.cols, factor.cols()}};
    if (!sliceable)
        return error{errc::unsliceable, "blocks of {0} run over the ends of rows of {1}", "W", {block, W.cols}};
    return check_room(how.room);
}

/// The fit `fit`, of which format and room make the kernels that they are known by.
struct gptq_fit_ref {
    const void* fit;
    const encoder_kernels& kernels;
    const outer_rule& outer;
};

template <block_format F>
result<gptq_result<F>> gptq_of(floats_view W, const hessian_factor& factor, const gptq_fit_ref& fit,
                               const gptq_options& options, const call& how) noexcept {
    auto out = qmatrix<F>::make(W.rows, W.cols);
    if (!out) return out.error();
    gptq_result<F> done;
    done.weights = std::move(*out);
    const auto span = done.weights.span();
    encode_job baseline{W, {}, 1, options.on_non_finite, fit.fit, &span, block_size<F>, W.cols, &fit.kernels};
    const gptq_kernels& kernels =
        *with_room(fit.kernels.room, [](auto in) { return &gptq_kernels_in<decltype(in), F>; });
    const auto report = gptq_matrix(baseline, kernels, fit.outer, factor, how);
    if (!report) return report.error();
    done.report = *report;
    return done;
}
template <block_format F, class Fit>
result<gptq_result<F>> gptq_with(floats_view W, const hessian_factor& factor, const Fit& fit,
                                 const gptq_options& options, const call& how) noexcept {
    const bool sliceable = !has_flat_blocks<F> || W.cols % block_size<F> == 0;
    if (const status s = check_gptq(W, factor, sliceable, block_size<F>, how); !s) return s.error();
    return gptq_of<F>(W, factor, {&fit, encoder_kernels_of<F, Fit>(how.room), outer_rule_of<F, Fit>}, options, how);
}
/// From a Hessian, which is copied and factored.
template <block_format F, class Fit>
result<gptq_result<F>> gptq_with(floats_view W, const hessian& h, const Fit& fit, const gptq_options& options,
                                 const call& how) noexcept {
    const auto factor = factor_copy(h, {options.damping, options.strict}, how);
    if (!factor) return factor.error();
    return gptq_with<F>(W, *factor, fit, options, how);
}

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE
QLIB_EXACT_END

namespace qlib::inline QLIB_ABI::inline QLIB_BASE {

/// Bytes of call.scratch that gptq<F> of a rows x cols matrix wants for an executor of so many workers. The copy of a
/// Hessian comes on top.
template <block_format F>
[[nodiscard]] constexpr std::size_t gptq_scratch_bytes(std::size_t rows, std::size_t cols,
                                                       std::size_t workers = 1) noexcept {
    const detail::gptq_kernels numbers{block_size<F>, F::group, F::vec, sizeof(encoded<F>), nullptr, nullptr,
                                       nullptr,       nullptr,  nullptr};
    return detail::workspace::asked(detail::gptq_memory(numbers, rows, cols, workers).bytes());
}

/// Quantizes W (rows, cols) into format F, column by column, carrying each column's
/// rounding error on to the columns not yet rounded.
///
/// factor  of the layer's input, factorize(); made once for all matrices that read it and for all formats
/// fit     any fit object; it sees the current weights of a block, with importance 1 / U_jj^2
/// error   shape, ragged, unsliceable, unsupported, memory, scratch, cancelled; non_finite, overflow from the weights
/// never   worse than rounding to nearest in the same format, row by row, under the
///         undamped Hessian: such rows keep the baseline
/// exact   the same bytes for any number of threads and on every instruction set
/// cost    rows * cols^2 multiply-adds, and as many for the losses; scratch: gptq_scratch_bytes
template <block_format F, fit_for<F> Fit>
[[nodiscard]] result<gptq_result<F>> gptq(floats_view W, const hessian_factor& factor, const Fit& fit,
                                          gptq_options options = {}, call how = {}) noexcept {
    return detail::gptq_with<F>(W, factor, fit, options, how);
}
/// The same with the default fit, search.
template <block_format F>
[[nodiscard]] result<gptq_result<F>> gptq(floats_view W, const hessian_factor& factor) noexcept {
    return detail::gptq_with<F>(W, factor, search_fit{}, {}, {});
}
/// The same with a ready-made fit, options.fit: all three are compiled.
template <block_format F>
[[nodiscard]] result<gptq_result<F>> gptq(floats_view W, const hessian_factor& factor, gptq_options options,
                                          call how = {}) noexcept {
    return detail::with_fit(options.fit,
                            [&](const auto& fit) { return detail::gptq_with<F>(W, factor, fit, options, how); });
}
/// The same from a Hessian, which is copied and factored with options.damping.
/// error: also argument, not_positive (strict only).
template <block_format F, fit_for<F> Fit>
[[nodiscard]] result<gptq_result<F>> gptq(floats_view W, const hessian& h, const Fit& fit, gptq_options options = {},
                                          call how = {}) noexcept {
    return detail::gptq_with<F>(W, h, fit, options, how);
}
template <block_format F> [[nodiscard]] result<gptq_result<F>> gptq(floats_view W, const hessian& h) noexcept {
    return detail::gptq_with<F>(W, h, search_fit{}, {}, {});
}
template <block_format F>
[[nodiscard]] result<gptq_result<F>> gptq(floats_view W, const hessian& h, gptq_options options,
                                          call how = {}) noexcept {
    return detail::with_fit(options.fit,
                            [&](const auto& fit) { return detail::gptq_with<F>(W, h, fit, options, how); });
}

}  // namespace qlib::inline QLIB_ABI::inline QLIB_BASE
