#pragma once
// H += X^T X: the second moments of activations.
#include "rows.hpp"

QLIB_EXACT_BEGIN
namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

inline constexpr std::size_t syrk_tokens = 256, syrk_rows = 16, syrk_cols = 256;

/// Rows [i, i + syrk_rows) of H += X^T X for at most syrk_tokens rows of X.
inline void syrk_band(row_kernels rows, matrix_view<float> H, matrix_view<const float> X, std::size_t i) noexcept {
    const std::size_t end = smaller_size(i + syrk_rows, H.rows);
    for (std::size_t j = 0; j < end; j += syrk_cols) {
        float sums[syrk_rows * syrk_cols] = {};
        const matrix_view<float> tile{sums, end - i, smaller_size(syrk_cols, end - j), syrk_cols};
        rows.add_product(tile, {X.data + i, 1, signed_size(X.stride)}, {X.data + j, signed_size(X.stride)}, X.rows);
        for (std::size_t r = i; r < end; ++r) {
            float* h = H.row(r) + j;
            const float* s = tile.row(r - i);
            for (std::size_t c = 0; c < tile.cols && j + c <= r; ++c) h[c] += s[c];
        }
    }
}

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE

namespace qlib::inline QLIB_ABI::inline QLIB_BASE {

/// H += X^T X, the lower triangle with the diagonal; the rest of H is neither read nor written.
///
/// H      (k, k) row-major
/// X      (n, k) row-major
/// error  shape when they disagree, unsupported when call.room cannot be had; nothing is written then
/// exact  the same bits on every instruction set and for any number of threads: the rows of X are taken in
///        blocks of 256, a block's sum starts at 0 and takes one FMA per row in order, then it is added to H.
///        Two levels keep the error of a float sum small.
[[nodiscard]] inline status syrk(matrix_view<float> H, matrix_view<const float> X, call how = {}) noexcept {
    if (H.rows != H.cols || X.cols != H.cols)
        return error{errc::shape, "X is {0} x {1}, but H is {2} x {3}", "X", {X.rows, X.cols, H.rows, H.cols}};
    if (const status s = detail::check_view(X, "X"); !s) return s;
    if (const status s = detail::check_view(H, "H"); !s) return s;
    const auto rows = detail::open_rows(how);
    if (!rows) return rows.error();
    const std::size_t bands = detail::divide_up(H.rows, detail::syrk_rows);
    for (std::size_t t = 0; t < X.rows; t += detail::syrk_tokens) {
        const auto block = X.row_range(t, detail::smaller_size(detail::syrk_tokens, X.rows - t));
        how.run.run(bands, [&](std::size_t i, std::size_t) {
            detail::syrk_band(*rows, H, block, (bands - 1 - i) * detail::syrk_rows);
        });
    }
    return {};
}

}  // namespace qlib::inline QLIB_ABI::inline QLIB_BASE
QLIB_EXACT_END
