#pragma once
// Formats by number: what a tensor can become.
#include <qlib/any.hpp>
#include <qlib/file/checkpoint_part.hpp>

#include <string>

/// One format. Numbers are ggml's, and those of qlib::format_id for formats that ggml does not have.
struct codec {
    qlib::format_id id;
    bool by_rows;  ///< rows can be encoded apart from each other; if not, the matrix is encoded as a whole

    std::uint32_t number() const { return static_cast<std::uint32_t>(id); }
    /// 0 for a shape that the format cannot have.
    std::size_t bytes(std::size_t rows, std::size_t cols) const {
        const auto size = qlib::wire_size(id, rows, cols);
        return size ? *size : 0;
    }
    /// W into `out`, bytes(W.rows, W.cols) of them.
    qlib::status encode(qlib::matrix_view<const float> W, const qlib::quantize_options& options, const qlib::call& how,
                        std::span<std::byte> out) const {
        return qlib::quantize_into(id, W, out, options, how);
    }
    /// out.rows rows, from row `first` on, of a matrix of `rows` rows.
    qlib::status decode(std::span<const std::byte> bytes, std::size_t rows, std::size_t first,
                        qlib::matrix_view<float> out, const qlib::call& how) const;
};

/// The format of a number, or null.
const codec* find_codec(std::uint32_t number);

/// How checkpoints in safetensors store a format: as several tensors.
struct checkpoint_codec {
    std::uint32_t number;
    std::size_t group;  ///< must fill rows, as loaders infer it from the shapes; 0: blocks run over the rows' ends
    /// Their names, types and shapes. `was`: what the weights were before, one of f32, f16 and bf16.
    qlib::result<qlib::checkpoint_parts> (*parts)(std::size_t rows, std::size_t cols, qlib::safetensors_type was);
    /// One of them, from the matrix as `codec` encodes it.
    qlib::status (*write)(std::span<const std::byte> matrix, std::size_t rows, std::size_t cols,
                          qlib::safetensors_type was, std::size_t part, std::span<std::byte> out);
    /// The text behind "quantization_config" in config.json, for a model of which all layers are quantized.
    /// `was`: of most weights.
    std::string (*config)(qlib::safetensors_type was);
    const char* ignore_key;  ///< in it, of the list of layers that are not
};

/// That of a number, or null.
const checkpoint_codec* find_checkpoint_codec(std::uint32_t number);
