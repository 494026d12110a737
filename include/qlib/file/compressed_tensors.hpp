#pragma once
// compressed-tensors' pack-quantized checkpoints (W4A16 and its kind) to and from the integer formats. Exact both ways:
// a decoded weight is (q - zero) * scale, in the bits of the format's own decoder.
//
//   auto parts = qlib::pack_quantized_parts<int4_g128>(rows, cols);         // names and shapes, before there are data
//   for (const auto& p : parts) check(out.add_tensor(layer + "." + p.suffix, p.type, p.shape()));
//   check(qlib::export_pack_quantized(matrix, 0, bytes));                   // the data of parts[0]
//
//   qlib::pack_quantized_tensors t;
//   for (const safetensors_file& file : shards) check(qlib::find_pack_quantized(file, layer, t));
//   auto matrix = qlib::import_pack_quantized<int4_g128>(t);                // result<qmatrix<int4_g128>>
//
// source: compressed-tensors, compressors/pack_quantized (Apache-2.0 project; its rules restated, no code taken)
#include "../store/qmatrix.hpp"
#include "checkpoint_part.hpp"
#include "compressed_tensors_config.hpp"

QLIB_EXACT_BEGIN
namespace qlib::inline QLIB_ABI {

/// The tensors of one layer, wherever they were found. Null: not found. rows x cols weights in `groups` groups a row.
struct pack_quantized_tensors {
    const safetensors_tensor* weight_packed = nullptr;  ///< i32 [rows, words]
    const safetensors_tensor* weight_scale = nullptr;   ///< f16, bf16 or f32 [rows, groups]
    /// i32 [words, groups], packed along the rows; of asymmetric ones.
    const safetensors_tensor* weight_zero_point = nullptr;
    const safetensors_tensor* weight_shape = nullptr;  ///< i64 or i32 [2] = rows, cols
    const safetensors_tensor* weight_g_idx = nullptr;  ///< i32 [cols]; only there when columns were reordered
};

}  // namespace qlib::inline QLIB_ABI

namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

/// Words that `count` codes fill.
[[nodiscard]] inline std::uint64_t packed_words(std::uint64_t count, std::uint64_t bits, pack_layout layout) noexcept {
    if (layout == pack_layout::whole_fields) return divide_up(count, 32 / bits);
    return saturating_multiply(count / 32, bits) + divide_up(count % 32 * bits, 32);
}

/// Where code i of a line of words lies: the word, and its lowest bit there.
struct packed_place {
    std::size_t word, bit;
};
[[nodiscard]] QLIB_INLINE inline packed_place place_of(std::size_t i, std::size_t bits, pack_layout layout) noexcept {
    if (layout != pack_layout::whole_fields) return {i * bits / 32, i * bits % 32};
    return {i / (32 / bits), i % (32 / bits) * bits};
}

/// Code i of a line of words `stride` bytes apart.
[[nodiscard]] QLIB_INLINE inline std::uint8_t load_packed(const std::byte* words, std::size_t stride, std::size_t i,
                                                          std::size_t bits, pack_layout layout) noexcept {
    const auto [word, bit] = place_of(i, bits, layout);
    std::uint64_t value = load_little(words + word * stride, 4) >> bit;
    if (bit + bits > 32) value |= load_little(words + (word + 1) * stride, 4) << (32 - bit);
    return static_cast<std::uint8_t>(value & ((1u << bits) - 1));
}
/// Stores code i into words that hold zeros there.
QLIB_INLINE inline void store_packed(std::byte* words, std::size_t stride, std::size_t i, std::size_t bits,
                                     std::uint8_t code) noexcept {
    const auto [word, bit] = place_of(i, bits, pack_layout::dense);
    const auto merge = [&](std::byte* p, std::uint64_t v) QLIB_INLINE_LAMBDA {
        store_little(p, load_little(p, 4) | (v & 0xFFFFFFFFu), 4);
    };
    merge(words + word * stride, std::uint64_t{code} << bit);
    if (bit + bits > 32) merge(words + (word + 1) * stride, std::uint64_t{code} >> (32 - bit));
}

template <class F> consteval safetensors_type safetensors_scale_type() noexcept {
    return F::spec.scale == scale_type::float32   ? safetensors_type::f32
           : F::spec.scale == scale_type::float16 ? safetensors_type::f16
                                                  : safetensors_type::bf16;
}

/// Scale number i of a tensor.
[[nodiscard]] inline float load_scale(const safetensors_tensor& t, std::size_t i) noexcept {
    if (t.type == safetensors_type::f32) return load_little_endian<f32>(t.data.data() + 4 * i).value();
    const std::byte* const p = t.data.data() + 2 * i;
    return t.type == safetensors_type::f16 ? load_little_endian<f16>(p).value() : load_little_endian<bf16>(p).value();
}

/// The sizes of a layer that passed all checks.
struct pack_quantized_shape {
    std::size_t rows = 0, cols = 0, groups = 0;
    pack_layout layout = pack_layout::dense;
};

inline status check_type(const safetensors_tensor& t, const char* operand,
                         std::initializer_list<safetensors_type> allowed) noexcept {
    for (const safetensors_type type : allowed)
        if (t.type == type) return {};
    return error{
        errc::malformed, "type {0} is none that this tensor can have", operand, {static_cast<std::uint64_t>(t.type)}};
}

/// weight_shape: the columns are known from nowhere else.
inline status read_weight_shape(const pack_quantized_tensors& t, pack_quantized_shape& shape) noexcept {
    if (status s = check_tensor(t.weight_shape, "weight_shape", 1); !s) return s;
    if (status s = check_type(*t.weight_shape, "weight_shape", {safetensors_type::i64, safetensors_type::i32}); !s)
        return s;
    if (t.weight_shape->shape[0] != 2)
        return error{errc::malformed, "{0} numbers, 2 are needed", "weight_shape", {t.weight_shape->shape[0]}};
    const std::size_t width = t.weight_shape->type == safetensors_type::i64 ? 8 : 4;
    const std::uint64_t rows = load_little(t.weight_shape->data.data(), width),
                        cols = load_little(t.weight_shape->data.data() + width, width);
    const std::uint64_t words = t.weight_packed->shape[1];
    if (rows != t.weight_packed->shape[0] || rows == 0)
        return error{
            errc::malformed, "{0} rows, weight_packed has {1}", "weight_shape", {rows, t.weight_packed->shape[0]}};
    // So that what follows cannot overflow; the exact rule comes later.
    if (cols == 0 || cols > saturating_multiply(words, 32))
        return error{
            errc::malformed, "{0} columns, weight_packed has rows of {1} words", "weight_shape", {cols, words}};
    shape.rows = static_cast<std::size_t>(rows);
    shape.cols = static_cast<std::size_t>(cols);
    return {};
}

/// The layout is the one with the number of words that the tensors have. `wanted`
/// decides where both have it and differ.
inline status choose_layout(const pack_quantized_tensors& t, std::uint64_t bits, pack_layout wanted,
                            pack_quantized_shape& shape) noexcept {
    const std::uint64_t words = t.weight_packed->shape[1],
                        zero_words = t.weight_zero_point != nullptr ? t.weight_zero_point->shape[0] : 0;
    const std::size_t zeros = t.weight_zero_point != nullptr ? shape.rows : 0;
    const auto fits = [&](pack_layout layout) {
        return words == packed_words(shape.cols, bits, layout) && zero_words == packed_words(zeros, bits, layout);
    };
    const bool dense = fits(pack_layout::dense), whole = fits(pack_layout::whole_fields);
    if (!dense && !whole)
        return error{errc::malformed,
                     "rows of {0} words for {1} codes of {2} bits, and {3} words of zero points",
                     "weight_packed",
                     {words, shape.cols, bits, zero_words}};
    const bool same = 32 % bits == 0 || larger_size(shape.cols, zeros) <= 32 / bits;
    if (dense && whole && !same && wanted == pack_layout::by_size)
        return error{errc::unsupported,
                     "{0} columns of {1} bits fit two layouts: say which one it is",
                     "weight_packed",
                     {shape.cols, bits}};
    shape.layout = dense && whole && wanted != pack_layout::by_size ? wanted
                   : dense                                          ? pack_layout::dense
                                                                    : pack_layout::whole_fields;
    return {};
}

/// Column k must be in group k / group: an order of columns that only this tensor
/// knows has no place in a matrix of rows.
inline status check_group_index(const safetensors_tensor* t, std::size_t group,
                                const pack_quantized_shape& shape) noexcept {
    if (t == nullptr) return {};
    if (status s = check_tensor(t, "weight_g_idx", 1); !s) return s;
    if (status s = check_type(*t, "weight_g_idx", {safetensors_type::i32}); !s) return s;
    if (t->shape[0] != shape.cols)
        return error{errc::malformed, "{0} numbers for {1} columns", "weight_g_idx", {t->shape[0], shape.cols}};
    const auto at = [&](std::size_t k) { return static_cast<std::uint32_t>(load_little(t->data.data() + 4 * k, 4)); };
    const bool unset = at(0) == 0xFFFFFFFFu;  // -1 throughout: was never filled in, groups are in order
    bool in_order = true;
    for (std::size_t k = 0; k < shape.cols; ++k) {
        const std::uint32_t g = at(k);
        if (unset ? g != 0xFFFFFFFFu : g >= shape.groups)
            return error{errc::malformed, "column {0} is in group {1} of {2}", "weight_g_idx", {k, g, shape.groups}};
        in_order = in_order && (unset || g == k / group);
    }
    if (in_order) return {};
    return error{
        errc::unsupported, "the columns are reordered: only groups of neighbours can be read", "weight_g_idx", {}};
}

/// All checks that do not look at codes or scales.
inline status check_pack_quantized(const pack_quantized_tensors& t, std::uint64_t bits, std::size_t group,
                                   bool symmetric, pack_layout wanted, pack_quantized_shape& shape) noexcept {
    using enum safetensors_type;
    if (status s = check_tensor(t.weight_packed, "weight_packed", 2); !s) return s;
    if (status s = check_type(*t.weight_packed, "weight_packed", {i32}); !s) return s;
    if (status s = check_tensor(t.weight_scale, "weight_scale", 2); !s) return s;
    if (status s = check_type(*t.weight_scale, "weight_scale", {f16, bf16, f32}); !s) return s;
    if (status s = read_weight_shape(t, shape); !s) return s;
    if (symmetric && t.weight_zero_point != nullptr)
        return error{errc::unsupported, "the format asked for has no zero points", "weight_zero_point", {}};
    if (!symmetric) {
        if (status s = check_tensor(t.weight_zero_point, "weight_zero_point", 2); !s) return s;
        if (status s = check_type(*t.weight_zero_point, "weight_zero_point", {i32}); !s) return s;
    }
    if (status s = choose_layout(t, bits, wanted, shape); !s) return s;
    shape.groups = divide_up(shape.cols, group);
    const auto& scales = t.weight_scale->shape;
    if (scales[0] != shape.rows || scales[1] != shape.groups)
        return error{errc::malformed,
                     "{0} x {1} scales, {2} x {3} are needed",
                     "weight_scale",
                     {scales[0], scales[1], shape.rows, shape.groups}};
    if (!symmetric && t.weight_zero_point->shape[1] != shape.groups)
        return error{errc::malformed,
                     "zero points of {0} groups, {1} are needed",
                     "weight_zero_point",
                     {t.weight_zero_point->shape[1], shape.groups}};
    return check_group_index(t.weight_g_idx, group, shape);
}

/// The map of group g of row r. Negative scales and zeros are what AutoRound, and the formats here, write too.
template <class F>
status load_params(const pack_quantized_tensors& t, const pack_quantized_shape& shape, std::size_t r, std::size_t g,
                   typename F::params& p) noexcept {
    using scale = typename F::stored_scale;
    const float s = load_scale(*t.weight_scale, r * shape.groups + g);
    if (!is_finite(s))
        return error{errc::non_finite, "the scale of row {0}, group {1} is not finite", "weight_scale", {r, g}};
    p.scale[0] = scale::from(s);
    if (bits_of(p.scale[0].value()) != bits_of(s))
        return error{errc::overflow,
                     "the scale of row {0}, group {1} is no number of the format's scale type",
                     "weight_scale",
                     {r, g}};
    if constexpr (F::spec.sym == symmetry::zero_point)
        p.zeros[0] =
            load_packed(t.weight_zero_point->data.data() + 4 * g, 4 * shape.groups, r, F::spec.bits, shape.layout);
    return {};
}

template <class F>
status import_rows(const pack_quantized_tensors& t, const pack_quantized_shape& shape, qspan<F> out) noexcept {
    const std::size_t pitch = 4 * static_cast<std::size_t>(t.weight_packed->shape[1]);
    for (std::size_t r = 0; r < shape.rows; ++r) {
        const std::byte* const row = t.weight_packed->data.data() + r * pitch;
        for (std::size_t g = 0; g < shape.groups; ++g) {
            const std::size_t first = g * F::group, n = smaller_size(F::group, shape.cols - first);
            std::array<typename F::code, F::group> code{};
            for (std::size_t i = 0; i < n; ++i) code[i] = load_packed(row, 4, first + i, F::spec.bits, shape.layout);
            typename F::params p{};
            if (status s = load_params<F>(t, shape, r, g, p); !s) return s;
            F::store(p, std::span<const typename F::code>(code).first(n), out.block(r, g));
        }
    }
    return {};
}

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE

namespace qlib::inline QLIB_ABI::inline QLIB_BASE {

/// The tensors that a matrix becomes: weight_packed, weight_scale, weight_shape and,
/// with zero points, weight_zero_point.
template <pack_quantizable F>
[[nodiscard]] checkpoint_parts pack_quantized_parts(std::uint64_t rows, std::uint64_t cols) noexcept {
    const std::uint64_t groups = detail::divide_up(cols, F::group);
    checkpoint_parts parts;
    detail::add_part(parts, "weight_packed", safetensors_type::i32, 2, rows,
                     detail::packed_words(cols, F::spec.bits, pack_layout::dense));
    detail::add_part(parts, "weight_scale", detail::safetensors_scale_type<F>(), 2, rows, groups);
    detail::add_part(parts, "weight_shape", safetensors_type::i64, 1, 2);
    if constexpr (F::spec.sym == symmetry::zero_point)
        detail::add_part(parts, "weight_zero_point", safetensors_type::i32, 2,
                         detail::packed_words(rows, F::spec.bits, pack_layout::dense), groups);
    return parts;
}

/// Writes the data of one of pack_quantized_parts<F>(q.rows(), q.cols()).
///
/// part   its index
/// out    as many bytes as it has
/// error  argument, shape; non_finite for a scale that is not finite, sizes {row, group}
template <pack_quantizable F>
status export_pack_quantized(const qview<F>& q, std::size_t part, std::span<std::byte> out) noexcept {
    const checkpoint_parts parts = pack_quantized_parts<F>(q.rows(), q.cols());
    if (status s = detail::check_part(parts, part, out); !s) return s;
    if (out.empty()) return {};
    std::memset(out.data(), 0, out.size());
    if (part == 2) {
        detail::store_little(out.data(), q.rows(), 8);
        detail::store_little(out.data() + 8, q.cols(), 8);
        return {};
    }
    const std::size_t groups = detail::divide_up(q.cols(), F::group),
                      words = static_cast<std::size_t>(parts[0].dims[1]);
    for (std::size_t r = 0; r < q.rows(); ++r) {
        for (std::size_t g = 0; g < groups; ++g) {
            const std::size_t first = g * F::group,
                              n = part == 0 ? detail::smaller_size(F::group, q.cols() - first) : 0;
            std::array<typename F::code, F::group> code{};
            const auto p = F::load(q.block(r, g), {}, std::span(code).first(n));
            if (!detail::is_finite(p.scale[0].value()))
                return error{errc::non_finite, "the scale of row {0}, group {1} is not finite", "W", {r, g}};
            for (std::size_t i = 0; i < n; ++i)
                detail::store_packed(out.data() + 4 * words * r, 4, first + i, F::spec.bits, code[i]);
            if (part == 1)
                detail::store_little_endian(p.scale[0], out.data() + (r * groups + g) * sizeof(p.scale[0].bits));
            if constexpr (F::spec.sym == symmetry::zero_point)
                if (part == 3) detail::store_packed(out.data() + 4 * g, 4 * groups, r, F::spec.bits, p.zeros[0]);
        }
    }
    return {};
}

template <pack_quantizable F>
status export_pack_quantized(const qmatrix<F>& q, std::size_t part, std::span<std::byte> out) noexcept {
    return export_pack_quantized<F>(q.view(), part, out);
}

/// Adds to `tensors` those of a layer that this file has. A layer may lie in several files: ask each.
///
/// layer   "model.layers.0.self_attn.q_proj"
/// error   memory
inline status find_pack_quantized(const safetensors_file& file, std::string_view layer,
                                  pack_quantized_tensors& tensors) noexcept {
    const detail::part_lookup wanted[] = {{"weight_packed", &tensors.weight_packed},
                                          {"weight_scale", &tensors.weight_scale},
                                          {"weight_zero_point", &tensors.weight_zero_point},
                                          {"weight_shape", &tensors.weight_shape},
                                          {"weight_g_idx", &tensors.weight_g_idx}};
    return detail::find_parts(file, layer, wanted);
}

/// Reads a layer into format F, whose bits, group and symmetry must be the checkpoint's.
///
/// tensors  of untrusted files
/// layout   as config.json's version has it (compressed_tensors_config::layout); only asked where the sizes leave it
///          open
/// error    malformed for a tensor that is missing or whose type or shape disagrees with the others; truncated;
///          unsupported for reordered columns, zero points where F has none, or a layout that stays open; non_finite,
///          and overflow for a scale that F's scale type does not hold exactly, sizes {row, group}; memory
/// exact    every code, zero point and scale is the checkpoint's
template <pack_quantizable F>
[[nodiscard]] result<qmatrix<F>> import_pack_quantized(const pack_quantized_tensors& tensors,
                                                       pack_layout layout = pack_layout::by_size) noexcept {
    detail::pack_quantized_shape shape;
    constexpr bool symmetric = F::spec.sym != symmetry::zero_point;
    if (status s = detail::check_pack_quantized(tensors, F::spec.bits, F::group, symmetric, layout, shape); !s)
        return s.error();
    auto matrix = qmatrix<F>::make(shape.rows, shape.cols);
    if (!matrix) return matrix.error();
    if (status s = detail::import_rows<F>(tensors, shape, matrix->span()); !s) return s.error();
    return matrix;
}

}  // namespace qlib::inline QLIB_ABI::inline QLIB_BASE
QLIB_EXACT_END
