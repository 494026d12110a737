#pragma once
// dequantize: any format back to floats.
#include "format/format.hpp"
#include "room/rooms.hpp"
#include "store/qmatrix.hpp"

namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

template <class Room, block_format F, bool Halves>
inline constexpr decoder_kernels decoder_kernels_in = Room::template decoder_of<F, Halves>();

/// `Halves`: whether it may be decoded to f16 and bf16, too.
template <block_format F, bool Halves = true> decode_job decode_job_of(const qview<F>& q) noexcept {
    return {&q,
            q.rows(),
            q.cols(),
            block_size<F>,
            q.sliceable(),
            [](isa room) noexcept -> const decoder_kernels& {
                return *with_room(room, [](auto in) { return &decoder_kernels_in<decltype(in), F, Halves>; });
            },
            &with_decoding_space<block_size<F>>};
}

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE

namespace qlib::inline QLIB_ABI::inline QLIB_BASE {

/// Turns a quantized matrix back into floats: s * level, s * (level - z) or
/// s * level + z of its group, times the outer scale.
///
/// q       rows x cols weights in format F, at any address; a qmatrix<F> or a qview<F>
/// out     rows x cols of float, f16 or bf16, row-major, any row stride; may not overlap q
/// error   shape when the shapes differ, unsupported when call.room cannot be had: nothing is written then; cancelled
/// exact   the roundings of the formula, and one more to f16 or bf16; the same bits on every instruction
///         set, for any number of threads and under any compiler flag. Any bytes decode: what is not a
///         number becomes the NaN with the bits 7FC00000
/// scratch none
template <block_format F> [[nodiscard]] status dequantize(qview<F> q, floats_span out, call how = {}) noexcept {
    return detail::dequantize_to(detail::decode_job_of<F>(q), out, how);
}
template <block_format F>
[[nodiscard]] status dequantize(const qmatrix<F>& q, floats_span out, call how = {}) noexcept {
    return dequantize<F>(q.view(), out, how);
}
/// The same to what is known to be floats: no way to others is compiled.
template <block_format F, std::same_as<matrix_view<float>> Out>
[[nodiscard]] status dequantize(qview<F> q, Out out, call how = {}) noexcept {
    return detail::dequantize_to(detail::decode_job_of<F, false>(q), out, how);
}
template <block_format F, std::same_as<matrix_view<float>> Out>
[[nodiscard]] status dequantize(const qmatrix<F>& q, Out out, call how = {}) noexcept {
    return dequantize<F>(q.view(), out, how);
}

/// Rows ids[0], ids[1], ... of q, an embedding look-up: out.row(i) is row ids[i]. Ids may repeat.
/// error: also shape for an id beyond the last row, and unsliceable; nothing is written then
template <block_format F>
[[nodiscard]] status dequantize_rows(qview<F> q, std::span<const std::uint32_t> ids, floats_span out,
                                     call how = {}) noexcept {
    return detail::dequantize_rows_to(detail::decode_job_of<F>(q), ids, out, how);
}
template <block_format F>
[[nodiscard]] status dequantize_rows(const qmatrix<F>& q, std::span<const std::uint32_t> ids, floats_span out,
                                     call how = {}) noexcept {
    return dequantize_rows<F>(q.view(), ids, out, how);
}

}  // namespace qlib::inline QLIB_ABI::inline QLIB_BASE
