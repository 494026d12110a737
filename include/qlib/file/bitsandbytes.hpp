#pragma once
// bitsandbytes' 4-bit checkpoints (QLoRA's NF4, and FP4, with and without double quantization) to and from
// nf4, nf4_dq, fp4 and fp4_dq. Exact both ways.
//
//   auto parts = qlib::bitsandbytes_parts<nf4>(rows, cols, safetensors_type::bf16);     // names and shapes, no data
//   for (const auto& p : *parts) check(out.add_tensor(layer + "." + p.suffix, p.type, p.shape()));
//   check(qlib::export_bitsandbytes(matrix, safetensors_type::bf16, 0, bytes));         // the data of parts[0]
//
//   qlib::bitsandbytes_tensors t;
//   for (const safetensors_file& file : shards) check(qlib::find_bitsandbytes(file, layer, t));
//   auto matrix = qlib::import_bitsandbytes<nf4_dq>(t);                                 // result<qmatrix<nf4_dq>>
//
// source: bitsandbytes, functional.py (QuantState) and nn/modules.py
#include "../nf4.hpp"
#include "../store/qmatrix.hpp"
#include "bitsandbytes_state.hpp"

QLIB_EXACT_BEGIN
namespace qlib::inline QLIB_ABI {

/// The formats of these checkpoints.
template <class F>
concept bitsandbytes_format =
    std::same_as<F, nf4> || std::same_as<F, nf4_dq> || std::same_as<F, fp4> || std::same_as<F, fp4_dq>;

}  // namespace qlib::inline QLIB_ABI

namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

inline constexpr std::size_t nf4_block = block_size<nf4>;
inline constexpr std::size_t nested_block = nf4_dq::tile.cols / nf4_block;  // blocks to an abs-max of the second level

template <class F> inline constexpr bool is_nested = has_outer<F>;
template <class F> inline constexpr bool is_fp4 = std::same_as<typename F::grid, fp4_grid>;
template <class F>
inline constexpr const char* state_name =
    is_fp4<F> ? "weight.quant_state.bitsandbytes__fp4" : "weight.quant_state.bitsandbytes__nf4";
/// The levels of the codes.
template <class F>
inline constexpr auto code_table = [] {
    std::array<float, 16> table{};
    for (std::size_t i = 0; i < table.size(); ++i) table[i] = F::grid::level(i);
    return table;
}();

/// visit(wire row, block in it, its weights, its number) -> status for each block, in storage order, until one fails.
template <class View, class Visit> status for_each_flat_block(const View& q, const Visit& visit) noexcept {
    const auto shape = wire_shape_of<typename View::format_type>(q.rows(), q.cols());
    std::size_t index = 0;
    for (std::size_t r = 0; r < shape.rows; ++r)
        for (std::size_t c = 0; c < shape.cols; c += nf4_block, ++index)
            if (status s = visit(r, c / nf4_block, smaller_size(nf4_block, shape.cols - c), index); !s) return s;
    return {};
}

/// The floats of a codebook tensor must be the format's own: then codes mean what
/// they say. -0 for 0 would be another table.
inline bool same_table(const safetensors_tensor& t, std::span<const float> table) noexcept {
    for (std::size_t i = 0; i < table.size(); ++i)
        if (bits_of(load_float(t, i)) != bits_of(table[i])) return false;
    return true;
}

/// The abs-max of block i, as bitsandbytes decodes it.
[[nodiscard]] inline float absmax_of(const bitsandbytes_tensors& t, const bitsandbytes_state& state,
                                     std::size_t i) noexcept {
    if (!state.nested) return load_float(*t.absmax, i);
    const float level = load_float(*t.nested_quant_map, std::to_integer<std::size_t>(t.absmax->data[i]));
    return product(level, load_float(*t.nested_absmax, i / state.nested_blocksize)) + state.nested_offset;
}

/// What format F needs beyond a checkpoint that is well formed.
template <class F> status check_holds(const bitsandbytes_tensors& t, const bitsandbytes_state& state) noexcept {
    if (state.fp4 != is_fp4<F>)
        return error{errc::unsupported,
                     is_fp4<F> ? "nf4, where fp4 is asked for" : "fp4, where nf4 is asked for",
                     "quant_state",
                     {}};
    if (state.blocksize != nf4_block)
        return error{errc::unsupported,
                     "blocks of {0}, the format has blocks of {1}",
                     "quant_state",
                     {state.blocksize, nf4_block}};
    if (!same_table(*t.quant_map, code_table<F>))
        return error{errc::unsupported,
                     is_fp4<F> ? "the levels are not those of fp4" : "the levels are not those of nf4",
                     "quant_map",
                     {}};
    if constexpr (is_nested<F>) {
        constexpr const char* once = is_fp4<F> ? "the abs-max are not quantized: read it as fp4"
                                               : "the abs-max are not quantized: read it as nf4";
        constexpr const char* own = is_fp4<F> ? "the levels of the abs-max are not the usual ones: read it as fp4"
                                              : "the levels of the abs-max are not the usual ones: read it as nf4";
        if (!state.nested) return error{errc::unsupported, once, "quant_state", {}};
        if (state.nested_blocksize != nested_block)
            return error{errc::unsupported,
                         "abs-max in blocks of {0}, the format has blocks of {1}",
                         "quant_state",
                         {state.nested_blocksize, nested_block}};
        if (!same_table(*t.nested_quant_map, dynamic_map)) return error{errc::unsupported, own, "nested_quant_map", {}};
    }
    return {};
}

template <class F>
status import_blocks(const bitsandbytes_tensors& t, const bitsandbytes_state& state, qspan<F> out) noexcept {
    const std::byte* codes = t.weight->data.data();
    return for_each_flat_block(out, [&](std::size_t r, std::size_t b, std::size_t n, std::size_t index) -> status {
        const auto planes = out.block(r, b);
        std::memcpy(planes[0], codes, divide_up(n, 2));
        codes += divide_up(n, 2);
        const float absmax = absmax_of(t, state, index);
        if (!is_finite(absmax))
            return error{errc::non_finite, "block {0} has an abs-max that is not finite", "absmax", {index}};
        if constexpr (is_nested<F>) {
            *planes[1] = t.absmax->data[index];
            if (index % nested_block == 0)
                out.set_outer(index / nested_block,
                              {load_float(*t.nested_absmax, index / nested_block), state.nested_offset});
        } else {
            store_little_endian(f32::from(absmax), planes[1]);
        }
        return {};
    });
}

/// The second level's values must have come one for each 256 blocks, counted from
/// this view's first: a slice of rows may lie askew.
template <class F> status export_nested(const qview<F>& q, std::span<std::byte> out) noexcept {
    std::uint32_t current = 0;
    return for_each_flat_block(q, [&](std::size_t r, std::size_t b, std::size_t, std::size_t index) -> status {
        const auto o = q.outer(r, b * nf4_block);
        if (!is_finite(o.second) || !is_finite(o.mean))
            return error{errc::non_finite, "block {0} has an outer value that is not finite", "W", {index}};
        if (index % nested_block == 0) {
            current = bits_of(o.second);
            store_little(out.data() + 4 * (index / nested_block), current, 4);
        }
        if (bits_of(o.second) == current) return {};
        return error{errc::unsliceable,
                     "block {0} does not share its abs-max' scale with the {1} blocks that it stands among",
                     "W",
                     {index, nested_block}};
    });
}

template <class F> status export_codes(const qview<F>& q, std::byte* out) noexcept {
    return for_each_flat_block(q, [&](std::size_t r, std::size_t b, std::size_t n, std::size_t) -> status {
        std::memcpy(out, q.block(r, b)[0], divide_up(n, 2));
        out += divide_up(n, 2);
        return {};
    });
}
template <class F> status export_absmax(const qview<F>& q, std::byte* out) noexcept {
    constexpr std::size_t width = F::planes[1];
    return for_each_flat_block(q, [&](std::size_t r, std::size_t b, std::size_t, std::size_t index) -> status {
        std::memcpy(out, q.block(r, b)[1], width);
        if constexpr (!is_nested<F>)
            if (!is_finite(load_little_endian<f32>(out).value()))
                return error{errc::non_finite, "block {0} has an abs-max that is not finite", "W", {index}};
        out += width;
        return {};
    });
}
inline void export_table(std::span<const float> table, std::byte* out) noexcept {
    for (std::size_t i = 0; i < table.size(); ++i) store_little_endian(f32::from(table[i]), out + 4 * i);
}

/// What is known of a matrix before its data are.
template <class F>
bitsandbytes_state state_of(std::uint64_t rows, std::uint64_t cols, safetensors_type dtype) noexcept {
    bitsandbytes_state state{.rows = rows, .cols = cols, .dtype = dtype, .blocksize = nf4_block};
    state.fp4 = is_fp4<F>;
    state.nested = is_nested<F>;
    state.nested_blocksize = state.nested ? nested_block : 0;
    return state;
}

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE

namespace qlib::inline QLIB_ABI::inline QLIB_BASE {

/// The tensors that a matrix becomes: weight, weight.absmax, weight.quant_map, the state
/// and, doubly quantized, two of the second level.
///
/// dtype  what the weights were before, which is what transformers decodes them to: f16, bf16 or f32
/// error  argument for another dtype; shape when the matrix is empty or does not fit in memory
template <bitsandbytes_format F>
[[nodiscard]] result<checkpoint_parts> bitsandbytes_parts(std::uint64_t rows, std::uint64_t cols,
                                                          safetensors_type dtype) noexcept {
    using enum safetensors_type;
    if (detail::state_dtype_name(dtype).empty())
        return error{errc::argument, "one of f16, bf16 and f32 is needed", "dtype", {}};
    if (status s = detail::check_shape<F>(rows, cols, "W"); !s) return s.error();
    if (rows == 0 || cols == 0) return error{errc::shape, "{0} x {1} weights", "W", {rows, cols}};
    const std::uint64_t count = rows * cols, blocks = detail::divide_up(count, detail::nf4_block);
    constexpr bool nested = detail::is_nested<F>;
    checkpoint_parts parts;
    detail::add_part(parts, "weight", u8, 2, detail::divide_up(count, 2), 1);
    detail::add_part(parts, "weight.absmax", nested ? u8 : f32, 1, blocks);
    detail::add_part(parts, "weight.quant_map", f32, 1, detail::code_table<F>.size());
    detail::add_part(parts, detail::state_name<F>, u8, 1,
                     detail::state_text_size(detail::state_of<F>(rows, cols, dtype)));
    if constexpr (nested) {
        detail::add_part(parts, "weight.nested_absmax", f32, 1, detail::divide_up(blocks, detail::nested_block));
        detail::add_part(parts, "weight.nested_quant_map", f32, 1, detail::dynamic_map.size());
    }
    return parts;
}

/// Writes the data of one of bitsandbytes_parts<F>(q.rows(), q.cols(), dtype).
///
/// part   its index
/// out    as many bytes as it has
/// error  argument, shape; non_finite, sizes {block of 64}; unsliceable for doubly quantized rows that do not begin
///        where a second-level block does
template <bitsandbytes_format F>
status export_bitsandbytes(const qview<F>& q, safetensors_type dtype, std::size_t part,
                           std::span<std::byte> out) noexcept {
    const auto parts = bitsandbytes_parts<F>(q.rows(), q.cols(), dtype);
    if (!parts) return parts.error();
    if (status s = detail::check_part(*parts, part, out); !s) return s;
    switch (part) {
    case 0: return detail::export_codes<F>(q, out.data());
    case 1: return detail::export_absmax<F>(q, out.data());
    case 2: detail::export_table(detail::code_table<F>, out.data()); return {};
    case 3: {
        bitsandbytes_state state = detail::state_of<F>(q.rows(), q.cols(), dtype);
        if constexpr (detail::is_nested<F>) state.nested_offset = q.outer(0, 0).mean;
        if (!detail::is_finite(state.nested_offset))
            return error{errc::non_finite, "the mean abs-max is not finite", "W", {}};
        detail::write_state(state, {reinterpret_cast<char*>(out.data()), out.size()});
        return {};
    }
    case 4:
        if constexpr (detail::is_nested<F>) return detail::export_nested<F>(q, out);
        else return {};  // there is no such part
    default: detail::export_table(detail::dynamic_map, out.data()); return {};
    }
}

template <bitsandbytes_format F>
status export_bitsandbytes(const qmatrix<F>& q, safetensors_type dtype, std::size_t part,
                           std::span<std::byte> out) noexcept {
    return export_bitsandbytes<F>(q.view(), dtype, part, out);
}

/// Reads a layer into the format of its levels. A doubly quantized one can also be read as nf4 or fp4, with the abs-max
/// that bitsandbytes would use.
///
/// tensors  of untrusted files
/// error    malformed for what is missing or disagrees; truncated; unsupported for other block sizes or levels
///          than F's; non_finite, sizes {block of 64}; memory
/// exact    every code and abs-max is the checkpoint's
template <bitsandbytes_format F>
[[nodiscard]] result<qmatrix<F>> import_bitsandbytes(const bitsandbytes_tensors& tensors) noexcept {
    const auto state = read_bitsandbytes_state(tensors);
    if (!state) return state.error();
    if (status s = detail::check_holds<F>(tensors, *state); !s) return s.error();
    auto matrix = qmatrix<F>::make(static_cast<std::size_t>(state->rows), static_cast<std::size_t>(state->cols));
    if (!matrix) return matrix.error();
    if (status s = detail::import_blocks<F>(tensors, *state, matrix->span()); !s) return s.error();
    return matrix;
}

}  // namespace qlib::inline QLIB_ABI::inline QLIB_BASE
QLIB_EXACT_END
