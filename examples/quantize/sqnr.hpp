#pragma once
// What a format keeps of the weights, in any number of threads.
#include <qlib/core/call.hpp>
#include <qlib/core/matrix_view.hpp>
#include <qlib/evaluate/metrics.hpp>

#include <span>
#include <vector>

/// Compares rows with what their codes mean. `weighted` counts each square as often as its column's importance says;
/// empty: not at all. Rows are added in order: the same sums for any number of threads.
inline void measure(qlib::matrix_view<const float> W, qlib::matrix_view<const float> decoded,
                    std::span<const float> importance, qlib::executor_ref run, qlib::sqnr& plain,
                    qlib::sqnr& weighted) {
    std::vector<qlib::sqnr> of_row(W.rows), weighted_row(importance.empty() ? 0 : W.rows);
    run.run(W.rows, [&](std::size_t r, std::size_t) {
        const float *w = W.row(r), *d = decoded.row(r);
        qlib::sqnr sums, by_importance;
        for (std::size_t c = 0; c < W.cols; ++c) {
            sums.add(w[c], d[c]);
            if (!importance.empty()) by_importance.add(w[c], d[c], importance[c]);
        }
        of_row[r] = sums;
        if (!importance.empty()) weighted_row[r] = by_importance;
    });
    for (const qlib::sqnr& s : of_row) plain.add(s);
    for (const qlib::sqnr& s : weighted_row) weighted.add(s);
}
