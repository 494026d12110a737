#pragma once
// What weights mean by the definition of their format: without any room.
#include <qlib/kernel/decode_block.hpp>
#include <qlib/store/qmatrix.hpp>

#include <algorithm>
#include <vector>

template <class F> std::vector<float> defined(qlib::qview<F> q) {
    std::vector<float> y(q.rows() * q.cols());
    const auto [rows, cols] = qlib::detail::wire_shape_of<F>(q.rows(), q.cols());
    for (std::size_t r = 0; r < rows; ++r)
        for (std::size_t c = 0; c < cols; c += qlib::block_size<F>)
            qlib::detail::decode_block<F>(q, r, c / qlib::block_size<F>, std::min(qlib::block_size<F>, cols - c),
                                          y.data() + r * cols + c);
    return y;
}
template <class F> std::vector<float> defined(const qlib::qmatrix<F>& q) { return defined(q.view()); }
