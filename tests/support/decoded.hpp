#pragma once
// What weights mean, as a vector.
#include <doctest/doctest.h>
#include <qlib/dequantize.hpp>

#include <vector>

template <class F> std::vector<float> decoded(qlib::qview<F> q) {
    std::vector<float> y(q.rows() * q.cols());
    REQUIRE(qlib::dequantize(q, {y.data(), q.rows(), q.cols()}).ok());
    return y;
}
template <class F> std::vector<float> decoded(const qlib::qmatrix<F>& q) { return decoded(q.view()); }
template <class F> std::vector<float> decoded(std::span<const std::byte> bytes, std::size_t rows, std::size_t cols) {
    return decoded(*qlib::qview<F>::over(bytes, rows, cols));
}
