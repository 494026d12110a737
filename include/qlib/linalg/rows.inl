// No #pragma once: each room includes this text. y += c * x, where every element is one chain of FMAs in one order. No
// intrinsics: both compilers turn the inner loop of row_tile() into 16 FMAs on full vectors per 8 loads.

static constexpr std::size_t row_strip = 256;

/// y(r, j) += sum over t < depth of c(r, t) * x(t, j): one FMA per term, t = 0, 1, ... for every element.
/// y may overlap neither c nor x; x.col is taken as 1.
static void add_product(matrix_view<float> y, strided c, strided x, std::size_t depth) noexcept {
    constexpr std::size_t strip = row_strip, step = 8;  // 8 rows of a strip of x, 8 KiB, stay in L1 for all rows of y
    if (y.rows == 0) return;
    for (std::size_t j = 0; j < y.cols; j += strip) {
        const std::size_t count = y.cols - j < strip ? y.cols - j : strip;
        const matrix_view<float> part{y.data + j, y.rows, count, y.stride};
        std::size_t t = 0;
        for (; t + step <= depth; t += step) add_terms<step>(part, c.from(0, t), x.from(t, j));
        for (; t < depth; ++t) add_terms<1>(part, c.from(0, t), x.from(t, j));
    }
}

template <int Terms> static void add_terms(matrix_view<float> y, strided c, strided x) noexcept {
    std::size_t r = 0;
    for (; r + 2 <= y.rows; r += 2) row_tile<2, Terms>(y.cols, c.from(r, 0), x.data, x.row, y.row(r), y.row(r + 1));
    if (r == y.rows) return;
    if constexpr (Terms == 1) {  // rarely: with itself as a second row, which nobody reads
        float none[row_strip] = {};
        row_tile<2, Terms>(y.cols, {c.from(r, 0).data, 0, c.col}, x.data, x.row, y.row(r), none);
    } else {
        row_tile<1, Terms>(y.cols, c.from(r, 0), x.data, x.row, y.row(r), nullptr);
    }
}

/// One or two rows of y; the coefficients stay in registers.
template <int Rows, int Terms>
static void row_tile(std::size_t n, strided c, const float* __restrict x, std::ptrdiff_t x_row, float* __restrict y0,
                     float* __restrict y1) noexcept {
    float a[Terms], b[Terms];
#pragma GCC unroll 8
    for (int t = 0; t < Terms; ++t) {
        a[t] = c.data[t * c.col];
        b[t] = Rows == 2 ? c.data[c.row + t * c.col] : 0.0f;
    }
    for (std::size_t j = 0; j < n; ++j) {
        float u = y0[j], v = Rows == 2 ? y1[j] : 0.0f;
#pragma GCC unroll 8
        for (int t = 0; t < Terms; ++t) {
            const float z = x[t * x_row + static_cast<std::ptrdiff_t>(j)];
            u = __builtin_fmaf(a[t], z, u);
            if constexpr (Rows == 2) v = __builtin_fmaf(b[t], z, v);
        }
        y0[j] = u;
        if constexpr (Rows == 2) y1[j] = v;
    }
}
