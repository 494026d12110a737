#pragma once
// gptq: rounding with second-order error feedback, into any format.
// Source: Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers" (2022).
#include "calibrate/hessian_factor.hpp"
#include "core/options.hpp"
#include "quantize.hpp"
#include "store/decode.hpp"

namespace qlib::inline v0 {

template <block_format F> struct gptq_result {
    qmatrix<F> weights;
    gptq_report report;

    QLIB_INLINE gptq_result() noexcept = default;
    QLIB_INLINE gptq_result(gptq_result&&) noexcept = default;
    QLIB_INLINE gptq_result& operator=(gptq_result&&) noexcept = default;
};

}  // namespace qlib::inline v0

QLIB_EXACT_BEGIN
namespace qlib::inline v0::detail::inline QLIB_BASE {

inline constexpr std::size_t gptq_strip_rows = 16;

/// Columns whose feedback is gathered before it reaches the rest of the row: the smallest multiple of F's block >= 128.
template <block_format F> inline constexpr std::size_t gptq_column_block = divide_up(128, block_size<F>) * block_size<F>;

/// What one worker needs for a strip of rows.
template <block_format F> struct gptq_workspace {
    matrix_view<float> weights;   // (strip, cols): the current weights
    matrix_view<float> errors;    // (strip, cols): decoded weights, then the difference to the original ones
    matrix_view<float> feedback;  // (strip, column block): -(w - q) / U_jj
    float* losses;
    encoded<F>* blocks;           // (strip, blocks of a row)
};

/// How the memory of a call is shared out: per matrix first, then per worker.
template <block_format F> class gptq_memory {
public:
    constexpr gptq_memory(std::size_t rows, std::size_t cols, std::size_t workers) noexcept
        : rows_(rows), cols_(cols), workers_(workers), stride_(row_stride(cols)),
          floats_each_(saturating_add(saturating_multiply(gptq_strip_rows, saturating_add(2 * stride_, gptq_column_block<F>)), quadratic_losses_scratch(gptq_strip_rows))),
          blocks_each_(gptq_strip_rows * divide_up(cols, block_size<F>)) {}

    [[nodiscard]] constexpr std::size_t floats() const noexcept { return saturating_multiply(floats_each_, workers_); }
    [[nodiscard]] constexpr std::size_t blocks() const noexcept { return saturating_multiply(blocks_each_, workers_); }
    [[nodiscard]] constexpr std::size_t bytes() const noexcept {
        const std::size_t matrix = saturating_add(workspace::piece<float>(saturating_multiply(2, cols_)), workspace::piece<double>(saturating_multiply(2, rows_)));
        return saturating_add(matrix, saturating_add(workspace::piece<float>(floats()), workspace::piece<encoded<F>>(blocks())));
    }
    [[nodiscard]] gptq_workspace<F> worker(float* floats, encoded<F>* blocks, std::size_t i, std::size_t rows) const noexcept {
        float* const at = floats + i * floats_each_;
        const std::size_t strip = gptq_strip_rows * stride_;
        return {{at, rows, cols_, stride_}, {at + strip, rows, cols_, stride_}, {at + 2 * strip, rows, gptq_column_block<F>},
                at + 2 * strip + gptq_strip_rows * gptq_column_block<F>, blocks + i * blocks_each_};
    }

private:
    std::size_t rows_, cols_, workers_, stride_, floats_each_, blocks_each_;
};

/// The loop over one strip of rows. Rows are independent given the factor, so strips need no barrier.
template <block_format F, class Fit, weight_source T> struct gptq_strip {
    static constexpr std::size_t block = block_size<F>;

    const block_encoder<F, Fit, T>& baseline;  // rounds to nearest with importance diag(H), into the output
    const hessian_factor& factor;
    const float* importance;                   // 1 / U_jj^2; 0 for dead columns
    row_kernels kernels;
    isa room;
    gptq_workspace<F> work;
    std::size_t first, count;                  // rows of the matrix

    /// Leaves the better of GPTQ and the baseline in each row of the output, and both losses of each row.
    status run(double* loss, double* loss_rtn) const noexcept {
        const status rounded = with_room(room, [&](auto r) { return decltype(r)::lanes::template encode_rows<F>(baseline, first, count); });
        if (!rounded) return rounded;
        for (std::size_t r = 0; r < count; ++r)
            for (std::size_t b = 0; b * block < cols(); ++b) decode_block<F>(baseline.out, first + r, b, weights_in(b), work.errors.row(r) + b * block);
        losses_of_decoded(loss_rtn);
        load_original();
        for (std::size_t c = 0; c < cols(); c += gptq_column_block<F>) column_block(c, smaller_size(c + gptq_column_block<F>, cols()));
        losses_of_decoded(loss);
        for (std::size_t r = 0; r < count; ++r) {
            if (loss[r] < loss_rtn[r] && storable(r)) store(r);
            else loss[r] = loss_rtn[r];
        }
        return {};
    }

private:
    [[nodiscard]] std::size_t cols() const noexcept { return baseline.W.cols; }
    [[nodiscard]] std::size_t weights_in(std::size_t b) const noexcept { return smaller_size(block, cols() - b * block); }
    [[nodiscard]] encoded<F>& encoded_block(std::size_t r, std::size_t b) const noexcept { return work.blocks[r * divide_up(cols(), block) + b]; }

    /// The strip as it was given; the baseline has seen that it is clean.
    void load_original() const noexcept {
        for (std::size_t r = 0; r < count; ++r) {
            std::size_t bad = 0;
            load_weights<F>(baseline.W, first + r, 0, cols(), work.weights.row(r));
            (void)sanitize(work.weights.row(r), cols(), baseline.policy, bad);
        }
    }
    void losses_of_decoded(double* loss) const noexcept {
        load_original();
        for (std::size_t r = 0; r < count; ++r)
            for (std::size_t c = 0; c < cols(); ++c) work.errors(r, c) = work.weights(r, c) - work.errors(r, c);
        quadratic_losses(factor, work.errors, loss, work.losses, room);
    }

    /// Columns [c0, c1): whole blocks, but for the last of a ragged row.
    void column_block(std::size_t c0, std::size_t c1) const noexcept {
        for (std::size_t c = c0; c < c1; c += block) {
            affine map[gptq_strip_rows];
            float outer_scale[gptq_strip_rows], decoded[gptq_strip_rows][F::vec];
            fit_blocks(c, outer_scale);
            for (std::size_t j = c; j < smaller_size(c + block, cols()); ++j) {
                for (std::size_t r = 0; r < count; ++r) round_column(r, c, j, map[r], outer_scale[r], decoded[r], j - c0);
                spread(j - c0, 1, j, j + 1, c1);
            }
        }
        spread(0, c1 - c0, c0, c1, cols());
    }
    /// Scales are fitted once per block, on what the feedback has made of its weights.
    void fit_blocks(std::size_t c, float* outer_scale) const noexcept {
        const std::size_t n = weights_in(c / block);
        const auto weigh = some_importance({importance + c, n});
        const matrix_view<const float> x{work.weights.row(0) + c, count, n, work.weights.stride};
        typename F::outer outer[gptq_strip_rows];
        typename F::params params[gptq_strip_rows];
        for (std::size_t r = 0; r < count; ++r) {
            outer[r] = baseline.out.outer(first + r, c);
            outer_scale[r] = F::outer_scale(outer[r]);
        }
        if (n == block) {
            with_room(room, [&](auto r) { decltype(r)::lanes::template fit_rows<F>(baseline.fit, x, weigh, outer, params); });
        } else {
            for (std::size_t r = 0; r < count; ++r) params[r] = baseline.fit.template block<F>(site<F>{{x.row(r), n}, weigh, 0, outer[r]});
        }
        for (std::size_t r = 0; r < count; ++r) encoded_block(r, c / block).params = params[r];
    }
    /// Rounds column j of row r, in the block that begins at column c; a code of several weights is chosen at its first.
    void round_column(std::size_t r, std::size_t c, std::size_t j, affine& map, float outer_scale, float* decoded, std::size_t slot) const noexcept {
        encoded<F>& e = encoded_block(r, c / block);
        const std::size_t i = j - c;
        if (i % F::group == 0) map = F::at(e.params, i / F::group);
        if (i % F::vec == 0) {
            const std::size_t lanes = smaller_size(F::vec, cols() - j);
            e.code[i / F::vec] = choose_code<F>(map, outer_scale, to_levels<F>(map, outer_scale), work.weights.row(r) + j, importance + j, lanes, decoded);
        }
        const float q = decoded[i % F::vec];
        work.errors(r, j) = q;
        work.feedback(r, slot) = (q - work.weights(r, j)) / factor.pivot(j);
    }
    /// Carries the feedback of `depth` columns from column j on to columns [from, to): one FMA per column and weight, in column order.
    void spread(std::size_t slot, std::size_t depth, std::size_t j, std::size_t from, std::size_t to) const noexcept {
        if (from >= to) return;
        const matrix_view<const float> U = factor.square();
        kernels.add_product({work.weights.row(0) + from, count, to - from, work.weights.stride},
                            {work.feedback.row(0) + slot, signed_size(work.feedback.stride)}, {U.row(j) + from, signed_size(U.stride)}, depth);
    }

    [[nodiscard]] bool storable(std::size_t r) const noexcept {
        bool ok = true;
        for (std::size_t b = 0; b * block < cols(); ++b) ok = ok && stays_finite<F>(encoded_block(r, b), baseline.out.outer(first + r, b * block), weights_in(b));
        return ok;
    }
    void store(std::size_t r) const noexcept {
        for (std::size_t b = 0; b * block < cols(); ++b) {
            const encoded<F>& e = encoded_block(r, b);
            F::store(e.params, {e.code.data(), divide_up(weights_in(b), F::vec)}, baseline.out.block(first + r, b));
        }
    }
};

inline result<hessian_factor> factor_copy(const hessian& h, const factor_options& options, const call& how) noexcept {
    auto copy = h.copy();
    if (!copy) return copy.error();
    return factorize(std::move(*copy), options, how);
}

template <block_format F, class Fit, weight_source T>
result<gptq_result<F>> gptq_with(matrix_view<const T> W, const hessian_factor& factor, const Fit& fit, const gptq_options& options, const call& how) noexcept {
    if (W.cols != factor.cols()) return error{errc::shape, "weights of {0} columns, a Hessian of {1}", "W", {W.cols, factor.cols()}};
    auto out = qmatrix<F>::make(W.rows, W.cols);
    if (!out) return out.error();
    if (!out->view().sliceable()) return error{errc::unsliceable, "blocks of {0} run over the ends of rows of {1}", "W", {block_size<F>, W.cols}};
    const auto kernels = open_rows(how);
    if (!kernels) return kernels.error();
    gptq_result<F> done;
    done.weights = std::move(*out);
    done.report.factor = factor.report();
    if (W.rows == 0) return done;

    const gptq_memory<F> memory(W.rows, W.cols, how.run.workers());
    workspace space;
    if (const status s = space.open(how, memory.bytes()); !s) return s.error();
    float* const weigh = space.take<float>(2 * W.cols);     // diag(H), then 1 / U_jj^2
    double* const losses = space.take<double>(2 * W.rows);  // of each row, then of its baseline
    float* const floats = space.take<float>(memory.floats());
    encoded<F>* const blocks = space.take<encoded<F>>(memory.blocks());
    for (std::size_t j = 0; j < W.cols; ++j) {
        weigh[j] = factor.diagonal(j);
        weigh[W.cols + j] = factor.dead(j) ? 0.0f : 1.0f / product(factor.pivot(j), factor.pivot(j));
    }
    const block_encoder<F, Fit, T> baseline{W, {weigh, W.rows, W.cols, 0}, fit, options.on_non_finite, done.weights.span()};
    if (const status s = fit_outer_values<F>(baseline, how); !s) return s.error();
    const status ran = for_each_task(how, divide_up(W.rows, gptq_strip_rows), [&](std::size_t i, std::size_t worker) {
        const std::size_t first = i * gptq_strip_rows, count = smaller_size(gptq_strip_rows, W.rows - first);
        const gptq_strip<F, Fit, T> strip{baseline, factor, weigh + W.cols, *kernels, how.room, memory.worker(floats, blocks, worker, count), first, count};
        return strip.run(losses + first, losses + W.rows + first);
    });
    if (!ran) return ran.error();
    for (std::size_t r = 0; r < W.rows; ++r) {
        done.report.loss += losses[r];
        done.report.loss_rtn += losses[W.rows + r];
        done.report.rows_rounded += losses[r] < losses[W.rows + r] ? 0 : 1;
    }
    if constexpr (requires { Fit::name; }) if (how.report != nullptr) how.report->mode = Fit::name;
    return done;
}

}  // namespace qlib::inline v0::detail::inline QLIB_BASE
QLIB_EXACT_END

namespace qlib::inline v0::inline QLIB_BASE {

/// Bytes of call.scratch that gptq<F> of a rows x cols matrix wants for an executor of so many workers. The copy of a Hessian comes on top.
template <block_format F> [[nodiscard]] constexpr std::size_t gptq_scratch_bytes(std::size_t rows, std::size_t cols, std::size_t workers = 1) noexcept {
    return detail::workspace::asked(detail::gptq_memory<F>(rows, cols, workers).bytes());
}

/// Quantizes W (rows, cols) into format F, column by column, carrying each column's rounding error on to the columns not yet rounded.
///
/// factor  of the layer's input, factorize(); made once for all matrices that read it and for all formats
/// fit     any fit object; it sees the current weights of a block, with importance 1 / U_jj^2
/// error   shape, ragged, unsliceable, unsupported, memory, scratch, cancelled; non_finite, overflow from the weights
/// never   worse than rounding to nearest in the same format, row by row, under the undamped Hessian: such rows keep the baseline
/// exact   the same bytes for any number of threads and on every instruction set
/// cost    rows * cols^2 multiply-adds, and as many for the losses; scratch: gptq_scratch_bytes
template <block_format F, fit_for<F> Fit>
[[nodiscard]] result<gptq_result<F>> gptq(matrix_view<const float> W, const hessian_factor& factor, const Fit& fit, gptq_options options = {}, call how = {}) noexcept {
    return detail::gptq_with<F>(W, factor, fit, options, how);
}
/// The same with a ready-made fit, options.fit.
template <block_format F>
[[nodiscard]] result<gptq_result<F>> gptq(matrix_view<const float> W, const hessian_factor& factor, gptq_options options = {}, call how = {}) noexcept {
    return detail::with_fit(options.fit, [&](const auto& fit) { return detail::gptq_with<F>(W, factor, fit, options, how); });
}
/// The same from f16 or bf16.
template <block_format F, class T>
    requires half_source<T>
[[nodiscard]] result<gptq_result<F>> gptq(matrix_view<T> W, const hessian_factor& factor, gptq_options options = {}, call how = {}) noexcept {
    const matrix_view<const T> source = W;
    return detail::with_fit(options.fit, [&](const auto& fit) { return detail::gptq_with<F>(source, factor, fit, options, how); });
}
/// The same from a Hessian, which is copied and factored with options.damping. error: also argument, not_positive (strict only).
template <block_format F, fit_for<F> Fit>
[[nodiscard]] result<gptq_result<F>> gptq(matrix_view<const float> W, const hessian& h, const Fit& fit, gptq_options options = {}, call how = {}) noexcept {
    const auto factor = detail::factor_copy(h, {options.damping, options.strict}, how);
    if (!factor) return factor.error();
    return gptq<F>(W, *factor, fit, options, how);
}
template <block_format F>
[[nodiscard]] result<gptq_result<F>> gptq(matrix_view<const float> W, const hessian& h, gptq_options options = {}, call how = {}) noexcept {
    const auto factor = detail::factor_copy(h, {options.damping, options.strict}, how);
    if (!factor) return factor.error();
    return gptq<F>(W, *factor, options, how);
}

}  // namespace qlib::inline v0::inline QLIB_BASE
