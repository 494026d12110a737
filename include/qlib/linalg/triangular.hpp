#pragma once
// The inverse of an upper triangular matrix.
#include "../core/memory.hpp"
#include "../numeric/exact.hpp"
#include "rows.hpp"

QLIB_EXACT_BEGIN
namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

inline constexpr std::size_t inverse_block = 64, inverse_cols = 256, inverse_chunk = 16;

/// Rows [first, end) of an inversion whose later rows are done.
struct inverse_step {
    row_kernels rows;
    matrix_view<float> A;  ///< (k, k): U below row `end`
    matrix_view<float> M;  ///< (block, k): a copy of the rows of M, as U takes their place
    std::size_t first, end;

    /// rows [row, row + count) of columns [col, last) of A += M(rows, t) * U(t, columns) for t = from - 1, ... to
    void add(std::size_t row, std::size_t count, std::size_t col, std::size_t last, std::size_t from,
             std::size_t to) const noexcept {
        rows.add_product({A.row(row) + col, count, last - col, A.stride},
                         {M.row(row - first) + from - 1, signed_size(M.stride), -1},
                         {A.row(from - 1) + col, -signed_size(A.stride)}, from - to);
    }
};

/// The block's own triangle.
inline void invert_diagonal(const inverse_step& s) noexcept {
    for (std::size_t i = s.end; i-- > s.first;) {
        const float pivot = s.M(i - s.first, i);
        s.A(i, i) = 1.0f / pivot;
        for (std::size_t j = i + 1; j < s.end; ++j) {
            float sum = 0;
            for (std::size_t t = j; t > i; --t) sum = __builtin_fmaf(s.M(i - s.first, t), s.A(t, j), sum);
            s.A(i, j) = -sum / pivot;
        }
    }
}

/// Columns [col, last) of the block's rows, all right of its triangle.
inline void invert_columns(const inverse_step& s, std::size_t col, std::size_t last) noexcept {
    const std::size_t count = s.end - s.first;
    for (std::size_t r = s.first; r < s.end; ++r)
        for (std::size_t j = col; j < last; ++j) s.A(r, j) = 0;
    for (std::size_t top = last; top > col;) {  // rows t of U that start inside these columns, in chunks
        const std::size_t t = top - col > inverse_chunk ? top - inverse_chunk : col;
        for (std::size_t j = top; j-- > t;) s.add(s.first, count, j, top, j + 1, j);
        s.add(s.first, count, top, last, top, t);
        top = t;
    }
    s.add(s.first, count, col, last, col, s.end);
    for (std::size_t i = s.end; i-- > s.first;) {
        s.add(i, 1, col, last, s.end, i + 1);
        const float pivot = s.M(i - s.first, i);
        for (std::size_t j = col; j < last; ++j) s.A(i, j) = -s.A(i, j) / pivot;
    }
}

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE

namespace qlib::inline QLIB_ABI::inline QLIB_BASE {

/// U = M^-1 in place, both upper triangular.
///
/// M      (k, k) row-major: its upper triangle with the diagonal is read and becomes U; the rest is neither read nor
///        written
/// error  not_positive with the first column {0} of U that is not finite (U is then
///        of no use), shape, memory, unsupported
/// exact  the same bits on every instruction set and for any number of threads: U_jj = 1 / M_jj, and for i < j
///        U_ij = -(M_ij U_jj + ... + M_i,i+1 U_i+1,j) / M_ii, a chain from 0 with one FMA per t = j, j-1, ... i+1
[[nodiscard]] inline status invert_upper(matrix_view<float> M, call how = {}) noexcept {
    constexpr std::size_t block = detail::inverse_block, width = detail::inverse_cols;
    if (M.rows != M.cols)
        return error{errc::shape, "a matrix to invert must be square, but it is {0} x {1}", "M", {M.rows, M.cols}};
    if (const status s = detail::check_view(M, "M"); !s) return s;
    const auto rows = detail::open_rows(how);
    if (!rows) return rows.error();
    const std::size_t k = M.cols, stride = detail::row_stride(k), size = detail::saturating_multiply(block, stride);
    detail::buffer<float> copy;
    if (!copy.allocate(size)) return detail::out_of_memory(detail::saturating_multiply(size, sizeof(float)));
    for (std::size_t end = k; end > 0;) {
        const std::size_t first = end > block ? end - block : 0;
        const detail::inverse_step step{*rows, M, {copy.data(), block, k, stride}, first, end};
        for (std::size_t r = first; r < end; ++r)
            std::memcpy(step.M.row(r - first) + r, M.row(r) + r, (k - r) * sizeof(float));
        detail::invert_diagonal(step);
        how.run.run(detail::divide_up(k - end, width), [&](std::size_t i, std::size_t) {
            detail::invert_columns(step, end + i * width, detail::smaller_size(k, end + (i + 1) * width));
        });
        end = first;
    }
    // An infinity or a NaN anywhere in a column of U makes all above it one too: the first row knows.
    for (std::size_t j = 0; j < k; ++j)
        if (!detail::is_finite(M(0, j)))
            return error{errc::not_positive, "no finite inverse: column {0} overflows", "M", {j}};
    return {};
}

}  // namespace qlib::inline QLIB_ABI::inline QLIB_BASE
QLIB_EXACT_END
