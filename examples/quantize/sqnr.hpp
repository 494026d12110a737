#pragma once
// Signal-to-quantization-noise ratio: what a format keeps of the weights.
#include <qlib/dequantize.hpp>

#include <algorithm>
#include <cmath>
#include <vector>

/// Sums of squares: of the weights, and of what was lost of them.
struct energy {
    double signal = 0, noise = 0;

    void add(float weight, float decoded) {
        const double w = static_cast<double>(weight), lost = w - static_cast<double>(decoded);
        signal += w * w;
        noise += lost * lost;
    }
    void add(const energy& other) {
        signal += other.signal;
        noise += other.noise;
    }
    /// In dB; infinite when nothing was lost.
    [[nodiscard]] double sqnr() const { return noise > 0 ? 10 * std::log10(signal / noise) : INFINITY; }
};

/// Decodes a matrix and compares it with its original, a strip of rows at a time: a whole one more in floats could be gigabytes.
template <qlib::block_format F>
qlib::status measure(qlib::matrix_view<const float> W, qlib::qview<F> q, qlib::call how, energy& sums) {
    constexpr std::size_t strip = 1024;
    std::vector<float> decoded(std::min(strip, W.rows) * W.cols);
    std::vector<energy> of_row(W.rows);  // added up in order: the same sum for any number of threads
    for (std::size_t first = 0; first < W.rows; first += strip) {
        const std::size_t count = std::min(strip, W.rows - first);
        const auto rows = q.row_range(first, count);
        if (!rows) return rows.error();
        if (const qlib::status s = qlib::dequantize<F>(*rows, {decoded.data(), count, W.cols}, how); !s) return s;
        how.run.run(count, [&](std::size_t r, std::size_t) {
            for (std::size_t c = 0; c < W.cols; ++c) of_row[first + r].add(W(first + r, c), decoded[r * W.cols + c]);
        });
    }
    for (const energy& e : of_row) sums.add(e);
    return {};
}
