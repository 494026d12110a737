#pragma once
// hessian_factor: what GPTQ needs of a Hessian, made once per layer input: U with U^T U = (H + damping)^-1, and H
// itself for the losses.
#include "../core/options.hpp"
#include "../core/parallel.hpp"
#include "../linalg/cholesky.hpp"
#include "../linalg/triangular.hpp"
#include "hessian.hpp"

QLIB_EXACT_BEGIN
namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

/// A factor in the making. Dead columns have diagonal 0.
struct factor_parts {
    matrix_view<float> A;  ///< (k, k): H below the diagonal, U on it and above
    float* diagonal;       ///< H_jj, k floats
    float* pivot;          ///< U_jj, k floats
    float mean;            ///< of the live diagonal; 1 when there is none
};
inline constexpr std::size_t factor_chunk = 16;

/// The e for which 2^-e brings the mean of the live diagonal into [1, 2); 0 when all of
/// it is dead. `mean` is then that mean, scaled.
inline int normal_exponent(matrix_view<const float> H, float& mean) noexcept {
    double sum = 0;
    std::size_t live = 0;
    for (std::size_t i = 0; i < H.rows; ++i) {
        sum += static_cast<double>(H(i, i));
        live += H(i, i) > 0 ? 1 : 0;
    }
    mean = 1;
    if (live == 0) return 0;
    const double m = sum / static_cast<double>(live);
    const int e = static_cast<int>(__builtin_bit_cast(std::uint64_t, m) >> 52) - 1023;
    mean = static_cast<float>(m * power_of_two(-e));
    return e;
}

/// Divides H by 2^e and cuts the dead columns out of it. Returns how many they are.
inline std::size_t normalise(const factor_parts& p, int e, const call& how) noexcept {
    const double scale = power_of_two(-e);
    std::size_t dead = 0;
    for (std::size_t j = 0; j < p.A.cols; ++j) {
        p.diagonal[j] = static_cast<float>(static_cast<double>(p.A(j, j)) * scale);
        dead += p.diagonal[j] > 0 ? 0 : 1;
    }
    how.run.run(divide_up(p.A.rows, factor_chunk), [&](std::size_t band, std::size_t) {
        for (std::size_t i = band * factor_chunk; i < smaller_size((band + 1) * factor_chunk, p.A.rows); ++i)
            for (std::size_t j = 0; j < i; ++j)
                p.A(i, j) = p.diagonal[i] > 0 && p.diagonal[j] > 0
                                ? static_cast<float>(static_cast<double>(p.A(i, j)) * scale)
                                : 0.0f;
    });
    return dead;
}

/// Writes the damped H above and on the diagonal, from what stands below. A dead column gets the mean as its diagonal.
inline void fill_upper(const factor_parts& p, float shift, const call& how) noexcept {
    const std::size_t k = p.A.rows;
    how.run.run(divide_up(k, factor_chunk), [&](std::size_t band, std::size_t) {
        const std::size_t first = band * factor_chunk, end = smaller_size(first + factor_chunk, k);
        for (std::size_t j = first; j < k;
             j += factor_chunk)  // square tiles: a cache line that is read serves all its rows
            for (std::size_t i = first; i < end; ++i)
                for (std::size_t c = j > i ? j : i + 1; c < smaller_size(j + factor_chunk, k); ++c)
                    p.A(i, c) = p.A(c, i);
        for (std::size_t i = first; i < end; ++i) p.A(i, i) = p.diagonal[i] > 0 ? p.diagonal[i] + shift : p.mean;
    });
}

/// One rung: U from H with this damping.
inline status try_damping(const factor_parts& p, float damping, const call& how) noexcept {
    fill_upper(p, product(damping, p.mean), how);
    const status s = reverse_cholesky(p.A, how);
    return s.ok() ? invert_upper(p.A, how) : s;
}

/// The last rung: what remains of U when H counts as diagonal.
inline void use_diagonal(const factor_parts& p, float damping) noexcept {
    const float shift = product(damping, p.mean);
    for (std::size_t i = 0; i < p.A.rows; ++i) {
        std::memset(p.A.row(i) + i, 0, (p.A.cols - i) * sizeof(float));
        p.A(i, i) = 1.0f / square_root(p.diagonal[i] > 0 ? p.diagonal[i] + shift : p.mean);
    }
}

inline status climb_ladder(const factor_parts& p, const factor_options& options, told_loops& loops,
                           factor_report& report) noexcept {
    constexpr float least_damping = 1e-4f, enough = 0.5f;  // 0.5: ten times 0.1f is a little less than 1
    const auto attempt = [&](float damping) -> status {
        const status tried = try_damping(p, damping, loops.inner());
        const status cancelled = loops.so_far();  // what a loop left undone can look like any other fault
        return cancelled.ok() ? tried : cancelled;
    };
    float damping = options.damping;
    status s = attempt(damping);
    for (; !s && s.error().code == errc::not_positive && !options.strict && damping < enough; ++report.rung) {
        damping = larger(product(10.0f, damping), least_damping);
        s = attempt(damping);
    }
    report.damping = damping;
    if (!s && s.error().code == errc::not_positive && !options.strict) {
        ++report.rung;
        report.damping = options.damping;
        report.diagonal_only = true;
        use_diagonal(p, options.damping);
        s = {};
    }
    for (std::size_t i = 0; i < p.A.rows; ++i) p.pivot[i] = p.A(i, i);
    return s;
}

/// The loops of normalise() and of one rung.
[[nodiscard]] QLIB_INLINE constexpr std::size_t factor_loops(std::size_t cols) noexcept {
    return 2 + 2 * divide_up(cols, cholesky_block) + divide_up(cols, inverse_block);
}

[[nodiscard]] inline status check_damping(float damping) noexcept {
    if (is_finite(damping) && damping >= 0 && damping <= 1e6f) return {};
    return error{errc::argument, "damping must lie between 0 and 1e6", "damping", {}};
}

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE
QLIB_EXACT_END

namespace qlib::inline QLIB_ABI {

/// U, upper triangular with a positive diagonal, and H of one layer input. Made by factorize().
///
/// H is divided by a power of two, scale(), so that the mean of its live diagonal lies in [1, 2]: nothing here
/// overflows or underflows for the size of the activations alone. U belongs to that H, damped. A dead column, whose
/// input was always 0, has a zero row and column in H, and in U nothing but its diagonal.
class hessian_factor {
public:
    /// What factorize() does.
    [[nodiscard]] QLIB_INLINE static result<hessian_factor> make(hessian&& h, factor_options options,
                                                                 call how) noexcept {
        if (h.cols() == 0) return error{errc::shape, "a Hessian needs a column", "Hessian", {}};
        if (const status s = detail::check_damping(options.damping); !s) return s.error();
        if (const status s = check_room(how.room); !s) return s.error();
        hessian_factor f;
        f.cols_ = h.cols();
        if (!f.diagonals_.allocate(2 * f.cols_)) return detail::out_of_memory(2 * f.cols_ * sizeof(float));
        const matrix_view<float> A = (h.square)();
        f.scale_ = h.scale();
        f.matrix_ = std::move(h.data_);
        float mean = 1;
        const int e = detail::normal_exponent(A, mean);
        f.scale_ *= detail::power_of_two(e);
        const detail::factor_parts parts{A, f.diagonals_.data(), f.diagonals_.data() + f.cols_, mean};
        detail::told_loops loops(how, detail::factor_loops(f.cols_));
        f.report_.dead_columns = detail::normalise(parts, e, loops.inner());
        if (const status s = detail::climb_ladder(parts, options, loops, f.report_); !s) return s.error();
        if (const status s = loops.finish(); !s) return s.error();
        return f;
    }

    QLIB_INLINE hessian_factor(hessian_factor&& other) noexcept
        : matrix_(std::move(other.matrix_)),
          diagonals_(std::move(other.diagonals_)),
          cols_(std::exchange(other.cols_, 0)),
          scale_(other.scale_),
          report_(other.report_) {}
    QLIB_INLINE hessian_factor& operator=(hessian_factor&& other) noexcept {
        matrix_ = std::move(other.matrix_);
        diagonals_ = std::move(other.diagonals_);
        (std::swap)(cols_, other.cols_);
        scale_ = other.scale_;
        report_ = other.report_;
        return *this;
    }

    [[nodiscard]] QLIB_INLINE std::size_t cols() const noexcept { return cols_; }
    [[nodiscard]] QLIB_INLINE const factor_report& report() const noexcept { return report_; }
    /// The power of two by which H was divided.
    [[nodiscard]] QLIB_INLINE double scale() const noexcept { return scale_; }

    /// (cols, cols): U on the diagonal and above, H below.
    [[nodiscard]] QLIB_INLINE matrix_view<const float>(square)() const noexcept {
        if (cols_ == 0) return {};
        return {matrix_.data() + detail::hessian_header_floats, cols_, cols_, detail::row_stride(cols_)};
    }
    /// [c] is U_jc for c >= j.
    [[nodiscard]] QLIB_INLINE const float* upper_row(std::size_t j) const noexcept { return (square)().row(j); }
    /// [c] is H_ic for c < i, undamped.
    [[nodiscard]] QLIB_INLINE const float* lower_row(std::size_t i) const noexcept { return (square)().row(i); }
    /// U_jj, positive.
    [[nodiscard]] QLIB_INLINE float pivot(std::size_t j) const noexcept { return diagonals_[cols_ + j]; }
    /// H_jj, undamped; 0 for a dead column.
    [[nodiscard]] QLIB_INLINE float diagonal(std::size_t j) const noexcept { return diagonals_[j]; }
    [[nodiscard]] QLIB_INLINE bool dead(std::size_t j) const noexcept { return !(diagonal(j) > 0); }

private:
    QLIB_INLINE hessian_factor() noexcept = default;

    detail::buffer<float> matrix_, diagonals_;
    std::size_t cols_ = 0;
    double scale_ = 1;
    factor_report report_{};
};

}  // namespace qlib::inline QLIB_ABI

QLIB_EXACT_BEGIN
namespace qlib::inline QLIB_ABI::inline QLIB_BASE {

/// Factors a Hessian in place, for every weight matrix that reads this input and for every format.
///
/// h       consumed, but for the errors shape, argument and unsupported; copy() it to keep it
/// error   argument, shape, unsupported, memory, cancelled; not_positive only when options.strict
/// ladder  while H with the asked damping is not positive definite in floats: ten times the damping (at least 1e-4),
///         until it is about 1 or more; then a diagonal U. Never silently: report() says which.
/// exact   the same bits on every instruction set and for any number of threads
/// source  Frantar et al., GPTQ (2022): the upper Cholesky factor of the inverse,
///         here as the inverse of the reversed factor
[[nodiscard]] inline result<hessian_factor> factorize(hessian&& h, factor_options options = {},
                                                      call how = {}) noexcept {
    return hessian_factor::make(std::move(h), options, how);
}

}  // namespace qlib::inline QLIB_ABI::inline QLIB_BASE

namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

inline constexpr std::size_t loss_cols = 256, loss_chunk = 16;

/// The floats of scratch that quadratic_losses wants.
[[nodiscard]] QLIB_INLINE constexpr std::size_t quadratic_losses_scratch(std::size_t rows) noexcept {
    return saturating_multiply(rows, loss_cols);
}

/// loss[r] = d H d^T for every row d of D, under the undamped H in its own units.
///
/// D        (n, cols) row-major
/// loss     n doubles, none negative; infinity where a chain of floats overflows
/// scratch  quadratic_losses_scratch(n) floats
/// exact    v_c = sum over i = c+1, c+2, ... k-1 of H_ic d_i, one FMA each in float; then d_c (H_cc d_c + 2 v_c) summed
///          in double, c ascending
inline void quadratic_losses(const hessian_factor& f, matrix_view<const float> D, double* loss, float* scratch,
                             isa room = isa::best) noexcept {
    const row_kernels rows = rows_of(room);
    const matrix_view<const float> H = (f.square)();
    const std::size_t k = f.cols();
    for (std::size_t r = 0; r < D.rows; ++r) loss[r] = 0;
    for (std::size_t col = 0; col < k; col += loss_cols) {
        const std::size_t width = smaller_size(loss_cols, k - col), last = col + width;
        std::memset(scratch, 0, D.rows * loss_cols * sizeof(float));
        const auto add = [&](std::size_t c, std::size_t end, std::size_t from,
                             std::size_t to) {  // columns [c, end), rows [from, to) of H
            if (c == end || from == to) return;
            rows.add_product({scratch + (c - col), D.rows, end - c, loss_cols}, {D.data + from, signed_size(D.stride)},
                             {H.data + from * H.stride + c, signed_size(H.stride)}, to - from);
        };
        for (std::size_t i = col; i < last; i += loss_chunk) {
            const std::size_t top = smaller_size(i + loss_chunk, last);
            add(col, i, i, top);
            for (std::size_t t = i + 1; t < top; ++t) add(i, t, t, t + 1);
        }
        add(col, last, last, k);
        for (std::size_t r = 0; r < D.rows; ++r)
            for (std::size_t c = col; c < last; ++c) {
                const double d = D(r, c), v = scratch[r * loss_cols + (c - col)];
                loss[r] = __builtin_fma(d, static_cast<double>(f.diagonal(c)) * d + 2 * v, loss[r]);
            }
    }
    constexpr double infinity = std::numeric_limits<double>::infinity();
    for (std::size_t r = 0; r < D.rows; ++r) {
        const bool finite = (__builtin_bit_cast(std::uint64_t, loss[r]) >> 52 & 0x7FF) != 0x7FF;
        loss[r] = finite ? (loss[r] > 0 ? loss[r] * f.scale() : 0.0) : infinity;
    }
}

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE
QLIB_EXACT_END
