#pragma once
// Matrices for the tests of linalg: random ones in foreign rows, and a comparison of bits.
#include "matrix.hpp"
#include "rooms.hpp"

#include <qlib/core/call.hpp>
#include <qlib/core/matrix_view.hpp>

#include <cstddef>
#include <cstring>
#include <limits>
#include <vector>

namespace sample {

/// A matrix whose rows are longer than they look, with NaN behind them: who reads there shows it.
struct padded {
    std::size_t rows, cols, stride = cols + 3;
    std::vector<float> data = std::vector<float>(rows * stride, std::numeric_limits<float>::quiet_NaN());
    [[nodiscard]] qlib::matrix_view<float> view() { return {data.data(), rows, cols, stride}; }
    float& operator()(std::size_t r, std::size_t c) { return data[r * stride + c]; }
    bool same_bits(const padded& other) const {
        if (data.size() != other.data.size()) return false;
        return data.empty() || std::memcmp(data.data(), other.data.data(), data.size() * sizeof(float)) == 0;
    }
};

inline padded normal_matrix(std::size_t rows, std::size_t cols, std::uint64_t seed) {
    random r{seed};
    padded m{rows, cols};
    for (std::size_t i = 0; i < rows; ++i)
        for (std::size_t j = 0; j < cols; ++j) m(i, j) = static_cast<float>(r.normal());
    return m;
}

/// Correlated columns of different sizes.
inline padded activations(std::size_t tokens, std::size_t cols, std::uint64_t seed) {
    padded m = normal_matrix(tokens, cols, seed);
    for (std::size_t t = 0; t < tokens; ++t)
        for (std::size_t j = 1; j < cols; ++j) m(t, j) = 0.5f * m(t, j - 1) + m(t, j) * (j % 5 == 0 ? 3.0f : 1.0f);
    return m;
}

/// Positive definite, in the upper triangle; below it NaN.
inline padded definite(std::size_t k, std::uint64_t seed) {
    padded X = activations(2 * k + 5, k, seed), A{k, k};
    for (std::size_t i = 0; i < k; ++i)
        for (std::size_t j = i; j < k; ++j) {
            double sum = i == j ? 1.0 : 0.0;
            for (std::size_t t = 0; t < X.rows; ++t) sum += double{X(t, i)} * double{X(t, j)};
            A(i, j) = static_cast<float>(sum);
        }
    return A;
}

/// Every way to run a call that must not change a bit; `check` is called with each.
template <class Executor, class Check> void every_way(const Executor& threads, const Check& check) {
    check(qlib::call{});
    check(qlib::call{.run = threads});
    for (const qlib::isa room : rooms()) {
        check(qlib::call{.room = room});
        check(qlib::call{.run = threads, .room = room});
    }
}

}  // namespace sample
