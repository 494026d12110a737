#pragma once
// GPTQ's loop over a strip of rows: rounding column by column, and spreading the error over the columns that follow.
// What it does not know of format, fit and room it asks of gptq_kernels, so that it is compiled once.
#include "../core/options.hpp"
#include "../encode/encoder.hpp"
#include "../linalg/rows.hpp"
#include "hessian_factor.hpp"

namespace qlib::inline QLIB_ABI::detail {

inline constexpr std::size_t gptq_strip_rows = 16;

/// A column of a strip, or as many as a code has weights, that is to be rounded.
struct gptq_column {
    std::byte* blocks;                      ///< an encoded<F> for each row, `apart` bytes from one to the next
    std::size_t apart, rows, place, lanes;  ///< place in the block; weights of the code
    matrix_view<const float> x;             ///< (rows, lanes): the current weights
    const float* importance;
    affine* map;  ///< of each row, kept while the group lasts
    const float* outer_scale;
    matrix_view<float> decoded;  ///< (rows, lanes)
};

/// A format under a fit, in one room, as GPTQ's loop knows it. `block`: an encoded<F>.
struct gptq_kernels {
    std::size_t block, group, vec, encoded_bytes;
    /// Fits the blocks of x, (rows, weights of a block), that begin at column c of
    /// row `first`; also their outer scales. `space`: fit_floats().
    void (*fit)(const encode_job&, std::size_t first, std::size_t c, matrix_view<const float> x,
                std::span<const float> importance, std::byte* blocks, std::size_t apart, float* outer_scale,
                float* space) noexcept;
    void (*round_code)(const gptq_column&) noexcept;
    /// Row r of what has been written, decoded.
    void (*decode)(const encode_job&, std::size_t r, float* out) noexcept;
    /// Whether block b of row r, n weights long, decodes to finite weights; writes it.
    bool (*storable)(const encode_job&, std::size_t r, std::size_t b, std::size_t n, const std::byte* block) noexcept;
    void (*store)(const encode_job&, std::size_t r, std::size_t b, std::size_t n, const std::byte* block) noexcept;
    /// Columns whose feedback is gathered before it reaches the rest of the row: the
    /// smallest multiple of the block >= 128.
    [[nodiscard]] QLIB_INLINE constexpr std::size_t column_block() const noexcept {
        return divide_up(128, block) * block;
    }
    /// What a fit of 16 rows works in, their weights and importances in lanes: too much for a small stack.
    [[nodiscard]] QLIB_INLINE constexpr std::size_t fit_floats() const noexcept {
        return saturating_multiply(2 * gptq_strip_rows, block);
    }
};

}  // namespace qlib::inline QLIB_ABI::detail

QLIB_EXACT_BEGIN
namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

/// What one worker needs for a strip of rows.
struct gptq_workspace {
    matrix_view<float> weights;   // (strip, cols): the current weights
    matrix_view<float> errors;    // (strip, cols): decoded weights, then the difference to the original ones
    matrix_view<float> feedback;  // (strip, column block): -(w - q) / U_jj
    float* losses;
    float* fit;         // gptq_kernels::fit_floats()
    std::byte* blocks;  // (strip, blocks of a row)
};

/// How the memory of a call is shared out: per matrix first, then per worker.
class gptq_memory {
public:
    constexpr gptq_memory(const gptq_kernels& k, std::size_t rows, std::size_t cols, std::size_t workers) noexcept
        : rows_(rows),
          cols_(cols),
          workers_(workers),
          stride_(row_stride(cols)),
          column_block_(k.column_block()),
          floats_each_(saturating_add(saturating_multiply(gptq_strip_rows, saturating_add(2 * stride_, column_block_)),
                                      quadratic_losses_scratch(gptq_strip_rows))),
          fit_each_(k.fit_floats()),
          blocks_each_(saturating_multiply(gptq_strip_rows * divide_up(cols, k.block), k.encoded_bytes)) {}

    [[nodiscard]] constexpr std::size_t floats() const noexcept { return saturating_multiply(floats_each_, workers_); }
    [[nodiscard]] constexpr std::size_t fits() const noexcept { return saturating_multiply(fit_each_, workers_); }
    [[nodiscard]] constexpr std::size_t blocks() const noexcept { return saturating_multiply(blocks_each_, workers_); }
    [[nodiscard]] constexpr std::size_t bytes() const noexcept {
        const std::size_t matrix = saturating_add(workspace::piece<float>(saturating_multiply(2, cols_)),
                                                  workspace::piece<double>(saturating_multiply(2, rows_)));
        return saturating_add(matrix,
                              saturating_add(workspace::piece<float>(floats()),
                                             saturating_add(workspace::piece<float>(fits()),
                                                            workspace::piece<std::byte>(blocks()))));
    }
    [[nodiscard]] gptq_workspace worker(float* floats, float* fits, std::byte* blocks, std::size_t i,
                                        std::size_t rows) const noexcept {
        float* const at = floats + i * floats_each_;
        const std::size_t strip = gptq_strip_rows * stride_;
        return {{at, rows, cols_, stride_},
                {at + strip, rows, cols_, stride_},
                {at + 2 * strip, rows, column_block_},
                at + 2 * strip + gptq_strip_rows * column_block_,
                fits + i * fit_each_,
                blocks + i * blocks_each_};
    }

private:
    std::size_t rows_, cols_, workers_, stride_, column_block_, floats_each_, fit_each_, blocks_each_;
};

/// The loop over one strip of rows. Rows are independent given the factor, so strips need no barrier.
struct gptq_strip {
    const encode_job& baseline;  // rounds to nearest with importance diag(H), into the output
    const gptq_kernels& kernels;
    const hessian_factor& factor;
    const float* importance;  // 1 / U_jj^2; 0 for dead columns
    row_kernels rows;
    gptq_workspace work;
    std::size_t first, count;  // rows of the matrix

    /// Leaves the better of GPTQ and the baseline in each row of the output, and both losses of each row.
    status run(double* loss, double* loss_rtn) const noexcept {
        encode_job job = baseline;
        job.space = work.fit;
        if (const status rounded = encode_rows(job, first, count); !rounded) return rounded;
        for (std::size_t r = 0; r < count; ++r) kernels.decode(baseline, first + r, work.errors.row(r));
        losses_of_decoded(loss_rtn);
        load_original();
        for (std::size_t c = 0; c < cols(); c += kernels.column_block())
            column_block(c, smaller_size(c + kernels.column_block(), cols()));
        losses_of_decoded(loss);
        for (std::size_t r = 0; r < count; ++r) {
            if (loss[r] < loss_rtn[r] && storable(r)) store(r);
            else loss[r] = loss_rtn[r];
        }
        return {};
    }

private:
    [[nodiscard]] std::size_t cols() const noexcept { return baseline.W.cols; }
    [[nodiscard]] std::size_t weights_in(std::size_t b) const noexcept {
        return smaller_size(kernels.block, cols() - b * kernels.block);
    }
    [[nodiscard]] std::size_t apart() const noexcept {
        return divide_up(cols(), kernels.block) * kernels.encoded_bytes;
    }
    [[nodiscard]] std::byte* encoded_block(std::size_t r, std::size_t b) const noexcept {
        return work.blocks + r * apart() + b * kernels.encoded_bytes;
    }

    /// The strip as it was given; the baseline has seen that it is clean.
    void load_original() const noexcept {
        for (std::size_t r = 0; r < count; ++r) {
            std::size_t bad = 0;
            load_weights(baseline, first + r, 0, cols(), work.weights.row(r));
            (void)sanitize(work.weights.row(r), cols(), baseline.policy, bad);
        }
    }
    void losses_of_decoded(double* loss) const noexcept {
        load_original();
        for (std::size_t r = 0; r < count; ++r)
            for (std::size_t c = 0; c < cols(); ++c) work.errors(r, c) = work.weights(r, c) - work.errors(r, c);
        quadratic_losses(factor, work.errors, loss, work.losses, baseline.kernels->room);
    }

    /// Columns [c0, c1): whole blocks, but for the last of a ragged row. Scales are fitted once per block, on what the
    /// feedback has made of its weights.
    void column_block(std::size_t c0, std::size_t c1) const noexcept {
        for (std::size_t c = c0; c < c1; c += kernels.block) {
            affine map[gptq_strip_rows];
            float outer_scale[gptq_strip_rows];
            const std::size_t n = weights_in(c / kernels.block);
            kernels.fit(baseline, first, c, {work.weights.row(0) + c, count, n, work.weights.stride},
                        some_importance({importance + c, n}), encoded_block(0, c / kernels.block), apart(),
                        outer_scale, work.fit);
            for (std::size_t j = c; j < c + n; ++j) {
                if ((j - c) % kernels.vec == 0) round_code(c, j, map, outer_scale);
                const float pivot = factor.pivot(j);
                for (std::size_t r = 0; r < count; ++r)
                    work.feedback(r, j - c0) = (work.errors(r, j) - work.weights(r, j)) / pivot;
                spread(j - c0, 1, j, j + 1, c1);
            }
        }
        spread(0, c1 - c0, c0, c1, cols());
    }
    /// Rounds column j, and those after it that share its codes, in the block that begins at column c.
    void round_code(std::size_t c, std::size_t j, affine* map, const float* outer_scale) const noexcept {
        const std::size_t lanes = smaller_size(kernels.vec, cols() - j);
        kernels.round_code({encoded_block(0, c / kernels.block),
                            apart(),
                            count,
                            j - c,
                            lanes,
                            {work.weights.row(0) + j, count, lanes, work.weights.stride},
                            importance + j,
                            map,
                            outer_scale,
                            {work.errors.row(0) + j, count, lanes, work.errors.stride}});
    }
    /// Carries the feedback of `depth` columns from column j on to columns [from, to):
    /// one FMA per column and weight, in column order.
    void spread(std::size_t slot, std::size_t depth, std::size_t j, std::size_t from, std::size_t to) const noexcept {
        if (from >= to) return;
        const matrix_view<const float> U = (factor.square)();
        rows.add_product({work.weights.row(0) + from, count, to - from, work.weights.stride},
                         {work.feedback.row(0) + slot, signed_size(work.feedback.stride)},
                         {U.row(j) + from, signed_size(U.stride)}, depth);
    }

    [[nodiscard]] bool storable(std::size_t r) const noexcept {
        bool ok = true;
        for (std::size_t b = 0; b * kernels.block < cols(); ++b)
            ok = ok && kernels.storable(baseline, first + r, b, weights_in(b), encoded_block(r, b));
        return ok;
    }
    void store(std::size_t r) const noexcept {
        for (std::size_t b = 0; b * kernels.block < cols(); ++b)
            kernels.store(baseline, first + r, b, weights_in(b), encoded_block(r, b));
    }
};

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE
QLIB_EXACT_END
