// The table of formats.
#include "codecs.hpp"

#include <qlib/file/bitsandbytes.hpp>
#include <qlib/file/compressed_tensors.hpp>
#include <qlib/formats.hpp>

#include <numeric>
#include <vector>

namespace {

codec codec_of(qlib::format_id id) {
    return {id, *qlib::visit(id, []<qlib::block_format F>() -> qlib::result<bool> {
                return F::planes.size() == 1 && !qlib::has_outer<F>;
            })};
}
template <class... Ids> std::array<codec, sizeof...(Ids)> codecs_of(Ids... ids) { return {codec_of(ids)...}; }
using enum qlib::format_id;
const auto codecs = codecs_of(dense_f32, dense_f16, dense_bf16, q4_0, q4_1, q5_0, q5_1, q8_0, q2_k, q3_k, q4_k, q5_k,
                              q6_k, iq1_s, iq1_m, iq2_xxs, iq2_xs, iq2_s, iq3_xxs, iq3_s, iq4_nl, iq4_xs, tq1_0, tq2_0,
                              mxfp4, q1_0, q2_0, nf4, nf4_dq, int4_g32, int4_g128, int4_g128_asym, int4_g32_asym);

using part_sizes = qlib::result<qlib::checkpoint_parts>;
using dtype = qlib::safetensors_type;

template <class F> constexpr checkpoint_codec compressed_tensors(std::uint32_t number) {
    return {number,
            F::group,
            [](std::size_t rows, std::size_t cols, dtype) -> part_sizes {
                return qlib::pack_quantized_parts<F>(rows, cols);
            },
            [](std::span<const std::byte> whole, std::size_t rows, std::size_t cols, dtype, std::size_t part,
               std::span<std::byte> out) {
                const auto q = qlib::qview<F>::over(whole, rows, cols);
                return q ? qlib::export_pack_quantized<F>(*q, part, out) : qlib::status(q.error());
            },
            [](dtype) {
                std::string text(qlib::write_compressed_tensors_config<F>({}, {}), ' ');
                qlib::write_compressed_tensors_config<F>({}, text);
                return text;
            },
            "ignore"};
}

/// transformers' BitsAndBytesConfig.
template <class F> std::string bitsandbytes_config(dtype was) {
    const char* const type = was == dtype::f16 ? "float16" : was == dtype::bf16 ? "bfloat16" : "float32";
    return std::string(
               R"({"quant_method": "bitsandbytes", "load_in_4bit": true, "load_in_8bit": false, )"
               R"("bnb_4bit_quant_type": "nf4", )") +
           R"("bnb_4bit_use_double_quant": )" + (std::is_same_v<F, qlib::nf4_dq> ? "true" : "false") +
           R"(, "bnb_4bit_compute_dtype": ")" + type +
           R"(", "bnb_4bit_quant_storage": "uint8", "llm_int8_threshold": 6.0, "llm_int8_skip_modules": []})";
}
template <class F> constexpr checkpoint_codec bitsandbytes(std::uint32_t number) {
    return {number,
            0,
            [](std::size_t rows, std::size_t cols, dtype was) { return qlib::bitsandbytes_parts<F>(rows, cols, was); },
            [](std::span<const std::byte> whole, std::size_t rows, std::size_t cols, dtype was, std::size_t part,
               std::span<std::byte> out) {
                const auto q = qlib::qview<F>::over(whole, rows, cols);
                return q ? qlib::export_bitsandbytes<F>(*q, was, part, out) : qlib::status(q.error());
            },
            bitsandbytes_config<F>,
            "llm_int8_skip_modules"};
}

constexpr checkpoint_codec checkpoint_codecs[] = {
    bitsandbytes<qlib::nf4>(0x1000),
    bitsandbytes<qlib::nf4_dq>(0x1001),
    compressed_tensors<qlib::int4_g32>(0x1020),
    compressed_tensors<qlib::int4_g128>(0x1021),
    compressed_tensors<qlib::int4_g128_asym>(0x1022),
    compressed_tensors<qlib::int4_g32_asym>(0x1024),
};

}  // namespace

qlib::status codec::decode(std::span<const std::byte> bytes, std::size_t rows, std::size_t first,
                           qlib::matrix_view<float> out, const qlib::call& how) const {
    const qlib::any_view weights{id, bytes, rows, out.cols};
    if (first == 0 && out.rows == rows) return qlib::dequantize(weights, out, how);
    std::vector<std::uint32_t> ids(out.rows);
    std::iota(ids.begin(), ids.end(), static_cast<std::uint32_t>(first));
    return qlib::dequantize_rows(weights, ids, out, how);
}

const codec* find_codec(std::uint32_t number) {
    for (const codec& c : codecs)
        if (c.number() == number) return &c;
    return nullptr;
}

const checkpoint_codec* find_checkpoint_codec(std::uint32_t number) {
    for (const checkpoint_codec& c : checkpoint_codecs)
        if (c.number == number) return &c;
    return nullptr;
}
