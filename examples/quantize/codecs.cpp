// The table of formats. All templates of qlib that this program needs are compiled here.
#include "codecs.hpp"

#include <qlib/dequantize.hpp>
#include <qlib/file/bitsandbytes.hpp>
#include <qlib/file/compressed_tensors.hpp>
#include <qlib/formats.hpp>
#include <qlib/numeric/minifloat.hpp>

#include <cmath>
#include <cstring>
#include <vector>

namespace {

using matrix = qlib::matrix_view<const float>;

template <qlib::block_format F>
qlib::status encode_blocks(matrix W, const qlib::quantize_options& options, const qlib::call& how, std::span<std::byte> out) {
    const auto q = qlib::qspan<F>::over(out, W.rows, W.cols);
    return q ? qlib::quantize_into<F>(W, *q, options, how) : qlib::status(q.error());
}
template <qlib::block_format F>
qlib::status decode_blocks(std::span<const std::byte> bytes, std::size_t rows, std::size_t first, qlib::matrix_view<float> out, const qlib::call& how) {
    const auto q = qlib::qview<F>::over(bytes, rows, out.cols);
    if (!q) return q.error();
    if (first == 0 && out.rows == rows) return qlib::dequantize<F>(*q, out, how);
    const auto part = q->row_range(first, out.rows);
    return part ? qlib::dequantize<F>(*part, out, how) : qlib::status(part.error());
}
template <qlib::block_format F> constexpr codec blocks(std::uint32_t number) {
    return {number, F::planes.size() == 1 && !qlib::has_outer<F>, qlib::wire_size<F>, encode_blocks<F>, decode_blocks<F>};
}

/// Rounds to a float type of fewer bits.
template <class T> qlib::status encode_floats(matrix W, const qlib::quantize_options&, const qlib::call& how, std::span<std::byte> out) {
    std::vector<std::size_t> bad(W.rows, W.cols);  // the first column whose weight is beyond T's range
    how.run.run(W.rows, [&](std::size_t r, std::size_t) {
        for (std::size_t c = W.cols; c-- > 0;) {
            T value{};
            if constexpr (std::is_same_v<T, float>) value = W(r, c);
            else value = T::from(W(r, c));
            if (!std::isfinite(static_cast<float>(value))) bad[r] = c;
            std::memcpy(&out[(r * W.cols + c) * sizeof(T)], &value, sizeof(T));
        }
    });
    for (std::size_t r = 0; r < W.rows; ++r)
        if (bad[r] != W.cols)
            return qlib::error{qlib::errc::overflow, "the weight in row {0}, column {1} is not finite, or beyond the type's range", "W", {r, bad[r]}};
    return {};
}
template <qlib::block_format F, class T> constexpr codec floats(std::uint32_t number) {
    return {number, true, qlib::wire_size<F>, encode_floats<T>, decode_blocks<F>};
}

constexpr codec codecs[] = {
    floats<qlib::dense_f32, float>(0), floats<qlib::dense_f16, qlib::f16>(1), floats<qlib::dense_bf16, qlib::bf16>(30),
    blocks<qlib::q4_0>(2), blocks<qlib::q4_1>(3), blocks<qlib::q5_0>(6), blocks<qlib::q5_1>(7), blocks<qlib::q8_0>(8),
    blocks<qlib::q2_k>(10), blocks<qlib::q3_k>(11), blocks<qlib::q4_k>(12), blocks<qlib::q5_k>(13), blocks<qlib::q6_k>(14),
    blocks<qlib::iq2_xxs>(16), blocks<qlib::iq2_xs>(17), blocks<qlib::iq3_xxs>(18), blocks<qlib::iq1_s>(19), blocks<qlib::iq4_nl>(20),
    blocks<qlib::iq3_s>(21), blocks<qlib::iq2_s>(22), blocks<qlib::iq4_xs>(23), blocks<qlib::iq1_m>(29), blocks<qlib::tq1_0>(34), blocks<qlib::tq2_0>(35),
    blocks<qlib::mxfp4>(39), blocks<qlib::q1_0>(41), blocks<qlib::q2_0>(42),
    blocks<qlib::nf4>(0x1000), blocks<qlib::nf4_dq>(0x1001), blocks<qlib::int4_g32>(0x1020), blocks<qlib::int4_g128>(0x1021),
    blocks<qlib::int4_g128_asym>(0x1022), blocks<qlib::int4_g32_asym>(0x1024),
};

using part_sizes = qlib::result<qlib::checkpoint_parts>;
using dtype = qlib::safetensors_type;

template <class F> constexpr checkpoint_codec compressed_tensors(std::uint32_t number) {
    return {number, [](std::size_t rows, std::size_t cols, dtype) -> part_sizes { return qlib::pack_quantized_parts<F>(rows, cols); },
            [](std::span<const std::byte> whole, std::size_t rows, std::size_t cols, dtype, std::size_t part, std::span<std::byte> out) {
                const auto q = qlib::qview<F>::over(whole, rows, cols);
                return q ? qlib::export_pack_quantized<F>(*q, part, out) : qlib::status(q.error());
            },
            [](std::span<const std::string_view> ignored, dtype) {
                std::string text(qlib::write_compressed_tensors_config<F>(ignored, {}), ' ');
                qlib::write_compressed_tensors_config<F>(ignored, text);
                return text;
            }};
}

/// transformers' BitsAndBytesConfig.
template <class F> std::string bitsandbytes_config(std::span<const std::string_view> ignored, dtype was) {
    std::string modules;
    for (const std::string_view name : ignored) modules += (modules.empty() ? "\"" : ", \"") + std::string(name) + "\"";
    const char* const type = was == dtype::f16 ? "float16" : was == dtype::bf16 ? "bfloat16" : "float32";
    return std::string(R"({"quant_method": "bitsandbytes", "load_in_4bit": true, "load_in_8bit": false, "bnb_4bit_quant_type": "nf4", )") +
           R"("bnb_4bit_use_double_quant": )" + (std::is_same_v<F, qlib::nf4_dq> ? "true" : "false") + R"(, "bnb_4bit_compute_dtype": ")" + type +
           R"(", "bnb_4bit_quant_storage": "uint8", "llm_int8_threshold": 6.0, "llm_int8_skip_modules": [)" + modules + "]}";
}
template <class F> constexpr checkpoint_codec bitsandbytes(std::uint32_t number) {
    return {number, [](std::size_t rows, std::size_t cols, dtype was) { return qlib::bitsandbytes_parts<F>(rows, cols, was); },
            [](std::span<const std::byte> whole, std::size_t rows, std::size_t cols, dtype was, std::size_t part, std::span<std::byte> out) {
                const auto q = qlib::qview<F>::over(whole, rows, cols);
                return q ? qlib::export_bitsandbytes<F>(*q, was, part, out) : qlib::status(q.error());
            },
            bitsandbytes_config<F>};
}

constexpr checkpoint_codec checkpoint_codecs[] = {
    bitsandbytes<qlib::nf4>(0x1000), bitsandbytes<qlib::nf4_dq>(0x1001), compressed_tensors<qlib::int4_g32>(0x1020),
    compressed_tensors<qlib::int4_g128>(0x1021), compressed_tensors<qlib::int4_g128_asym>(0x1022), compressed_tensors<qlib::int4_g32_asym>(0x1024),
};

}  // namespace

const codec* find_codec(std::uint32_t number) {
    for (const codec& c : codecs)
        if (c.number == number) return &c;
    return nullptr;
}

const checkpoint_codec* find_checkpoint_codec(std::uint32_t number) {
    for (const checkpoint_codec& c : checkpoint_codecs)
        if (c.number == number) return &c;
    return nullptr;
}
