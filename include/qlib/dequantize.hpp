#pragma once
// dequantize: any format back to floats.
#include "core/parallel.hpp"
#include "format/format.hpp"
#include "kernel/rooms.hpp"
#include "store/encode.hpp"
#include "store/qmatrix.hpp"

QLIB_EXACT_BEGIN
namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

/// Decodes wire row r of `cols` weights, blocks [first, end), to out[0] on.
template <class Room, block_format F, weight_source T>
void decode_row(const qview<F>& q, std::size_t r, std::size_t first, std::size_t end, std::size_t cols, T* out, bool streamed) noexcept {
    using made = std::conditional_t<Room::template looks_up<F, T>, T, float>;
    if constexpr (std::same_as<T, made>)
        if (!streamed) return Room::template decode_blocks<F>(q, r, first, end, cols, out);
    constexpr std::size_t piece = divide_up(1024 / sizeof(T), block_size<F>), line = 64;  // so few that a core decodes the next ones while memory takes these
    alignas(line) std::byte space[(line + piece * block_size<F>) * sizeof(made)];  // bytes: numbers would be set to zero first
    made* const x = reinterpret_cast<made*>(space) + line;
    for (std::size_t b = first, held = 0; b < end; b += piece) {
        const std::size_t last = smaller_size(b + piece, end), fresh = smaller_size(last * block_size<F>, cols) - b * block_size<F>, n = held + fresh;
        Room::template decode_blocks<F>(q, r, b, last, cols, x);
        // A line of which only a part is written makes all later stores wait until it is read.
        const std::size_t rest = streamed && last != end ? (reinterpret_cast<std::uintptr_t>(out + n) % line) / sizeof(T) : 0, now = n - smaller_size(rest, n);
        Room::put(x - held, now, out, streamed);
        std::memmove(static_cast<void*>(x - (n - now)), x + fresh - (n - now), (n - now) * sizeof(made));
        held = n - now;
        out += now;
    }
}

/// Decodes blocks [first, first + count) of a matrix whose blocks run over row ends.
template <class Room, block_format F, weight_source T>
void decode_flat(const qview<F>& q, matrix_view<T> out, std::size_t first, std::size_t count, bool streamed) noexcept {
    const std::size_t total = q.rows() * q.cols();
    float x[block_size<F>];
    for (std::size_t b = first; b < first + count; ++b) {
        Room::template decode_blocks<F>(q, 0, b, b + 1, total, x);
        for (std::size_t e = b * block_size<F>, end = smaller_size(total, e + block_size<F>), done = 0; e < end;) {
            const std::size_t n = smaller_size(end - e, q.cols() - e % q.cols());
            Room::put(x + done, n, out.row(e / q.cols()) + e % q.cols(), streamed);
            e += n;
            done += n;
        }
    }
}

/// Runs a decoder of `bytes` bytes in the call's room: decode(room, first, count, streamed) for all pieces.
template <block_format F, class Decode> status decode_in_room(std::size_t pieces, std::size_t bytes, const call& how, const Decode& decode) noexcept {
    if (const status s = check_room(how.room); !s) return s;
    return with_room(how.room, [&](auto room) -> status {
        using Room = decltype(room);
        if (how.report != nullptr) *how.report = {Room::id, "", path_of<Room, F>};
        if (pieces == 0) return {};
        const bool streamed = bytes >= streamed_from;
        const std::size_t step = divide_up(pieces, saturating_multiply(how.run.workers(), 8));
        return for_each_task(how, divide_up(pieces, step), [&](std::size_t i, std::size_t) -> status {
            decode(room, i * step, smaller_size(step, pieces - i * step), streamed);
            if (streamed) Room::end_stream();
            return {};
        });
    });
}

template <block_format F, weight_source T> status dequantize_to(const qview<F>& q, matrix_view<T> out, const call& how) noexcept {
    if (out.rows != q.rows() || out.cols != q.cols())
        return error{errc::shape, "{0} x {1} weights into a {2} x {3} matrix", "out", {q.rows(), q.cols(), out.rows, out.cols}};
    if (const status s = check_view(out, "out"); !s) return s;
    const bool by_rows = q.sliceable();
    const std::size_t pieces = q.cols() == 0 ? 0 : by_rows ? q.rows() : divide_up(q.rows() * q.cols(), block_size<F>);
    return decode_in_room<F>(pieces, out.rows * out.cols * sizeof(T), how, [&](auto room, std::size_t first, std::size_t count, bool streamed) {
        using Room = decltype(room);
        if (!by_rows) return decode_flat<Room, F>(q, out, first, count, streamed);
        for (std::size_t r = first; r < first + count; ++r) decode_row<Room, F>(q, r, 0, divide_up(q.cols(), block_size<F>), q.cols(), out.row(r), streamed);
    });
}

template <block_format F, weight_source T>
status dequantize_rows_to(const qview<F>& q, std::span<const std::uint32_t> ids, matrix_view<T> out, const call& how) noexcept {
    if (out.rows != ids.size() || out.cols != q.cols())
        return error{errc::shape, "{0} rows of {1} weights into a {2} x {3} matrix", "out", {ids.size(), q.cols(), out.rows, out.cols}};
    if (const status s = check_view(out, "out"); !s) return s;
    if (!q.sliceable()) return error{errc::unsliceable, "blocks of {0} run over the ends of rows of {1}", "q", {block_size<F>, q.cols()}};
    for (std::size_t i = 0; i < ids.size(); ++i)
        if (ids[i] >= q.rows()) return error{errc::shape, "id {0} is {1}, of {2} rows", "ids", {i, ids[i], q.rows()}};
    return decode_in_room<F>(q.cols() == 0 ? 0 : ids.size(), out.rows * out.cols * sizeof(T), how, [&](auto room, std::size_t first, std::size_t count, bool streamed) {
        for (std::size_t i = first; i < first + count; ++i)
            decode_row<decltype(room), F>(q, ids[i], 0, divide_up(q.cols(), block_size<F>), q.cols(), out.row(i), streamed);
    });
}

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE
QLIB_EXACT_END

namespace qlib::inline QLIB_ABI::inline QLIB_BASE {

/// Turns a quantized matrix back into floats: s * level, s * (level - z) or s * level + z of its group, times the outer scale.
///
/// q       rows x cols weights in format F, at any address
/// out     rows x cols of float, f16 or bf16, row-major, any row stride; may not overlap q
/// error   shape when the shapes differ, unsupported when call.room cannot be had: nothing is written then; cancelled
/// exact   the roundings of the formula, and one more to f16 or bf16; the same bits on every instruction set, for any number of threads and under
///         any compiler flag. Any bytes decode: what is not a number becomes the NaN with the bits 7FC00000
/// scratch none
template <block_format F, weight_source T>
[[nodiscard]] status dequantize(qview<F> q, matrix_view<T> out, call how = {}) noexcept {
    return detail::dequantize_to<F>(q, out, how);
}
template <block_format F, weight_source T>
[[nodiscard]] status dequantize(const qmatrix<F>& q, matrix_view<T> out, call how = {}) noexcept {
    return detail::dequantize_to<F>(q.view(), out, how);
}
template <block_format F> [[nodiscard]] status dequantize(qview<F> q, matrix_view<float> out, call how = {}) noexcept { return detail::dequantize_to<F>(q, out, how); }
template <block_format F> [[nodiscard]] status dequantize(const qmatrix<F>& q, matrix_view<float> out, call how = {}) noexcept {
    return detail::dequantize_to<F>(q.view(), out, how);
}

/// Rows ids[0], ids[1], ... of q, an embedding look-up: out.row(i) is row ids[i]. Ids may repeat.
/// error: also shape for an id beyond the last row, and unsliceable; nothing is written then
template <block_format F, weight_source T>
[[nodiscard]] status dequantize_rows(qview<F> q, std::span<const std::uint32_t> ids, matrix_view<T> out, call how = {}) noexcept {
    return detail::dequantize_rows_to<F>(q, ids, out, how);
}
template <block_format F, weight_source T>
[[nodiscard]] status dequantize_rows(const qmatrix<F>& q, std::span<const std::uint32_t> ids, matrix_view<T> out, call how = {}) noexcept {
    return detail::dequantize_rows_to<F>(q.view(), ids, out, how);
}
template <block_format F>
[[nodiscard]] status dequantize_rows(qview<F> q, std::span<const std::uint32_t> ids, matrix_view<float> out, call how = {}) noexcept {
    return detail::dequantize_rows_to<F>(q, ids, out, how);
}
template <block_format F>
[[nodiscard]] status dequantize_rows(const qmatrix<F>& q, std::span<const std::uint32_t> ids, matrix_view<float> out, call how = {}) noexcept {
    return detail::dequantize_rows_to<F>(q.view(), ids, out, how);
}

}  // namespace qlib::inline QLIB_ABI::inline QLIB_BASE
