#pragma once
// What config.json says of a checkpoint of compressed-tensors (llm-compressor,
// vLLM): quantization_config, read and written.
#include "../format/json_writer.hpp"
#include "../integer.hpp"
#include "json.hpp"

namespace qlib::inline QLIB_ABI {

/// Formats that these checkpoints can hold: an int_format of 2 to 8 bits with one scale per group, and no offset.
template <class F>
concept pack_quantizable = block_format<F> && requires {
    { F::spec } -> std::convertible_to<int_spec>;
    requires F::spec.bits >= 2 && F::spec.sym != symmetry::offset;
    requires F::spec.granularity == granularity::group && !F::spec.tensor_scale;
    requires F::spec.scale == scale_type::float32 || F::spec.scale == scale_type::float16 ||
        F::spec.scale == scale_type::bfloat16;
};

/// How codes lie in the 32-bit words of pack-quantized tensors. The two are the same for 1, 2, 4 and 8 bits.
enum class pack_layout : std::uint8_t {
    by_size,       ///< what the number of words says; refused where it fits both and they differ
    dense,         ///< since the release after 0.16.0: one stream of bits, codes may lie across words
    whole_fields,  ///< until 0.16.0: 32 / bits codes in each word
};

/// What compressed-tensors calls a format: how a group's tensors are stored.
enum class compressed_format : std::uint8_t {
    dense,
    int_quantized,
    float_quantized,
    naive_quantized,
    pack_quantized,
    nvfp4_pack_quantized,
    mxfp4_pack_quantized,
    mxfp8_quantized,
    mixed_precision,
    sparse_bitmask,
    sparse_24_bitmask,
    marlin_24,
};

/// A checkpoint's quantization_config. The JSON values point into the parsed text.
struct compressed_tensors_config {
    compressed_format format{};
    pack_layout layout = pack_layout::by_size;  ///< what `version` says; by_size when there is none
    json_value groups;                          ///< an object: each member is one for read_scheme
    json_value ignore;  ///< names of layers, or "re:" and a Python regular expression; may be absent
};

/// How the weights of one of its groups are quantized.
struct compressed_tensors_scheme {
    compressed_format format{};
    std::uint32_t bits = 0;
    bool is_float = false;    ///< fp8 or fp4 in place of integers
    bool symmetric = true;    ///< else there are zero points
    std::uint64_t group = 0;  ///< weights to a scale; 0: one scale per row, tensor, or 2-D block, see `strategy`
    json_value strategy;      ///< "group", "channel", "tensor", "block" ...
    json_value targets;       ///< names of layers or classes, or "re:" and a Python regular expression
    json_value activations;   ///< input_activations; absent or null: they stay float
};

}  // namespace qlib::inline QLIB_ABI

namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE {

inline constexpr std::array<std::string_view, 12> compressed_format_names{
    "dense",           "int-quantized",        "float-quantized",      "naive-quantized",
    "pack-quantized",  "nvfp4-pack-quantized", "mxfp4-pack-quantized", "mxfp8-quantized",
    "mixed-precision", "sparse-bitmask",       "sparse-24-bitmask",    "marlin-24"};

inline status read_compressed_format(json_value name, compressed_format& out) noexcept {
    if (name.type() != json_type::string)
        return error{errc::malformed, "a string is needed", "quantization_config.format", {}};
    for (std::size_t i = 0; i < compressed_format_names.size(); ++i)
        if (name.is(compressed_format_names[i])) return out = static_cast<compressed_format>(i), status{};
    return error{errc::unsupported, "a format that is not known", "quantization_config.format", {}};
}

/// "0.16.0" and all before it packed whole fields.
[[nodiscard]] inline pack_layout layout_of_version(std::string_view version) noexcept {
    std::uint64_t number[3] = {};
    std::size_t at = 0, parts = 0;
    for (; parts < 3; ++parts) {
        const std::size_t first = at;
        while (is_digit(version, at)) ++at;
        if (!read_digits(version.substr(first, at - first), number[parts])) break;
        if (at >= version.size() || version[at] != '.') {
            ++parts;
            break;
        }
        ++at;
    }
    if (parts < 2) return pack_layout::by_size;
    const bool later = number[0] != 0 || number[1] > 16 || (number[1] == 16 && (number[2] != 0 || at < version.size()));
    return later ? pack_layout::dense : pack_layout::whole_fields;
}

/// Absent and null count as not given.
[[nodiscard]] inline bool is_given(json_value v) noexcept {
    return v.type() != json_type::absent && v.type() != json_type::null;
}

}  // namespace qlib::inline QLIB_ABI::detail::inline QLIB_BASE

namespace qlib::inline QLIB_ABI::inline QLIB_BASE {

/// Reads the quantization_config of a config.json; in older ones it is compression_config.
///
/// config  the whole config.json
/// error   malformed for what is missing or of another kind; unsupported for another quant_method or an unknown format
[[nodiscard]] inline result<compressed_tensors_config> read_compressed_tensors_config(json_value config) noexcept {
    json_value q = config["quantization_config"];
    if (!q) q = config["compression_config"];
    if (q.type() != json_type::object) return error{errc::malformed, "an object is needed", "quantization_config", {}};
    if (const json_value method = q["quant_method"]; detail::is_given(method) && !method.is("compressed-tensors"))
        return error{
            errc::unsupported, "another method than compressed-tensors", "quantization_config.quant_method", {}};
    compressed_tensors_config c;
    if (status s = detail::read_compressed_format(q["format"], c.format); !s) return s.error();
    char room[64];
    if (const auto version = q["version"].as_string(room)) c.layout = detail::layout_of_version(*version);
    c.groups = q["config_groups"];
    if (c.groups.type() != json_type::object)
        return error{errc::malformed, "an object is needed", "quantization_config.config_groups", {}};
    c.ignore = q["ignore"];
    if (detail::is_given(c.ignore) && c.ignore.type() != json_type::array)
        return error{errc::malformed, "a list is needed", "quantization_config.ignore", {}};
    return c;
}

/// Reads one of config.groups' members.
///
/// group  {"targets": [...], "weights": {...}, ...}
/// error  malformed for what is missing, of another kind, or out of range
[[nodiscard]] inline result<compressed_tensors_scheme> read_scheme(const compressed_tensors_config& config,
                                                                   json_value group) noexcept {
    const auto bad = [](const char* rule, const char* operand) { return error{errc::malformed, rule, operand, {}}; };
    const json_value w = group["weights"];
    if (w.type() != json_type::object) return bad("an object is needed", "weights");
    compressed_tensors_scheme s{.format = config.format,
                                .strategy = w["strategy"],
                                .targets = group["targets"],
                                .activations = group["input_activations"]};
    if (detail::is_given(group["format"]))
        if (status read = detail::read_compressed_format(group["format"], s.format); !read) return read.error();
    if (s.targets.type() != json_type::array) return bad("a list is needed", "targets");
    const auto bits = w["num_bits"].as_uint();
    if (!bits || *bits < 1 || *bits > 16) return bad("an integer from 1 to 16 is needed", "weights.num_bits");
    s.bits = static_cast<std::uint32_t>(*bits);
    if (const json_value type = w["type"]; detail::is_given(type)) {
        s.is_float = type.is("float");
        if (!s.is_float && !type.is("int")) return bad("\"int\" or \"float\" is needed", "weights.type");
    }
    if (const json_value symmetric = w["symmetric"]; detail::is_given(symmetric)) {
        const auto yes = symmetric.as_bool();
        if (!yes) return detail::json_error(yes.error(), "weights.symmetric");
        s.symmetric = *yes;
    }
    const json_value size = w["group_size"];
    if (detail::is_given(size) && !s.strategy.is("channel") && size.text != "-1") {  // -1: one per row
        const auto n = size.as_uint();
        if (!n || *n == 0) return bad("a positive integer is needed", "weights.group_size");
        s.group = *n;
    } else if (s.strategy.is("group") || s.strategy.is("tensor_group")) {
        return bad("a positive integer is needed", "weights.group_size");
    }
    return s;
}

/// Writes the object that stands behind "quantization_config" in a config.json, for a
/// checkpoint whose linear layers all are in format F.
///
/// ignore   names of the linear layers that are not, as "lm_head"
/// out      gets as much as fits; may be empty
/// returns  the chars of the whole text, also where they did not fit
template <pack_quantizable F>
std::size_t write_compressed_tensors_config(std::span<const std::string_view> ignore, std::span<char> out) noexcept {
    detail::json_writer json(out);
    const auto text = [&](std::string_view key, std::string_view value) {
        json.key(key);
        json.string(value);
    };
    const auto list = [&](std::string_view key, std::span<const std::string_view> values) {
        json.key(key);
        json.open('[');
        for (const std::string_view v : values) json.string(v);
        json.close(']');
    };
    const auto object = [&](std::string_view key) {
        json.key(key);
        json.open('{');
    };
    const std::string_view targets[] = {"Linear"};
    json.open('{');
    text("quant_method", "compressed-tensors");
    text("format", "pack-quantized");
    text("quantization_status", "compressed");
    object("config_groups");
    object("group_0");
    list("targets", targets);
    object("weights");
    json.key("num_bits");
    json.integer(F::spec.bits);
    text("type", "int");
    json.key("symmetric");
    json.boolean(F::spec.sym != symmetry::zero_point);
    text("strategy", "group");
    json.key("group_size");
    json.integer(F::group);
    json.key("dynamic");
    json.boolean(false);
    for (int i = 0; i < 3; ++i) json.close('}');
    list("ignore", ignore);
    json.close('}');
    return json.size();
}

}  // namespace qlib::inline QLIB_ABI::inline QLIB_BASE
