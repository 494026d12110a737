#pragma once
// dequantize: any format back to floats.
#include "core/parallel.hpp"
#include "format/format.hpp"
#include "kernel/rooms.hpp"
#include "store/qmatrix.hpp"

namespace qlib::inline v0::detail::inline QLIB_BASE {

/// Decodes wire rows [first, first + count) straight into the rows of `out`.
template <class Room, block_format F>
void dequantize_rows(const qview<F>& q, matrix_view<float> out, std::size_t first, std::size_t count) noexcept {
    for (std::size_t r = first; r < first + count; ++r)
        Room::template decode_blocks<F>(q, r, 0, divide_up(q.cols(), block_size<F>), q.cols(), out.row(r));
}

/// Decodes blocks [first, first + count) of a matrix whose blocks run over row ends.
template <class Room, block_format F>
void dequantize_flat(const qview<F>& q, matrix_view<float> out, std::size_t first, std::size_t count) noexcept {
    const std::size_t total = q.rows() * q.cols();
    float x[block_size<F>];
    for (std::size_t b = first; b < first + count; ++b) {
        Room::template decode_blocks<F>(q, 0, b, b + 1, total, x);
        for (std::size_t e = b * block_size<F>, end = smaller_size(total, e + block_size<F>), done = 0; e < end;) {
            const std::size_t n = smaller_size(end - e, q.cols() - e % q.cols());
            std::memcpy(out.row(e / q.cols()) + e % q.cols(), x + done, n * sizeof(float));
            e += n;
            done += n;
        }
    }
}

}  // namespace qlib::inline v0::detail::inline QLIB_BASE

namespace qlib::inline v0::inline QLIB_BASE {

/// Turns a quantized matrix back into floats: s * level, s * (level - z) or s * level + z of its group, times the outer scale.
///
/// q      rows x cols weights in format F, at any address
/// out    rows x cols floats, row-major, any row stride; may not overlap q
/// error  shape when the shapes differ, unsupported when call.room cannot be had: nothing is written then; cancelled
/// exact  the roundings of the formula; the same bits on every instruction set, for any number of threads and under any compiler
///        flag. Any bytes decode: what is not a number becomes the NaN with the bits 7FC00000
template <block_format F>
[[nodiscard]] status dequantize(qview<F> q, matrix_view<float> out, call how = {}) noexcept {
    if (out.rows != q.rows() || out.cols != q.cols())
        return error{errc::shape, "{0} x {1} weights into a {2} x {3} matrix", "out", {q.rows(), q.cols(), out.rows, out.cols}};
    if (const status s = check_room(how.room); !s) return s;
    return detail::with_room(how.room, [&](auto room) -> status {
        using Room = decltype(room);
        if (how.report != nullptr) *how.report = {Room::id, "", detail::path_of<Room, F>};
        if (q.rows() == 0 || q.cols() == 0) return {};
        const bool by_rows = q.sliceable();
        const std::size_t pieces = by_rows ? q.rows() : detail::divide_up(q.rows() * q.cols(), block_size<F>);
        const std::size_t step = detail::divide_up(pieces, detail::saturating_multiply(how.run.workers(), 8));
        return detail::for_each_task(how, detail::divide_up(pieces, step), [&](std::size_t i, std::size_t) -> status {
            const std::size_t count = detail::smaller_size(step, pieces - i * step);
            if (by_rows) detail::dequantize_rows<Room, F>(q, out, i * step, count);
            else detail::dequantize_flat<Room, F>(q, out, i * step, count);
            return {};
        });
    });
}
template <block_format F>
[[nodiscard]] status dequantize(const qmatrix<F>& q, matrix_view<float> out, call how = {}) noexcept {
    return dequantize<F>(q.view(), out, how);
}

}  // namespace qlib::inline v0::inline QLIB_BASE
