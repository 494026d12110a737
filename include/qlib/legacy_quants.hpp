#pragma once
// ggml's blocks of one level, "legacy quants" in llama.cpp: Q4_0 Q4_1 Q5_0 Q5_1 Q8_0, and Q1_0 Q2_0.
// Source: ggml-common.h, ggml-quants.c.
#include "fit/ggml_search.hpp"
#include "format/format.hpp"

QLIB_EXACT_BEGIN
namespace qlib::inline v0::detail::inline QLIB_BASE {

/// quantize_row_q4_0_ref and q5_0_ref, and their _impl under an importance matrix.
template <class F> constexpr encoded<F> ggml_signed_block(const site<F>& s) noexcept {
    constexpr int half = 1 << (F::grid::bits - 1);
    encoded<F> e;
    if (!s.importance.empty()) {
        float w[32];
        for (std::size_t i = 0; i < 32; ++i) w[i] = ggml_weight(s.importance[i], s.row_mean_square, s.x[i]);
        e.params.scale[0] = f16::from(ggml_signed_search(32, half, s.x.data(), w, e.code.data()));
        return e;
    }
    const float d = extreme_of(s.x.data(), 32) / static_cast<float>(-half), inverse = d != 0 ? 1.0f / d : 0.0f;
    e.params.scale[0] = f16::from(d);  // codes come from the scale before it is rounded
    for (std::size_t i = 0; i < 32; ++i) {
        const int q = truncate(product(s.x[i], inverse) + (static_cast<float>(half) + 0.5f));
        e.code[i] = static_cast<std::uint8_t>(q < 2 * half - 1 ? q : 2 * half - 1);
    }
    return e;
}

/// quantize_row_q4_1_ref and q5_1_ref, and their _impl under an importance matrix.
template <class F> constexpr encoded<F> ggml_offset_block(const site<F>& s) noexcept {
    constexpr int top = (1 << F::grid::bits) - 1;
    encoded<F> e;
    if (!s.importance.empty()) {
        float w[32];
        for (std::size_t i = 0; i < 32; ++i) w[i] = ggml_weight(s.importance[i], s.row_mean_square, s.x[i]);
        const auto found = ggml_min_search<32>(top, s.x.data(), w, e.code.data(), {-0.9f, 0.05f, 36});
        e.params.scale[0] = f16::from(found.scale);
        e.params.zeros[0] = f16::from(-found.min);
        return e;
    }
    float low = s.x[0], high = s.x[0];
    for (const float v : s.x) {
        if (v < low) low = v;
        if (v > high) high = v;
    }
    const float d = (high - low) / static_cast<float>(top), inverse = d != 0 ? 1.0f / d : 0.0f;
    e.params.scale[0] = f16::from(d);
    e.params.zeros[0] = f16::from(low);
    for (std::size_t i = 0; i < 32; ++i) {
        const int q = truncate(product(s.x[i] - low, inverse) + 0.5f);
        e.code[i] = static_cast<std::uint8_t>(q < top ? q : top);
    }
    return e;
}

}  // namespace qlib::inline v0::detail::inline QLIB_BASE

namespace qlib::inline v0 {

/// 4.5 bits: levels -8..7 under an f16 scale. ggml, block_q4_0.
struct q4_0 : format<sint_grid<4>, scale_per<32, f16>, inline_blocks<nibbles_split_16>> {
    QLIB_INLINE static constexpr encoded<q4_0> reference(const site<q4_0>& s) noexcept { return detail::ggml_signed_block(s); }
};
static_assert(block_bytes<q4_0> == 18);

/// 5 bits: levels 0..15 under an f16 scale and offset. ggml, block_q4_1.
struct q4_1 : format<uint_grid<4>, scale_offset_per<32, f16>, inline_blocks<nibbles_split_16>> {
    QLIB_INLINE static constexpr encoded<q4_1> reference(const site<q4_1>& s) noexcept { return detail::ggml_offset_block(s); }
};
static_assert(block_bytes<q4_1> == 20);

/// 5.5 bits: levels -16..15; the fifth bits stand before the nibbles. ggml, block_q5_0.
struct q5_0 : format<sint_grid<5>, scale_per<32, f16>, inline_blocks<bit_planes<plane{1, 1, 4}, plane{4, 16}>>> {
    QLIB_INLINE static constexpr encoded<q5_0> reference(const site<q5_0>& s) noexcept { return detail::ggml_signed_block(s); }
};
static_assert(block_bytes<q5_0> == 22);

/// 6 bits: levels 0..31 under an f16 scale and offset. ggml, block_q5_1.
struct q5_1 : format<uint_grid<5>, scale_offset_per<32, f16>, inline_blocks<bit_planes<plane{1, 1, 4}, plane{4, 16}>>> {
    QLIB_INLINE static constexpr encoded<q5_1> reference(const site<q5_1>& s) noexcept { return detail::ggml_offset_block(s); }
};
static_assert(block_bytes<q5_1> == 24);

/// 8.5 bits: int8 under an f16 scale. ggml, block_q8_0; ignores importance.
struct q8_0 : format<int8_grid, scale_per<32, f16>, inline_blocks<whole_bytes>> {
    QLIB_INLINE static constexpr encoded<q8_0> reference(const site<q8_0>& s) noexcept {
        encoded<q8_0> e;
        const float d = detail::magnitude(detail::extreme_of(s.x.data(), 32)) / 127.0f, inverse = d != 0 ? 1.0f / d : 0.0f;
        e.params.scale[0] = f16::from(d);
        for (std::size_t i = 0; i < 32; ++i) e.code[i] = static_cast<std::uint8_t>(detail::round_away(detail::product(s.x[i], inverse)));
        return e;
    }
};
static_assert(block_bytes<q8_0> == 34);

/// 1.125 bits: -1 and +1 under an f16 scale per 128 weights. ggml, block_q1_0; ignores importance.
struct q1_0 : format<sign_grid, scale_per<128, f16>, inline_blocks<bit_planes<plane{1, 1}>>> {
    QLIB_INLINE static constexpr encoded<q1_0> reference(const site<q1_0>& s) noexcept {
        encoded<q1_0> e;
        float sum = 0;
        for (const float v : s.x) sum += detail::magnitude(v);
        e.params.scale[0] = f16::from(sum / 128);
        for (std::size_t i = 0; i < 128; ++i) e.code[i] = s.x[i] >= 0 ? 1 : 0;
        return e;
    }
};
static_assert(block_bytes<q1_0> == 18);

/// 2.25 bits: levels -1..2 under an f16 scale per 64 weights. ggml, block_q2_0, whose own encoder never uses the 2; ignores importance.
struct q2_0 : format<integer_grid<2, -1>, scale_per<64, f16>, inline_blocks<bit_planes<plane{2, 1}>>> {
    QLIB_INLINE static constexpr encoded<q2_0> reference(const site<q2_0>& s) noexcept {
        return detail::ggml_ternary_block(s, 0);
    }
};
static_assert(block_bytes<q2_0> == 18);

}  // namespace qlib::inline v0
QLIB_EXACT_END
