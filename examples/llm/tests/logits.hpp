#pragma once
// Two models that should be one.
#include "../transformer.hpp"

/// How far the logits of two models are from each other at most, on a few tokens.
inline float furthest_logit(const model& a, const model& b) {
    qlib::thread_pool pool(2);
    const std::vector<token> tokens{1, 200, 17, 260, 3, 99, 5, 255, 42};
    transformer x(a, pool, 16, 16, {.mode = qlib::compute::exact}), y(b, pool, 16, 16, {.mode = qlib::compute::exact});
    x.forward(tokens);
    y.forward(tokens);
    const auto p = x.logits(0, tokens.size()), q = y.logits(0, tokens.size());
    float most = 0;
    for (std::size_t i = 0; i < p.rows * p.cols; ++i) most = std::max(most, std::abs(p.data[i] - q.data[i]));
    return most;
}
