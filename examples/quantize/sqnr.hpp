#pragma once
// Signal-to-quantization-noise ratio: what a format keeps of the weights.
#include <qlib/core/call.hpp>
#include <qlib/core/matrix_view.hpp>

#include <cmath>
#include <span>
#include <vector>

/// Sums of squares: of the weights, and of what was lost of them.
struct energy {
    double signal = 0, noise = 0;

    void add(const energy& other) {
        signal += other.signal;
        noise += other.noise;
    }
    /// In dB; infinite when nothing was lost.
    [[nodiscard]] double sqnr() const { return noise > 0 ? 10 * std::log10(signal / noise) : INFINITY; }
};

/// Compares rows with what their codes mean. `weighted` counts each square as often as its column's importance says; empty: not at all.
/// Rows are added in order: the same sums for any number of threads.
inline void measure(qlib::matrix_view<const float> W, qlib::matrix_view<const float> decoded, std::span<const float> importance,
                    qlib::executor_ref run, energy& plain, energy& weighted) {
    std::vector<energy> of_row(W.rows), weighted_row(importance.empty() ? 0 : W.rows);
    run.run(W.rows, [&](std::size_t r, std::size_t) {
        const float *w = W.row(r), *d = decoded.row(r);
        energy sums, by_importance;
        for (std::size_t c = 0; c < W.cols; ++c) {
            const double x = static_cast<double>(w[c]), lost = x - static_cast<double>(d[c]);
            sums.add({x * x, lost * lost});
            if (importance.empty()) continue;
            const double i = static_cast<double>(importance[c]);
            by_importance.add({i * x * x, i * lost * lost});
        }
        of_row[r] = sums;
        if (!importance.empty()) weighted_row[r] = by_importance;
    });
    for (const energy& e : of_row) plain.add(e);
    for (const energy& e : weighted_row) weighted.add(e);
}
