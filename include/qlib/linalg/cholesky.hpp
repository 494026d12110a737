#pragma once
// A = M M^T with M upper triangular: the Cholesky factorization that runs from the last column to the first.
// Its inverse is the factor that GPTQ wants: U = M^-1 is upper and U^T U = A^-1.
#include "../core/memory.hpp"
#include "../numeric/exact.hpp"
#include "rows.hpp"

QLIB_EXACT_BEGIN
namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

inline constexpr std::size_t cholesky_block = 64, cholesky_rows = 16;

/// Columns [first, end) of a factorization whose later columns are done.
struct cholesky_step {
    row_kernels rows;
    matrix_view<float> A;         ///< (k, k)
    matrix_view<float> panel;     ///< (block, first): row t - first holds column t of -M, as add_product wants rows
    matrix_view<float> diagonal;  ///< (block, block): -M above the diagonal of the block itself
    std::size_t first, end;
};

/// The block's own triangle, the part that is sequential. Returns the first column whose pivot fails, or s.end.
inline std::size_t factor_diagonal(const cholesky_step& s) noexcept {
    const auto chain = [&](std::size_t i, std::size_t j) {
        float sum = s.A(i, j);
        for (std::size_t t = s.end; --t > j;)
            sum = __builtin_fmaf(s.A(i, t), s.diagonal(j - s.first, t - s.first), sum);
        return sum;
    };
    for (std::size_t j = s.end; j-- > s.first;) {
        const float square = chain(j, j), pivot = square_root(square);
        if (!is_finite(square) || !(pivot > 0)) return j;
        s.A(j, j) = pivot;
        for (std::size_t i = s.first; i < j; ++i) {
            s.A(i, j) = chain(i, j) / pivot;
            s.diagonal(i - s.first, j - s.first) = -s.A(i, j);
        }
    }
    return s.end;
}

/// Rows [i, i + count) of the block's columns, all above it: solved in the panel,
/// where they lie side by side, and written back.
inline void solve_panel(const cholesky_step& s, std::size_t i, std::size_t count) noexcept {
    const std::size_t block = s.end - s.first;
    for (std::size_t r = i; r < i + count; ++r)
        for (std::size_t t = 0; t < block; ++t) s.panel(t, r) = -s.A(r, s.first + t);
    for (std::size_t t = block; t-- > 0;) {
        const matrix_view<float> y{s.panel.row(t) + i, 1, count, s.panel.stride};
        s.rows.add_product(y, {s.diagonal.row(t) + block - 1, 0, -1},
                           {s.panel.row(block - 1) + i, -signed_size(s.panel.stride)}, block - 1 - t);
        const float pivot = s.A(s.first + t, s.first + t);
        for (std::size_t c = 0; c < count; ++c) y.data[c] /= pivot;
    }
    for (std::size_t r = i; r < i + count; ++r)
        for (std::size_t t = 0; t < block; ++t) s.A(r, s.first + t) = -s.panel(t, r);
}

/// Takes the block's columns off rows [i, i + cholesky_rows) of what is left to factor.
inline void update_rows(const cholesky_step& s, std::size_t i) noexcept {
    const std::size_t block = s.end - s.first, corner = smaller_size(i + cholesky_rows, s.first);
    const auto update = [&](std::size_t row, std::size_t count, std::size_t col, std::size_t end) {
        s.rows.add_product({s.A.row(row) + col, count, end - col, s.A.stride},
                           {s.A.row(row) + s.end - 1, signed_size(s.A.stride), -1},
                           {s.panel.row(block - 1) + col, -signed_size(s.panel.stride)}, block);
    };
    for (std::size_t r = i; r < corner; ++r) update(r, 1, r, corner);
    update(i, corner - i, corner, s.first);
}

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE

namespace qlib::inline QLIB_ABI::inline QLIB_BASE {

/// Factors A = M M^T in place, M upper triangular with a positive diagonal.
///
/// A      (k, k) row-major: its upper triangle with the diagonal is read and becomes M; the rest is neither read nor
///        written
/// error  not_positive with the column {0} whose pivot is not positive or not finite (A is then half done), shape,
///        memory, unsupported
/// exact  the same bits on every instruction set and for any number of threads:
///        M_ij = (A_ij - M_it M_jt - ...) / M_jj, one FMA per t = k-1, k-2, ... j+1, and the pivot is the square
///        root of the same chain. When it succeeds, all of M is finite.
[[nodiscard]] inline status reverse_cholesky(matrix_view<float> A, call how = {}) noexcept {
    constexpr std::size_t block = detail::cholesky_block, chunk = detail::cholesky_rows;
    if (A.rows != A.cols)
        return error{errc::shape, "a matrix to factor must be square, but it is {0} x {1}", "A", {A.rows, A.cols}};
    if (const status s = detail::check_view(A, "A"); !s) return s;
    const auto rows = detail::open_rows(how);
    if (!rows) return rows.error();
    const std::size_t stride = detail::row_stride(A.cols), size = detail::saturating_multiply(block, stride + block);
    detail::buffer<float> scratch;
    if (!scratch.allocate(size)) return detail::out_of_memory(detail::saturating_multiply(size, sizeof(float)));
    for (std::size_t end = A.cols; end > 0;) {
        const std::size_t first = end > block ? end - block : 0;
        const detail::cholesky_step step{
            *rows, A,  {scratch.data(), block, first, stride}, {scratch.data() + block * stride, block, block},
            first, end};
        if (const std::size_t bad = detail::factor_diagonal(step); bad != end)
            return error{errc::not_positive,
                         "not positive definite: the pivot of column {0} is not a positive number",
                         "A",
                         {bad}};
        how.run.run(detail::divide_up(first, block), [&](std::size_t i, std::size_t) {
            detail::solve_panel(step, i * block, detail::smaller_size(block, first - i * block));
        });
        how.run.run(detail::divide_up(first, chunk),
                    [&](std::size_t i, std::size_t) { detail::update_rows(step, i * chunk); });
        end = first;
    }
    return {};
}

}  // namespace qlib::inline QLIB_ABI::inline QLIB_BASE
QLIB_EXACT_END
