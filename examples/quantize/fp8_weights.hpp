#pragma once
// Weights in FP8 as checkpoints hold them: a tensor of E4M3 or E5M2 beside its scales, one for the tensor, for a row or
// for a block, and so for each expert of a tensor of three dimensions. A weight is its code's value times its scale, in
// f32.
//
// source: DeepSeek-V3 (weight_scale_inv, which is multiplied all the same), compressed-tensors (float-quantized),
//         FBGEMM, ModelOpt; OCP MX, MXFP8: E8M0 scales of 32 weights, as bytes
#include <qlib/core/call.hpp>
#include <qlib/core/matrix_view.hpp>
#include <qlib/file/safetensors_tensor.hpp>
#include <qlib/numeric/minifloat.hpp>

#include <array>
#include <bit>
#include <cstring>

struct fp8_weights {
    qlib::safetensors_type type{};        ///< f8_e4m3 or f8_e5m2
    qlib::safetensors_type scale_type{};  ///< f32, f16, bf16, f8_e8m0, or u8, which is the same
    std::span<const std::byte> scales;
    std::uint64_t block_rows = 1, block_cols = 1;  ///< weights that share a scale
    std::uint64_t scale_rows = 1, scale_cols = 1;  ///< scales of a matrix, down and along a row
    std::uint64_t matrix_rows = 1;                 ///< of one expert where a tensor holds several

    [[nodiscard]] float scale(std::uint64_t row, std::uint64_t col) const {
        const std::uint64_t down = row / matrix_rows * scale_rows + row % matrix_rows / block_rows;
        const std::uint64_t i = down * scale_cols + col / block_cols;
        if (scale_type == qlib::safetensors_type::f8_e8m0 || scale_type == qlib::safetensors_type::u8) {
            const auto e = std::to_integer<std::uint32_t>(scales[i]);  // 2^(e - 127), or NaN
            return std::bit_cast<float>(e == 0 ? 0x00400000u : e == 255 ? 0x7FC00000u : e << 23);
        }
        std::uint32_t bits = 0;
        const std::size_t width = scale_type == qlib::safetensors_type::f32 ? 4 : 2;
        std::memcpy(&bits, scales.data() + i * width, width);
        if (scale_type == qlib::safetensors_type::f16) return qlib::f16{static_cast<std::uint16_t>(bits)}.value();
        return std::bit_cast<float>(scale_type == qlib::safetensors_type::f32 ? bits : bits << 16);
    }

    /// `codes`: rows of out.cols, of which the first is the matrix's row `first`.
    void decode(std::span<const std::byte> codes, std::uint64_t first, qlib::matrix_view<float> out,
                qlib::executor_ref run) const {
        const std::array<float, 256>& values = values_of(type);
        run.run(out.rows, [&](std::size_t r, std::size_t) {
            const std::byte* const row = codes.data() + r * out.cols;
            float* const weights = out.row(r);
            for (std::size_t block = 0; block < out.cols; block += block_cols) {
                const float s = scale(first + r, block);
                const std::size_t end = std::min<std::size_t>(out.cols, block + block_cols);
                for (std::size_t c = block; c < end; ++c) weights[c] = values[std::to_integer<std::size_t>(row[c])] * s;
            }
        });
    }

    static const std::array<float, 256>& values_of(qlib::safetensors_type type) {
        static const auto e4m3 = table<qlib::e4m3>(), e5m2 = table<qlib::e5m2>();
        return type == qlib::safetensors_type::f8_e4m3 ? e4m3 : e5m2;
    }

private:
    template <class Float> static std::array<float, 256> table() {
        std::array<float, 256> values{};
        for (std::size_t i = 0; i < values.size(); ++i) values[i] = Float{static_cast<std::uint8_t>(i)}.value();
        return values;
    }
};
