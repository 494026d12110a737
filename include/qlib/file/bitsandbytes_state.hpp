#pragma once
// What a layer of a bitsandbytes 4-bit checkpoint says of itself: its tensors, and the JSON text among them.
#include "../format/json_writer.hpp"
#include "checkpoint_part.hpp"

QLIB_EXACT_BEGIN
namespace qlib::inline QLIB_ABI {

/// The tensors of one layer, wherever they were found. Null: not found. rows x cols
/// weights are one run, in blocks of `blocksize`.
struct bitsandbytes_tensors {
    const safetensors_tensor* weight = nullptr;     ///< codes, two to a byte, whatever type the bytes are labelled with
    const safetensors_tensor* absmax = nullptr;     ///< f32 [blocks]; u8 when doubly quantized
    const safetensors_tensor* quant_map = nullptr;  ///< f32 [16]: the levels
    const safetensors_tensor* nested_absmax = nullptr;     ///< f32: of each nested_blocksize blocks
    const safetensors_tensor* nested_quant_map = nullptr;  ///< f32 [256]: the levels of absmax
    const safetensors_tensor* state_nf4 = nullptr;         ///< u8: JSON text. Exactly one of the two is there
    const safetensors_tensor* state_fp4 = nullptr;
};

/// What the text says, checked against the tensors.
struct bitsandbytes_state {
    std::uint64_t rows = 0, cols = 0;                ///< `shape`; rows are all dimensions but the last
    safetensors_type dtype = safetensors_type::f32;  ///< of the weights before quantization: f16, bf16 or f32
    bool fp4 = false;                                ///< else nf4
    std::uint64_t blocksize = 0;                     ///< weights to an abs-max
    bool nested = false;                 ///< absmax is quantized itself: level * nested_absmax + nested_offset
    std::uint64_t nested_blocksize = 0;  ///< blocks to a nested_absmax
    float nested_offset = 0;
};

}  // namespace qlib::inline QLIB_ABI

namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

inline constexpr std::uint64_t state_text_limit = 4096;  // real ones have some 200 bytes

[[nodiscard]] inline std::string_view state_dtype_name(safetensors_type t) noexcept {
    return t == safetensors_type::f16    ? "float16"
           : t == safetensors_type::bf16 ? "bfloat16"
           : t == safetensors_type::f32  ? "float32"
                                         : "";
}
[[nodiscard]] inline error bad_state(const char* rule, const char* operand) noexcept {
    return {errc::malformed, rule, operand, {}};
}

/// Float number i of an f32 tensor.
[[nodiscard]] inline float load_float(const safetensors_tensor& t, std::size_t i) noexcept {
    return float_of(static_cast<std::uint32_t>(load_little(t.data.data() + 4 * i, 4)));
}

/// A power of two from `least` to 4096, the sizes that bitsandbytes has.
inline status read_block_size(json_value v, const char* operand, std::uint64_t least, std::uint64_t& out) noexcept {
    const auto n = v.as_uint();
    if (!n) return json_error(n.error(), operand);
    if (*n < least || *n > 4096 || (*n & (*n - 1)) != 0)
        return error{errc::malformed, "{0} is no power of two from {1} to 4096", operand, {*n, least}};
    out = *n;
    return {};
}

inline status read_state_shape(json_value shape, bitsandbytes_state& s) noexcept {
    s.rows = s.cols = 1;
    std::size_t count = 0;
    for (const json_value v : shape.elements()) {
        const auto n = v.as_uint();
        if (!n) return json_error(n.error(), "quant_state.shape");
        if (*n == 0 || __builtin_mul_overflow(s.rows, s.cols, &s.rows))
            return bad_state("an empty dimension, or an overflow", "quant_state.shape");
        s.cols = *n;
        ++count;
    }
    std::uint64_t weights = 0;
    if (count == 0 || __builtin_mul_overflow(s.rows, s.cols, &weights) || weights > safetensors_size_limit)
        return bad_state("no dimensions, or their product overflows", "quant_state.shape");
    return {};
}

/// The fields of the text. Others than bitsandbytes writes are refused, as it does itself.
inline status read_state_fields(json_value root, bitsandbytes_state& s) noexcept {
    for (const json_member m : root.members()) {
        bool known = false;
        for (const std::string_view key :
             {"quant_type", "blocksize", "dtype", "shape", "nested_blocksize", "nested_dtype", "nested_offset"})
            known = known || m.key.is(key);
        if (!known) return bad_state("a field that bitsandbytes does not write", "quant_state");
    }
    const json_value type = root["quant_type"], dtype = root["dtype"];
    if (!type.is(s.fp4 ? "fp4" : "nf4"))
        return bad_state("not the type that the tensor's name says", "quant_state.quant_type");
    bool known = false;
    for (const safetensors_type t : {safetensors_type::f16, safetensors_type::bf16, safetensors_type::f32})
        if (dtype.is(state_dtype_name(t))) known = true, s.dtype = t;
    if (!known) return bad_state("none of float16, bfloat16 and float32", "quant_state.dtype");
    if (status read = read_block_size(root["blocksize"], "quant_state.blocksize", 32, s.blocksize); !read) return read;
    if (status read = read_state_shape(root["shape"], s); !read) return read;
    s.nested = static_cast<bool>(root["nested_blocksize"]);
    if (!s.nested) return {};
    if (status read = read_block_size(root["nested_blocksize"], "quant_state.nested_blocksize", 64, s.nested_blocksize);
        !read)
        return read;
    if (!root["nested_dtype"].is("float32")) return bad_state("float32 is needed", "quant_state.nested_dtype");
    const auto offset = root["nested_offset"].as_float();
    if (!offset) return json_error(offset.error(), "quant_state.nested_offset");
    s.nested_offset = static_cast<float>(*offset);
    return is_finite(s.nested_offset) ? status{}
                                      : status(bad_state("larger than any float", "quant_state.nested_offset"));
}

/// A list of `count` elements.
inline status check_list(const safetensors_tensor* t, const char* operand, safetensors_type type,
                         std::uint64_t count) noexcept {
    if (status s = check_tensor(t, operand, 1); !s) return s;
    if (t->type == type && t->shape[0] == count) return {};
    return error{errc::malformed,
                 "{0} elements of type {1}, where {2} of type {3} are needed",
                 operand,
                 {t->shape[0], static_cast<std::uint64_t>(t->type), count, static_cast<std::uint64_t>(type)}};
}
inline status check_levels(const safetensors_tensor* t, const char* operand, std::uint64_t count) noexcept {
    if (status s = check_list(t, operand, safetensors_type::f32, count); !s) return s;
    for (std::size_t i = 0; i < count; ++i)
        if (!is_finite(load_float(*t, i))) return error{errc::malformed, "level {0} is not finite", operand, {i}};
    return {};
}

/// The tensors against what the text says of them.
inline status check_state_tensors(const bitsandbytes_tensors& t, const bitsandbytes_state& s) noexcept {
    if (t.weight == nullptr) return bad_state("the tensor is missing", "weight");
    if (status checked = check_tensor(t.weight, "weight", t.weight->n_dims()); !checked) return checked;
    const std::uint64_t weights = s.rows * s.cols, bytes = divide_up(weights, 2),
                        blocks = divide_up(weights, s.blocksize);
    if (t.weight->bytes != bytes)
        return error{
            errc::malformed, "{0} bytes, {1} are needed for {2} weights", "weight", {t.weight->bytes, bytes, weights}};
    if (status checked =
            check_list(t.absmax, "absmax", s.nested ? safetensors_type::u8 : safetensors_type::f32, blocks);
        !checked)
        return checked;
    if (status checked = check_levels(t.quant_map, "quant_map", 16); !checked) return checked;
    if (!s.nested) {
        if (t.nested_absmax == nullptr && t.nested_quant_map == nullptr) return {};
        return bad_state("tensors of a second level, which the text does not know", "quant_state");
    }
    if (status checked =
            check_list(t.nested_absmax, "nested_absmax", safetensors_type::f32, divide_up(blocks, s.nested_blocksize));
        !checked)
        return checked;
    return check_levels(t.nested_quant_map, "nested_quant_map", 256);
}

/// The text of a state, as long as it will be for any offset: the rest is spaces. Returns the chars before them.
inline std::size_t write_state(const bitsandbytes_state& s, std::span<char> out) noexcept {
    json_writer json(out);
    json.open('{');
    json.key("quant_type");
    json.string(s.fp4 ? "fp4" : "nf4");
    json.key("blocksize");
    json.integer(s.blocksize);
    json.key("dtype");
    json.string(state_dtype_name(s.dtype));
    json.key("shape");
    json.open('[');
    json.integer(s.rows);
    json.integer(s.cols);
    json.close(']');
    if (s.nested) {
        json.key("nested_blocksize");
        json.integer(s.nested_blocksize);
        json.key("nested_dtype");
        json.string("float32");
        json.key("nested_offset");
        json.number(s.nested_offset);
    }
    json.close('}');
    for (std::size_t i = json.size(); i < out.size(); ++i) out[i] = ' ';
    return json.size();
}
[[nodiscard]] inline std::size_t state_text_size(bitsandbytes_state s) noexcept {
    s.nested_offset = -1.17549435e-38f;  // no float is longer in nine digits
    return write_state(s, {});
}

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE

namespace qlib::inline QLIB_ABI::inline QLIB_BASE {

/// Adds to `tensors` those of a layer that this file has. A layer may lie in several files: ask each. Without a state
/// among them it is not of this kind. Names behind the layer's that bitsandbytes does not use are ignored.
///
/// layer   "model.layers.0.self_attn.q_proj"
/// error   memory
inline status find_bitsandbytes(const safetensors_file& file, std::string_view layer,
                                bitsandbytes_tensors& tensors) noexcept {
    const detail::part_lookup wanted[] = {{"weight", &tensors.weight},
                                          {"weight.absmax", &tensors.absmax},
                                          {"weight.quant_map", &tensors.quant_map},
                                          {"weight.nested_absmax", &tensors.nested_absmax},
                                          {"weight.nested_quant_map", &tensors.nested_quant_map},
                                          {"weight.quant_state.bitsandbytes__nf4", &tensors.state_nf4},
                                          {"weight.quant_state.bitsandbytes__fp4", &tensors.state_fp4}};
    return detail::find_parts(file, layer, wanted);
}

/// Reads and checks what a layer says of itself, so that a program knows which format to ask for.
///
/// tensors  of untrusted files
/// error    malformed for text that is none, a missing field or tensor, or a size that disagrees with the others;
///          truncated; memory
[[nodiscard]] inline result<bitsandbytes_state> read_bitsandbytes_state(const bitsandbytes_tensors& tensors) noexcept {
    if ((tensors.state_nf4 != nullptr) == (tensors.state_fp4 != nullptr))
        return detail::bad_state(
            tensors.state_nf4 != nullptr ? "both an nf4 and an fp4 state" : "the tensor is missing", "quant_state");
    bitsandbytes_state state;
    state.fp4 = tensors.state_fp4 != nullptr;
    const safetensors_tensor& text = state.fp4 ? *tensors.state_fp4 : *tensors.state_nf4;
    if (status s = detail::check_list(&text, "quant_state", safetensors_type::u8, text.bytes); !s) return s.error();
    if (text.bytes > detail::state_text_limit)
        return error{errc::malformed,
                     "a text of {0} bytes, {1} are allowed",
                     "quant_state",
                     {text.bytes, detail::state_text_limit}};
    const auto root = json_value::parse(detail::text_of(text.data));
    if (!root) {
        error e = detail::json_error(root.error(), "quant_state");
        e.code = e.code == errc::memory ? e.code : errc::malformed;
        return e;
    }
    if (status s = detail::read_state_fields(*root, state); !s) return s.error();
    if (status s = detail::check_state_tensors(tensors, state); !s) return s.error();
    return state;
}

}  // namespace qlib::inline QLIB_ABI::inline QLIB_BASE
QLIB_EXACT_END
