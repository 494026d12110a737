#pragma once
// What happens to the weights after loading: quantizing them in memory, so that formats without a file of their own can
// be measured too, and asking qgemm whether it takes them.
#include "model.hpp"

#include <qlib/core/thread_pool.hpp>

inline bool is_float(qlib::format_id format) {
    return format == qlib::format_id::dense_f32 || format == qlib::format_id::dense_f16 ||
           format == qlib::format_id::dense_bf16;
}

/// Whether qgemm multiplies by a matrix, and rows of it can be looked up: a product and a look-up of no rows at all.
inline qlib::status accepts(const qlib::any_view& weights, qlib::gemm_options options) {
    if (const qlib::status s = qlib::dequantize_rows(weights, {}, {nullptr, 0, weights.cols}); !s) return s;
    return qlib::qgemm({nullptr, 0, weights.rows}, {nullptr, 0, weights.cols}, weights, options);
}

/// Refuses a model whose products would fail later, with the first such matrix.
inline void check_products(model& m, qlib::gemm_options options) {
    m.for_each_matrix([&](const matrix& w) { check(accepts(w.weights, options), w.title()); });
}

/// Quantizes all matrices that are plain floats, embedding and output too. Those whose rows the format
/// cannot hold stay as they are. Returns their number.
inline std::size_t load_as(model& m, qlib::format_id format, qlib::thread_pool& threads) {
    std::size_t kept = 0;
    std::vector<float> floats;
    m.for_each_matrix([&](matrix& w) {
        if (!is_float(w.weights.format) || w.weights.format == format) return;
        floats.resize(w.weights.rows * w.weights.cols);
        const qlib::matrix_view<float> W{floats.data(), w.weights.rows, w.weights.cols};
        check(qlib::dequantize(w.weights, W, {.run = threads}), w.title());
        auto q = qlib::quantize(format, W, {.fit = qlib::fit::search}, {.run = threads});
        const qlib::status usable = q ? accepts(*q, {}) : qlib::status(q.error());
        if (usable.error().code == qlib::errc::ragged || usable.error().code == qlib::errc::unsliceable)
            return void(++kept);
        check(usable, w.title());
        w.weights = m.made.emplace_back(std::move(*q)).view();  // moving a matrix leaves its bytes where they are
    });
    return kept;
}

/// What the weights of all matrices take.
struct weights_size {
    std::size_t weights = 0, bytes = 0;
    [[nodiscard]] double bits_per_weight() const {
        return 8.0 * static_cast<double>(bytes) / static_cast<double>(weights);
    }
};
inline weights_size size_of_weights(model& m) {
    weights_size s;
    m.for_each_matrix([&](const matrix& w) {
        s.weights += w.weights.rows * w.weights.cols;
        s.bytes += w.weights.bytes.size() + w.weights.options.outer.size();
    });
    return s;
}
