#pragma once
// The weights of a tensor as floats, however its file stores them.
#include "../common/failure.hpp"
#include "codecs.hpp"
#include "model.hpp"

/// Of a row of weights in the file, as long as if it lay there in one piece.
inline std::size_t bytes_of_row(const source_tensor& t) {
    return t.fp8 ? t.cols() : find_codec(static_cast<std::uint32_t>(*t.type))->bytes(1, t.cols());
}

namespace stored {

/// out.rows rows from row `first` of what is stored on; `data` begins there.
inline void read(const source_tensor& t, std::span<const std::byte> data, std::uint64_t first,
                 qlib::matrix_view<float> out, qlib::executor_ref run) {
    if (t.fp8) t.fp8->decode(data, first, out, run);
    else
        check(find_codec(static_cast<std::uint32_t>(*t.type))->decode(data, out.rows, 0, out, {.run = run}), t.title());
    release(*t.file, data);
}

}  // namespace stored

/// Rows from row `first` on. Of a matrix that is stored transposed it must be all of them.
inline void read_rows(const source_tensor& t, std::uint64_t first, qlib::matrix_view<float> out,
                      qlib::executor_ref run) {
    if (!t.transposed) {
        const std::size_t row_bytes = bytes_of_row(t);
        return stored::read(t, t.data.subspan(first * row_bytes, out.rows * row_bytes), first, out, run);
    }
    std::vector<float> columns(out.cols * t.transposed->cols);
    const qlib::matrix_view<float> all{columns.data(), out.cols, static_cast<std::size_t>(t.transposed->cols)};
    stored::read(t, t.data, 0, all, run);
    run.run(out.rows, [&](std::size_t r, std::size_t) {
        float* const row = out.row(r);
        for (std::size_t c = 0; c < out.cols; ++c) row[c] = all.row(c)[t.transposed->first + r];
    });
}
